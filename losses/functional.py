"""The losses as pure functions of tensors. Modules above them add memory, ranks and settings."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._checks import looks_are_free

# ---------------------------------------------------------------------------------------------- focal


class _SigmoidFocal(torch.autograd.Function):
    """`_defined_sigmoid_focal`, quicker and keeping only x and y: its derivative in x is written out.

    With d = y − σ(x) and L the cross-entropy, the derivative is |d|^γ L' − γ L |d|^(γ−1) sign(d) p (1 − p).
    Every other derivative is that of the definition.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, pos_weight: Tensor | None, gamma: float) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=pos_weight)
        return _signed_distance(x, y).abs().pow(gamma) * entropy

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, float], output: Tensor) -> None:
        x, y, pos_weight, ctx.gamma = inputs
        ctx.save_for_backward(x, y, pos_weight)
        ctx.save_for_forward(x, y, pos_weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        x, y, pos_weight = ctx.saved_tensors
        if torch.is_grad_enabled() or ctx.needs_input_grad[1]:
            by_x, by_y = _sigmoid_focal_slopes(x, y, pos_weight, ctx.gamma)
            return grad * by_x, grad * by_y, None, None
        return grad * _sigmoid_focal_slope(x, y, pos_weight, ctx.gamma), None, None, None

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor | None, y_tangent: Tensor | None, *_: None) -> Tensor:
        x, y, pos_weight = ctx.saved_tensors
        slopes = _sigmoid_focal_slopes(x, y, pos_weight, ctx.gamma)
        tangents = (x_tangent, y_tangent)
        moved = [s * t for s, t in zip(slopes, tangents, strict=True) if t is not None]
        return moved[0] if len(moved) == 1 else moved[0] + moved[1]


def _sigmoid_focal_slope(x: Tensor, y: Tensor, pos_weight: Tensor | None, gamma: float) -> Tensor:
    """Derivative in x of each element, to be differentiated no further.

    Automatic differentiation forms |d|^(γ−1) alone, which is infinite at a confident correct logit for
    γ < 1, and γ L alone, which overflows at a confident wrong one.
    """
    p, miss = torch.sigmoid(x), torch.sigmoid(-x)
    positive, negative = y * miss, (1 - y) * p
    d = positive - negative
    distance = d.abs()
    entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=pos_weight)
    entropy_slope = -d if pos_weight is None else negative - pos_weight * positive
    # p (1 − p) / |d| is at most 1 for hard labels; the floor only acts where d is exactly or nearly 0, at
    # the cusp of a soft label, where 0 is a subgradient.
    tiny = torch.finfo(x.dtype).tiny
    steep = torch.where(distance > tiny, p * miss / distance.clamp_min(tiny) * entropy, 0.0)
    power = distance.pow(gamma)
    return power * entropy_slope - gamma * power * steep * d.sign()


def _sigmoid_focal_slopes(
    x: Tensor, y: Tensor, pos_weight: Tensor | None, gamma: float
) -> tuple[Tensor, Tensor]:
    """Derivatives in x and y of each element, which can be differentiated again."""
    value, pullback, *_ = torch.func.vjp(lambda x, y: _defined_sigmoid_focal(x, y, pos_weight, gamma), x, y)
    by_x, by_y = pullback(torch.ones_like(value))
    return by_x, by_y


def _defined_sigmoid_focal(x: Tensor, y: Tensor, pos_weight: Tensor | None, gamma: float) -> Tensor:
    """|y − σ(x)|^γ · L by operations whose derivatives of any order are finite.

    Seen from the label's side, with t = x and q = y where σ(x) < y and t = −x and q = 1 − y elsewhere, the
    distance is σ(−t) (q − (1 − q) eᵗ). Its logarithm has bounded derivatives in x, and for a hard label the
    second factor is 1.
    """
    below = x < torch.logit(y)
    t, q, rest = torch.where(below, x, -x), torch.where(below, y, 1 - y), torch.where(below, 1 - y, y)
    # Further out than the logarithm of the smallest normal number, eᵗ overflows on one side, where its
    # factor is 0, and on the other the distance stays as it is, while γ L overflows.
    farthest = -math.log(torch.finfo(x.dtype).tiny)
    t = t.clamp_min(-farthest)
    gap = q - rest * t.clamp_max(farthest).exp()
    apart = gap > 0  # else σ(x) is the soft label itself: the cusp, where 0 is a subgradient
    log_distance = torch.where(apart, gap, 1.0).log() + F.logsigmoid(-t)
    factor = torch.where(apart, (gamma * log_distance).exp(), 0.0)
    positive = y if pos_weight is None else y * pos_weight
    return factor * -(positive * F.logsigmoid(x) + (1 - y) * F.logsigmoid(-x))


def _signed_distance(x: Tensor, y: Tensor) -> Tensor:
    """Y − σ(x), without cancellation for hard labels."""
    return y * torch.sigmoid(-x) - (1 - y) * torch.sigmoid(x)


def sigmoid_focal(
    x: Tensor, y: Tensor, *, alpha: float, gamma: float, pos_weight: Tensor | None = None
) -> Tensor:
    """Elementwise focal loss of logits `x` and labels `y` in [0, 1], of one shape.

    alpha_t · |y − σ(x)|^γ · L(x, y) with alpha_t = alpha·y + (1 − alpha)·(1 − y), or 1 if alpha is −1, and
    L = −pos_weight·y·log σ(x) − (1 − y)·log σ(−x), which broadcasts as in
    `torch.nn.functional.binary_cross_entropy_with_logits`. For hard labels |y − p| = 1 − p_t: Lin et al.,
    ICCV 2017, eq. 5. For soft ones it is the quality focal loss of Li et al., NeurIPS 2020, eq. 3, whose
    minimum is at p = y.

    Differentiable in `x` and `y`, twice, also under the transforms of `torch.func`.
    """
    loss: Tensor
    if gamma == 0:
        loss = F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=pos_weight)
    elif torch.compiler.is_compiling():  # which takes no function with a forward-mode derivative of its own
        loss = _defined_sigmoid_focal(x, y, pos_weight, gamma)
    else:
        loss = _SigmoidFocal.apply(x, y, pos_weight, gamma)  # type: ignore[no-untyped-call]
    return loss if alpha < 0 else loss * (alpha * y + (1 - alpha) * (1 - y))


def sigmoid_focal_star(x: Tensor, y: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Elementwise FL* of logits `x` and labels `y`, each 0 or 1, of one shape.

    −alpha_t · log σ(γ x_t) / γ with x_t = (2 y − 1) x, alpha_t as in `sigmoid_focal` and γ > 0: Lin et al.,
    ICCV 2017, appendix A, with β = 0.
    """
    loss = -F.logsigmoid(gamma * (2 * y - 1) * x) / gamma
    return loss if alpha < 0 else loss * (alpha * y + (1 - alpha) * (1 - y))


def _miss_power(log_p: Tensor, gamma: float) -> Tensor:
    """(1 − p)^γ from log p, with derivatives that stay finite.

    They are 0 where p rounds to 1: in the logits all are of the order of (1 − p)^γ. They are 0 too where p
    is below the smallest normal number, because γ times the loss that is multiplied may overflow there.
    """
    miss = -torch.expm1(log_p.clamp_min(math.log(torch.finfo(log_p.dtype).tiny)))
    missed = miss > 0
    return torch.where(missed, torch.where(missed, miss, 1.0).pow(gamma), 0.0)


def counted_rows(logits: Tensor, counted: Tensor) -> Tensor:
    """Logits `[N, C]` with zeros in rows that do not count, so that a nan there reaches no gradient."""
    if all_true(counted):
        return logits
    return torch.where(counted[:, None], logits, 0.0)


def softmax_focal(
    logits: Tensor, targets: Tensor, *, alpha: Tensor | None, gamma: float, label_smoothing: float
) -> Tensor:
    """Focal loss `[N]` of logits `[N, C]` and class ids `[N]`: alpha_t · (1 − p_t)^γ · CE(x, t).

    `label_smoothing` is that of `torch.nn.functional.cross_entropy`, inside CE. One log-softmax.
    """
    log_p = F.log_softmax(logits, dim=-1)
    log_p_true = log_p.gather(-1, targets[:, None])[:, 0]
    loss = -log_p_true
    if label_smoothing > 0:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean(-1)
    if gamma != 0:
        loss = _miss_power(log_p_true, gamma) * loss
    return loss if alpha is None else loss * alpha[targets]


# -------------------------------------------------------------------------------------------- ranking


def recall_at_threshold(scores: Tensor, mass: Tensor, threshold: Tensor, tau: Tensor) -> Tensor:
    """1 − weighted mean over positives of σ((s − θ)/τ), per class.

    Args:
        scores: `[M, C]`.
        mass: `[M, C]` ≥ 0; the weight of each entry as a positive, 0 for every other entry.
        threshold: `[C]`, or `[K, C]` for several thresholds at once.
        tau: `[C]`, in the unit of the scores.

    Returns:
        `[C]` or `[K, C]`; meaningless where a class has no mass.
    """
    recalled = torch.sigmoid((scores - threshold.unsqueeze(-2)) / tau)
    share = mass / _nonzero(mass.sum(0))
    return 1 - (recalled * share).sum(-2)


def trapezoid(values: Tensor) -> Tensor:
    """Mean of a function over an interval, from its values `[K, ...]` at K equally spaced points."""
    if values.shape[0] == 2:
        return values.mean(0)
    weights = trapezoid_weights(values)
    return (weights.reshape(-1, *[1] * (values.dim() - 1)) * values).sum(0)


def trapezoid_weights(values: Tensor) -> Tensor:
    """The `[K]` weights of the trapezoid rule for K equally spaced points; they sum to 1."""
    weights = values.detach().new_ones(values.shape[0])
    weights[0] = weights[-1] = 0.5
    return weights / (values.shape[0] - 1)


def all_true(condition: Tensor) -> bool:
    """Whether a look settles that a bool tensor is true everywhere, so that there is nothing to mask."""
    return looks_are_free(condition) and bool(condition if condition.numel() == 1 else condition.all())


def _nonzero(x: Tensor) -> Tensor:
    if all_true(x):
        return x
    return torch.where(x == 0, 1.0, x)


def reduce_classes(per_class: Tensor, valid: Tensor, reduction: str) -> Tensor:
    """Reduce `[C]` losses over valid classes.

    ``"none"`` gives `[C]` with nan where invalid; ``"mean"`` and ``"sum"`` a scalar, which is a zero that
    keeps the graph when no class is valid.
    """
    if all_true(valid):
        if reduction == "none":
            return per_class
        total = per_class.sum()
        return total if reduction == "sum" or valid.numel() == 1 else total / valid.numel()
    if reduction == "none":
        return torch.where(valid, per_class, torch.nan)
    total = torch.where(valid, per_class, 0.0).sum()
    return total if reduction == "sum" else total / valid.sum().clamp_min(1)
