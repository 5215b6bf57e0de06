"""Pairwise ranking losses of a pool, per class, without a matrix of all pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from losses.kernels.dense import TILE_ELEMENTS, PositiveRows, logistic_and_slope

__all__ = ["pairwise_auc", "smooth_ap", "smooth_ap_slopes"]


def smooth_ap(
    scores: Tensor,
    positive: Tensor,
    valid: Tensor,
    tau: Tensor | float,
    *,
    pos_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
) -> Tensor:
    """1 − smooth average precision of each class, `[C]`; see the module's documentation."""
    return _call(_SmoothAP, scores, positive, valid & ~positive, tau, pos_weight, row_weight)


def pairwise_auc(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor | float,
    *,
    pos_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
) -> Tensor:
    """1 − weighted mean of σ((s_i − s_j)/τ) over positives i and negatives j of each class, `[C]`."""
    return _call(_PairwiseAUC, scores, positive, negative, tau, pos_weight, row_weight)


@torch.no_grad()
def smooth_ap_slopes(
    scores: Tensor, positive: Tensor, valid: Tensor, tau: Tensor | float, *, row_weight: Tensor | None = None
) -> Tensor:
    """|∂(rank⁺(i)/rank(i))/∂s_i| · τ of each positive, 0 elsewhere; `[M, C]`."""
    s, t, weight = _prepare(scores, tau, row_weight)
    rows = PositiveRows.of(positive)
    result = torch.zeros_like(s)
    if rows.widest:
        sums = _Sums(s, rows, valid & ~positive, t, weight)
        for tile in sums.tiles():
            u, v = _slopes_of_ratio(tile.rank_pos, tile.above_neg)
            own = v * tile.slope_neg - u * (tile.slope_pos - 0.25 * tile.own_weight)
            result[tile.pool_row, tile.class_index] = own.abs()
    return result.to(scores.dtype)


def _call(
    function: Any,
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor | float,
    pos_weight: Tensor | None,
    row_weight: Tensor | None,
) -> Tensor:
    result: Tensor = function.apply(scores, positive, negative, tau, pos_weight, row_weight)
    return result


def _prepare(
    scores: Tensor, tau: Tensor | float, row_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    s = scores.detach()
    s = s.float() if s.dtype in (torch.float16, torch.bfloat16) else s
    t = torch.as_tensor(tau, dtype=s.dtype, device=s.device).expand(s.shape[1])
    if row_weight is None:
        return s, t, None
    weight = row_weight if row_weight.dim() == 2 else row_weight[:, None]
    return s, t, weight.to(s.dtype).expand_as(s)


def _slopes_of_ratio(rank_pos: Tensor, above_neg: Tensor) -> tuple[Tensor, Tensor]:
    rank = rank_pos + above_neg
    return above_neg / rank.square(), rank_pos / rank.square()


class _Tile:
    class_index: Tensor
    pool_row: Tensor
    slot: Tensor
    own_weight: Tensor
    above_neg: Tensor
    rank_pos: Tensor
    slope_neg: Tensor
    slope_pos: Tensor
    pair_slope_neg: Tensor
    pair_slope_pos: Tensor


class _Sums:
    def __init__(
        self, s: Tensor, rows: PositiveRows, negative: Tensor, tau: Tensor, weight: Tensor | None
    ) -> None:
        C = s.shape[1]
        self.rows, self.tau = rows, tau
        self.pos_score = s[rows.pool_row, rows.class_index].double()
        self.neg_columns = torch.where(negative, s, -torch.inf).t().double()
        self.pos_columns = self.pos_score.new_full((C, rows.widest), -torch.inf)
        self.pos_columns[rows.class_index, rows.slot] = self.pos_score
        weight = torch.ones_like(s) if weight is None else weight
        self.own_weight = weight[rows.pool_row, rows.class_index].double()
        self.neg_weight = weight.t().double()
        self.pos_weight = torch.zeros_like(self.pos_columns)
        self.pos_weight[rows.class_index, rows.slot] = self.own_weight

    def tiles(self) -> Any:
        K, M = self.pos_score.numel(), self.neg_columns.shape[1]
        step = max(1, TILE_ELEMENTS // max(M, 1))
        for k in range(0, K, step):
            part = slice(k, min(k + step, K))
            tile = _Tile()
            tile.class_index = self.rows.class_index[part]
            tile.pool_row = self.rows.pool_row[part]
            tile.slot = self.rows.slot[part]
            tile.own_weight = self.own_weight[part]
            here, c = self.pos_score[part, None], tile.class_index
            tau = self.tau[c, None].double()
            sigma, slope = logistic_and_slope((self.neg_columns[c] - here) / tau)
            tile.pair_slope_neg = slope.mul_(self.neg_weight[c])
            tile.above_neg = sigma.mul_(self.neg_weight[c]).sum(1)
            tile.slope_neg = slope.sum(1)
            sigma, slope = logistic_and_slope((self.pos_columns[c] - here) / tau)
            tile.pair_slope_pos = slope.mul_(self.pos_weight[c])
            tile.rank_pos = sigma.mul_(self.pos_weight[c]).sum(1) + (1 - 0.5 * tile.own_weight)
            tile.slope_pos = slope.sum(1)
            yield tile


class _Loss(torch.autograd.Function):
    """Loss and gradient together; the backward only scales."""

    @staticmethod
    def compute(
        s: Tensor,
        positive: Tensor,
        negative: Tensor,
        tau: Tensor,
        pos_weight: Tensor | None,
        weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    @classmethod
    def screened(
        cls,
        scores: Tensor,
        positive: Tensor,
        negative: Tensor,
        tau: Tensor | float,
        pos_weight: Tensor | None,
        row_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        s, t, weight = _prepare(scores, tau, row_weight)
        counted = positive | negative
        broken = ((~s.isfinite()) & counted).any(0)
        s = torch.where(counted & ~broken, s, 0.0)
        loss, gradient = cls.compute(s, positive, negative, t, pos_weight, weight)
        loss = torch.where(broken, torch.nan, loss)
        gradient = gradient.masked_fill(broken & counted, torch.nan)
        return loss.to(s.dtype), gradient.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0].to(gradient.dtype), None, None, None, None, None


class _SmoothAP(_Loss):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        loss, gradient = _SmoothAP.screened(*args)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def compute(
        s: Tensor,
        positive: Tensor,
        negative: Tensor,
        tau: Tensor,
        pos_weight: Tensor | None,
        weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        M, C = s.shape
        rows = PositiveRows.of(positive)
        if not rows.widest:
            return s.new_full((C,), torch.nan), torch.zeros_like(s)
        sums = _Sums(s, rows, negative, tau, weight)
        omega = _positive_share(rows, sums.own_weight, pos_weight, C)
        kept = torch.zeros(C, dtype=torch.float64, device=s.device)
        to_neg = sums.neg_columns.new_zeros(C, M)
        to_pos = torch.zeros_like(sums.pos_columns)
        own = torch.empty_like(sums.pos_score)
        k = 0
        for tile in sums.tiles():
            part = slice(k, k + tile.pool_row.numel())
            k = part.stop
            share, c = omega[part], tile.class_index
            u, v = _slopes_of_ratio(tile.rank_pos, tile.above_neg)
            kept.index_add_(0, c, share * tile.rank_pos / (tile.rank_pos + tile.above_neg))
            to_neg.index_add_(0, c, tile.pair_slope_neg.mul_((share * v)[:, None]))
            to_pos.index_add_(0, c, tile.pair_slope_pos.mul_((share * u)[:, None]))
            own[part] = share * (u * tile.slope_pos - v * tile.slope_neg)
        gradient = to_neg.t()
        gradient[rows.pool_row, rows.class_index] = own - to_pos[rows.class_index, rows.slot]
        gradient = gradient / tau
        found = torch.zeros_like(kept).index_add_(0, rows.class_index, omega)
        return torch.where(found > 0.5, 1 - kept, torch.nan), gradient


class _PairwiseAUC(_Loss):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        loss, gradient = _PairwiseAUC.screened(*args)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def compute(
        s: Tensor,
        positive: Tensor,
        negative: Tensor,
        tau: Tensor,
        pos_weight: Tensor | None,
        weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        M, C = s.shape
        rows = PositiveRows.of(positive)
        if not rows.widest:
            return s.new_full((C,), torch.nan), torch.zeros_like(s)
        sums = _Sums(s, rows, negative, tau, weight)
        omega = _positive_share(rows, sums.own_weight, pos_weight, C)
        neg_mass = torch.where(negative.t(), sums.neg_weight, 0.0).sum(1)
        lost = torch.zeros(C, dtype=torch.float64, device=s.device)
        to_neg = sums.neg_columns.new_zeros(C, M)
        own = torch.empty_like(sums.pos_score)
        k = 0
        for tile in sums.tiles():
            part = slice(k, k + tile.pool_row.numel())
            k = part.stop
            share, c = omega[part], tile.class_index
            lost.index_add_(0, c, share * tile.above_neg)
            to_neg.index_add_(0, c, tile.pair_slope_neg.mul_(share[:, None]))
            own[part] = -share * tile.slope_neg
        gradient = to_neg.t()
        gradient[rows.pool_row, rows.class_index] = own
        found = torch.zeros_like(lost).index_add_(0, rows.class_index, omega)
        defined = (found > 0.5) & (neg_mass > 0)
        gradient = torch.where(defined, gradient / (tau * neg_mass), 0.0)
        return torch.where(defined, lost / neg_mass, torch.nan), gradient


def _positive_share(rows: PositiveRows, own_weight: Tensor, pos_weight: Tensor | None, C: int) -> Tensor:
    """w_i a_i over its sum within the class, 0 where the class has no positive mass."""
    mass = own_weight if pos_weight is None else own_weight * pos_weight.double()[rows.pool_row]
    total = mass.new_zeros(C).index_add_(0, rows.class_index, mass)[rows.class_index]
    return torch.where(total > 0, mass / total, 0.0)
