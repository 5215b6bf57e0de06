"""The public functions, and how autograd and torch.compile see them."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .._checks import check_plain_autograd
from . import dispatch, small
from .curvature import hessian_product
from .objectives import AveragePrecision, Objective, PairwiseAUC
from .problem import Problem

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
    return smooth_ap_and_slopes(
        scores,
        positive & valid,
        torch.gt(valid, positive),
        tau,
        pos_weight=pos_weight,
        row_weight=row_weight,
        gradient_rows=gradient_rows,
    )[0]


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
    return pairwise_auc_and_slopes(
        scores,
        positive,
        negative,
        tau,
        pos_weight=pos_weight,
        row_weight=row_weight,
        gradient_rows=gradient_rows,
    )[0]


@torch.no_grad()
def smooth_ap_slopes(
    scores: Tensor, positive: Tensor, valid: Tensor, tau: Tensor | float, *, row_weight: Tensor | None = None
) -> Tensor:
    """|∂(rank⁺(i)/rank(i))/∂s_i| · τ of each positive i, 0 elsewhere; `[M, C]`.

    How much a positive still pulls its own score: near 0 for all of them, the loss is saturated.
    """
    slopes = smooth_ap_and_slopes(
        scores, positive & valid, torch.gt(valid, positive), tau, row_weight=row_weight, watched=True
    )[1]
    assert slopes is not None
    return slopes


def smooth_ap_and_slopes(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor | float,
    *,
    pos_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
    gradient_rows: int | None = None,
    watched: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`smooth_ap` from disjoint masks and, if `watched`, the `smooth_ap_slopes` that fall out of it."""
    arguments = (scores, positive, negative, tau, pos_weight, row_weight, gradient_rows, watched)
    return _pair_loss(*arguments, "average precision")


def pairwise_auc_and_slopes(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor | float,
    *,
    pos_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
    gradient_rows: int | None = None,
    watched: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`pairwise_auc` and, if `watched`, σ' of each positive averaged over its pairs, `[M, C]`."""
    arguments = (scores, positive, negative, tau, pos_weight, row_weight, gradient_rows, watched)
    return _pair_loss(*arguments, "pairwise auc")


def _pair_loss(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor | float,
    pos_weight: Tensor | None,
    row_weight: Tensor | None,
    gradient_rows: int | None,
    watched: bool,
    objective: str,
) -> tuple[Tensor, Tensor | None]:
    check_plain_autograd("a pairwise ranking loss", scores)
    rows = 0
    if scores.requires_grad and torch.is_grad_enabled():
        rows = scores.shape[0] if gradient_rows is None else gradient_rows
    arguments = (positive, negative, _tau(scores, tau), pos_weight, row_weight, rows, objective, watched)
    if torch.compiler.is_compiling():
        loss, _, slopes = _loss_and_gradient(scores, *arguments)
    elif rows and watched:
        loss, slopes = _PairLoss.apply(scores, arguments)  # type: ignore[no-untyped-call]
    elif rows:
        loss, slopes = _PairLoss.apply(scores, arguments), None  # type: ignore[no-untyped-call]
    else:
        loss, _, slopes = _compute(scores.detach(), *arguments)
    return loss, slopes if watched else None


def _tau(scores: Tensor, tau: Tensor | float) -> Tensor:
    """One temperature a class; in float64 where it was a number."""
    if isinstance(tau, Tensor):
        return tau.detach()
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
        tau.to(torch.float64).expand(len(s)),
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
    watched: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss `[C]`, gradient and slopes `[M, C]`; the one implementation behind both ways of calling."""
    if pos_weight is None and row_weight is None and small.takes(scores):
        found = small.loss_and_gradient(
            scores, positive, negative, tau, rows, _OBJECTIVES[objective], watched
        )
        if found is not None:
            return found
    problem = _problem(scores, positive, negative, tau, pos_weight, row_weight, rows)
    loss, gradient, slopes = dispatch.loss_and_gradient(problem, _OBJECTIVES[objective], watched)
    return loss.to(problem.scores.dtype), gradient.t().to(scores.dtype), slopes.t()


class _PairLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, scores: Tensor, arguments: tuple[Any, ...]
    ) -> Tensor | tuple[Tensor, Tensor]:
        # In one tuple, because autograd looks at each argument.
        loss, gradient, slopes = _compute(scores, *arguments)
        ctx.save_for_backward(gradient, scores)
        ctx.arguments = arguments  # type: ignore[attr-defined]
        watched = arguments[-1]
        if not watched:
            return loss
        ctx.mark_non_differentiable(slopes)
        return loss, slopes

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        gradient, scores = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _PairGradient.apply(scores, grad_loss, gradient, ctx.arguments), None  # type: ignore[no-untyped-call]
        return _scaled(gradient, grad_loss), None


class _PairGradient(torch.autograd.Function):
    """The gradient, as a function of the scores and of what it is multiplied by."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, grad_loss: Tensor, gradient: Tensor, arguments: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(scores, grad_loss, gradient)
        ctx.arguments = arguments
        return _scaled(gradient, grad_loss)

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor, Tensor, None, None]:
        scores, grad_loss, gradient = ctx.saved_tensors
        return *_Curvature.apply(direction, scores, grad_loss, gradient, ctx.arguments), None, None  # type: ignore[no-untyped-call]


class _Curvature(torch.autograd.Function):
    """What a direction at the gradient means at the scores, and at what the gradient is multiplied by."""

    @staticmethod
    def forward(
        ctx: Any,
        direction: Tensor,
        scores: Tensor,
        grad_loss: Tensor,
        gradient: Tensor,
        arguments: tuple[Any, ...],
    ) -> tuple[Tensor, Tensor]:
        positive, negative, tau, pos_weight, row_weight, rows, objective, _ = arguments
        problem = _problem(scores, positive, negative, tau, pos_weight, row_weight, rows)
        moves = direction.t().to(problem.scores.dtype)
        product = hessian_product(problem, _OBJECTIVES[objective], moves)
        at_scores = (product.t() * grad_loss).to(scores.dtype)
        at_loss = (direction[:rows] * gradient[:rows]).sum(0, dtype=problem.scores.dtype)
        return at_scores, at_loss.to(grad_loss.dtype)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> NoReturn:
        raise RuntimeError(
            "expected at most a second derivative of a pairwise ranking loss, got a third: take the last "
            "derivative without create_graph=True, or write the loss in plain tensor operations"
        )


@torch.library.custom_op(
    "imbalance_doctor::pair_loss",
    mutates_args=(),
    schema="(Tensor scores, Tensor positive, Tensor negative, Tensor tau, Tensor? pos_weight, "
    "Tensor? row_weight, int rows, str objective, bool watched) -> (Tensor, Tensor, Tensor)",
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
    watched: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    loss, gradient, slopes = _compute(
        scores, positive, negative, tau, pos_weight, row_weight, rows, objective, watched
    )
    return loss, gradient.contiguous(), slopes.contiguous()


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
    watched: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    wide_enough = torch.float64 if scores.dtype == torch.float64 else torch.float32
    pool, classes = scores.shape
    return (
        scores.new_empty(classes, dtype=wide_enough),
        scores.new_empty(pool, classes if rows else 0),
        scores.new_empty(pool, classes if watched else 0, dtype=wide_enough),
    )


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    # Without zeros for what no gradient has reached, a second derivative can be told from a first.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _scaled(gradient: Tensor, grad_loss: Tensor) -> Tensor:
    return gradient * grad_loss.to(gradient.dtype)


def _scale_gradient(
    ctx: Any, grad_loss: Tensor | None, grad_gradient: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    if grad_gradient is not None:
        raise RuntimeError(
            "expected at most a first derivative of a compiled pairwise ranking loss, got a second: call the "
            "loss outside torch.compile, for instance in a function under torch.compiler.disable"
        )
    at_scores = None if grad_loss is None else _scaled(ctx.saved_tensors[0], grad_loss)
    return (at_scores, *[None] * 8)


_loss_and_gradient.register_autograd(_scale_gradient, setup_context=_keep_gradient)
