"""The losses as pure functions of tensors. Modules above them add memory, ranks and settings."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._checks import looks_are_free

# ---------------------------------------------------------------------------------------------- focal


class _SigmoidFocal(torch.autograd.Function):
    """|y − σ(x)|^γ · BCE(x, y), with a derivative written out.

    With d = y − σ(x) and L the cross-entropy, the derivative is −d |d|^γ − γ L |d|^(γ−1) sign(d) p (1 − p).
    Automatic differentiation forms |d|^(γ−1) alone, which is infinite at a confident correct logit for
    γ < 1, and γ L alone, which overflows at a confident wrong one.
    """

    @staticmethod
    def forward(x: Tensor, y: Tensor, gamma: float) -> Tensor:
        distance = _signed_distance(x, y).abs()
        return distance.pow(gamma) * F.binary_cross_entropy_with_logits(x, y, reduction="none")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        x, y, ctx.gamma = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, y = ctx.saved_tensors
        gamma = ctx.gamma
        d = _signed_distance(x, y)
        distance = d.abs()
        slope = torch.sigmoid(x) * torch.sigmoid(-x)
        entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")
        # slope / |d| is at most 1 for hard labels; the floor only acts where d is exactly or nearly 0, at
        # the cusp of a soft label, where 0 is a subgradient.
        tiny = torch.finfo(x.dtype).tiny
        steep = torch.where(distance > tiny, slope / distance.clamp_min(tiny) * entropy, 0.0)
        power = distance.pow(gamma)
        return grad * (-d * power - gamma * power * steep * d.sign()), None, None


def _signed_distance(x: Tensor, y: Tensor) -> Tensor:
    """Y − σ(x), without cancellation for hard labels."""
    return y * torch.sigmoid(-x) - (1 - y) * torch.sigmoid(x)


def sigmoid_focal(x: Tensor, y: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Elementwise focal loss of logits `x` and labels `y` in [0, 1], of one shape.

    alpha_t · |y − σ(x)|^γ · BCE(x, y) with alpha_t = alpha·y + (1 − alpha)·(1 − y), or 1 if alpha is −1.
    For hard labels |y − p| = 1 − p_t: Lin et al., ICCV 2017, eq. 5. For soft ones it is the quality focal
    loss of Li et al., NeurIPS 2020, eq. 3, whose minimum is at p = y.
    """
    loss: Tensor
    if gamma == 0:
        loss = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    else:
        loss = _SigmoidFocal.apply(x, y, gamma)  # type: ignore[no-untyped-call]
    return loss if alpha < 0 else loss * (alpha * y + (1 - alpha) * (1 - y))


class _FocalFactor(torch.autograd.Function):
    """(1 − p)^γ · L from log p and L, with a derivative with respect to both that stays finite.

    ∂/∂ log p = −γ (1 − p)^(γ−1) p L, where p L → 0 as p → 0 and (1 − p)^(γ−1) L → 0 as p → 1 whenever
    L vanishes with 1 − p, as cross-entropy does.
    """

    @staticmethod
    def forward(log_p: Tensor, loss: Tensor, gamma: float) -> Tensor:
        return (-torch.expm1(log_p)).pow(gamma) * loss

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        log_p, loss, ctx.gamma = inputs
        ctx.save_for_backward(log_p, loss)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        log_p, loss = ctx.saved_tensors
        miss = -torch.expm1(log_p)
        power = miss.pow(ctx.gamma)
        p = log_p.exp()
        tiny = torch.finfo(log_p.dtype).tiny
        # p · L first: at p = 0 the product is 0 although L may be infinite. At 1 − p = 0 the limit is 0.
        mass = torch.where((p > 0) & (miss > tiny), p * loss / miss.clamp_min(tiny), 0.0)
        return -grad * ctx.gamma * power * mass, grad * power, None


def counted_rows(logits: Tensor, counted: Tensor) -> Tensor:
    """Logits `[N, C]` with zeros in rows that do not count, so that a nan there reaches no gradient."""
    looks = logits.device.type == "cpu" and not torch.compiler.is_compiling()
    if looks and bool(counted.all()):
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
        loss = _FocalFactor.apply(log_p_true, loss, gamma)  # type: ignore[no-untyped-call]
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
