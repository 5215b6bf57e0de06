"""The public functions, and how autograd and torch.compile see them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from losses.kernels import dispatch
from losses.kernels.objectives import AveragePrecision, Objective, PairwiseAUC, Solution
from losses.kernels.problem import Problem

_OBJECTIVES: dict[str, Objective] = {
    "average precision": AveragePrecision(),
    "pairwise auc": PairwiseAUC(),
}


def smooth_ap(
    scores: Tensor,
    positive: Tensor,
    valid: Tensor,
    tau: Tensor | float,
    *,
    pos_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
    gradient_rows: int | None = None,
) -> Tensor:
    """1 − smooth average precision of each class, `[C]`.

        loss_c = 1 − Σ_{i∈P} w_i a_i rank⁺(i)/rank(i) / Σ_{i∈P} w_i a_i
        rank(i) = 1 + Σ_{j≠i, valid} a_j σ((s_j − s_i)/τ),  rank⁺(i) the same over the positives

    Args:
        scores: `[M, C]`, any float type; half precision is computed in float32.
        positive: bool `[M, C]`. Counts where `valid` as well.
        valid: bool `[M, C]`, the rows that count for the class, positives and negatives.
        tau: temperature, a number or one for each class `[C]`; no gradient flows into it.
        pos_weight: w `[M]`, what a positive is worth. It does not enter the ranks.
        row_weight: a `[M]` or `[M, C]`, how many rows of the full pool each row stands for.
        gradient_rows: only the first so many rows need a gradient (a live batch in front of a queue); the
            gradient of the others is left incomplete, and the time for it is saved.

    A class without positive weight is nan, with zero gradient. A class with a nan or an infinity among
    its valid rows is nan, and so is its gradient in all rows: a gradient scaler must see it.
    """
    return _pair_loss(
        scores,
        positive & valid,
        torch.gt(valid, positive),
        tau,
        pos_weight,
        row_weight,
        gradient_rows,
        "average precision",
    )


def pairwise_auc(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor | float,
    *,
    pos_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
    gradient_rows: int | None = None,
) -> Tensor:
    """1 − weighted mean of σ((s_i − s_j)/τ) over positives i and negatives j of each class, `[C]`.

    The pair counts w_i a_i a_j. Arguments as in `smooth_ap`, with `negative` in place of `valid`; a row that
    is neither does not count. A class without positives or without negatives is nan, with zero gradient.
    """
    return _pair_loss(scores, positive, negative, tau, pos_weight, row_weight, gradient_rows, "pairwise auc")


@torch.no_grad()
def smooth_ap_slopes(
    scores: Tensor, positive: Tensor, valid: Tensor, tau: Tensor | float, *, row_weight: Tensor | None = None
) -> Tensor:
    """|∂(rank⁺(i)/rank(i))/∂s_i| · τ of each positive i, 0 elsewhere; `[M, C]`.

    How much a positive still pulls its own score: near 0 for all of them, the loss is saturated.
    """
    negative = torch.gt(valid, positive)
    slopes: Tensor = _slopes(scores, positive & valid, negative, _tau(scores, tau), row_weight)
    return slopes


def _pair_loss(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor | float,
    pos_weight: Tensor | None,
    row_weight: Tensor | None,
    gradient_rows: int | None,
    objective: str,
) -> Tensor:
    rows = 0
    if scores.requires_grad and torch.is_grad_enabled():
        rows = scores.shape[0] if gradient_rows is None else gradient_rows
    arguments = (scores, positive, negative, _tau(scores, tau), pos_weight, row_weight, rows, objective)
    if torch.compiler.is_compiling():
        compiled: Tensor = _loss_and_gradient(*arguments)[0]
        return compiled
    eager: Tensor = _PairLoss.apply(*arguments)  # type: ignore[no-untyped-call]
    return eager


def _tau(scores: Tensor, tau: Tensor | float) -> Tensor:
    """One temperature a class, in float64."""
    if isinstance(tau, Tensor):
        return tau.detach().to(torch.float64).expand(scores.shape[1])
    return torch.full((scores.shape[1],), tau, dtype=torch.float64, device=scores.device)


def _problem(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor,
    pos_weight: Tensor | None,
    row_weight: Tensor | None,
    rows: int,
) -> Problem:
    """The problem by classes, `[C, M]`, in float32 or wider."""
    s = scores.detach().t()
    if s.dtype not in (torch.float32, torch.float64):
        s = s.float()
    if row_weight is not None:
        row_weight = row_weight.to(s.dtype)
        row_weight = row_weight.t() if row_weight.dim() == 2 else row_weight[None].expand_as(s)
    return Problem(
        s.contiguous(),
        positive.t().contiguous(),
        negative.t().contiguous(),
        tau,
        None if pos_weight is None else pos_weight.double(),
        row_weight,
        rows,
    )


def _compute(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor,
    pos_weight: Tensor | None,
    row_weight: Tensor | None,
    rows: int,
    objective: str,
) -> tuple[Tensor, Tensor]:
    """Loss `[C]` and gradient `[M, C]`; the one implementation behind both ways of calling."""
    problem = _problem(scores, positive, negative, tau, pos_weight, row_weight, rows)
    loss, gradient = dispatch.loss_and_gradient(problem, _OBJECTIVES[objective])
    return loss.to(problem.scores.dtype), gradient.t().to(scores.dtype)


class _PairLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, *arguments: Any) -> Tensor:
        loss, gradient = _compute(scores, *arguments)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad_loss.to(gradient.dtype), None, None, None, None, None, None, None)


@torch.library.custom_op(
    "imbalance_doctor::pair_loss",
    mutates_args=(),
    schema="(Tensor scores, Tensor positive, Tensor negative, Tensor tau, Tensor? pos_weight, "
    "Tensor? row_weight, int rows, str objective) -> (Tensor, Tensor)",
)
def _loss_and_gradient(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor,
    pos_weight: Tensor | None,
    row_weight: Tensor | None,
    rows: int,
    objective: str,
) -> tuple[Tensor, Tensor]:
    loss, gradient = _compute(scores, positive, negative, tau, pos_weight, row_weight, rows, objective)
    return loss, gradient.contiguous()


@_loss_and_gradient.register_fake
def _(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor,
    pos_weight: Tensor | None,
    row_weight: Tensor | None,
    rows: int,
    objective: str,
) -> tuple[Tensor, Tensor]:
    wide_enough = torch.float64 if scores.dtype == torch.float64 else torch.float32
    gradient = scores.new_empty(scores.shape if rows else (scores.shape[0], 0))
    return scores.new_empty(scores.shape[1], dtype=wide_enough), gradient


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])


def _scale_gradient(ctx: Any, grad_loss: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    (gradient,) = ctx.saved_tensors
    return (gradient * grad_loss.to(gradient.dtype), None, None, None, None, None, None, None)


_loss_and_gradient.register_autograd(_scale_gradient, setup_context=_keep_gradient)


@torch.library.custom_op(
    "imbalance_doctor::smooth_ap_slopes",
    mutates_args=(),
    schema="(Tensor scores, Tensor positive, Tensor negative, Tensor tau, Tensor? row_weight) -> Tensor",
)
def _slopes(
    scores: Tensor, positive: Tensor, negative: Tensor, tau: Tensor, row_weight: Tensor | None
) -> Tensor:
    problem = _problem(scores, positive, negative, tau, None, row_weight, 0)
    slopes = []
    for part, solution in dispatch.solve(problem, _OBJECTIVES["average precision"]):
        table = torch.zeros_like(part.scores)
        if part.positives.count:
            part.positives.put(table, _own_slope(part, solution).to(table.dtype))
        slopes.append(table)
    return torch.cat(slopes).t().contiguous()


def _own_slope(problem: Problem, solution: Solution) -> Tensor:
    """|∂(rank⁺/rank)/∂s_i| · τ: what moves when the positive alone does, so without its pair with itself."""
    coefficients = solution.coefficients
    assert coefficients.to_pos is not None
    with_itself = 0.25 * problem.own_weight  # a_i σ'(0)
    slope = (coefficients.own - coefficients.to_pos * with_itself) / problem.share
    return torch.where(problem.share > 0, slope, 0.0).abs()


@_slopes.register_fake
def _(scores: Tensor, positive: Tensor, negative: Tensor, tau: Tensor, row_weight: Tensor | None) -> Tensor:
    wide_enough = torch.float64 if scores.dtype == torch.float64 else torch.float32
    return scores.new_empty(scores.shape, dtype=wide_enough)
