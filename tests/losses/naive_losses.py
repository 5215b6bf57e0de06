"""The ranking losses written as their definitions read: one class, float64, loops and full matrices."""

import itertools

import torch


def soft(x):
    return 1 / (1 + torch.exp(-x))


def smooth_ap(s, y, w, tau):
    total = mass = 0.0
    for i in torch.nonzero(y).flatten().tolist():
        above = [soft((s[j] - s[i]) / tau) for j in range(len(s)) if j != i]
        above_pos = [soft((s[j] - s[i]) / tau) for j in range(len(s)) if j != i and y[j]]
        total = total + w[i] * (1 + sum(above_pos)) / (1 + sum(above))
        mass = mass + w[i]
    return 1 - total / mass


def recall_at_quantile(s, y, w, tau, *, quantile, interpolation="higher"):
    theta = torch.quantile(s.detach(), 1 - quantile, interpolation=interpolation)
    return 1 - (w[y] * soft((s[y] - theta) / tau)).sum() / w[y].sum()


def partial_auc(
    s,
    y,
    w,
    temperature,
    *,
    alpha,
    beta,
    iid,
    live,
    surrogate="trapezoid",
    n_knots=2,
    tau_scale="iqr",
    pos_numerator="pool",
    budget_basis="fpr",
    interpolation="higher",
):
    fixed = s.detach()
    ref = fixed[iid & ~y] if budget_basis == "fpr" else fixed[iid]

    def at(level):
        return torch.quantile(ref, level, interpolation=interpolation)

    t_alpha, t_beta = at(1 - alpha), at(1 - beta)
    tau = temperature * (at(0.75) - at(0.25) if tau_scale == "iqr" else t_alpha - t_beta)
    counted = y & live if pos_numerator == "live" else y
    mass = w[counted].sum()
    if surrogate == "trapezoid":
        rates = torch.linspace(alpha, beta, n_knots, dtype=torch.float64).tolist()
        tpr = [(w[counted] * soft((s[counted] - at(1 - rate)) / tau)).sum() / mass for rate in rates]
        area = sum((a + b) / 2 for a, b in itertools.pairwise(tpr)) / (n_knots - 1)
        return 1 - area
    band = ~y & (fixed >= t_beta) & (fixed <= t_alpha)
    wins = soft((s[counted][:, None] - s[band][None, :]) / tau).mean(1)
    return 1 - (w[counted] * wins).sum() / mass
