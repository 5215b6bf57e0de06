"""Pair sums by tiles: a row of a tile is one positive, its columns are the pool of the positive's class.

Loss and gradient of a row are finished while its tile is in the cache, so that no matrix of all pairs is
ever kept. For small pools this is the fastest regime: a few calls, nothing to set up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor
from torch.nn.functional import pad

from .objectives import Objective, PairSums, Solution, joined
from .problem import Problem

# Pairs of a tile. Its two float32 buffers fill a second-level cache of 1 MiB; smaller tiles are all calls.
TILE_ELEMENTS = 2**17


@dataclass(frozen=True)
class _Columns:
    """What the positives of each class are paired with: negatives, then positives if the objective asks.

    Attributes:
        scores: `[C, columns]`; −∞ where there is nothing: σ and σ' of it are 0, and no mask is needed.
        weights: `[C, columns]` row weights, or None.
        negatives: How many columns stand for negatives.
        live: How many of them, the first, need a gradient.
        packed: The pool's rows that the negatives of a single class come from. With many classes None:
            each row of the pool is a column.
    """

    scores: Tensor
    weights: Tensor | None
    negatives: int
    live: int
    packed: Tensor | None

    @staticmethod
    def of(problem: Problem, scores: Tensor, own_score: Tensor, objective: Objective) -> _Columns:
        weights, live, packed = problem.row_weight, problem.gradient_rows, None
        if problem.classes > 1:
            columns = torch.where(problem.negative, scores, -torch.inf)
        else:
            packed = problem.negative_rows
            columns = scores.index_select(1, packed)
            weights = None if weights is None else weights.index_select(1, packed)
            live = int((packed < live).sum()) if 0 < live < problem.rows else len(packed)
        negatives = columns.shape[1]
        if objective.uses_positives:
            positives = problem.positives
            columns = torch.cat((columns, positives.padded(own_score, -torch.inf)), 1)
            if weights is not None:
                assert problem.row_weight is not None
                own = positives.padded(positives.take(problem.row_weight), 0.0)
                weights = torch.cat((weights, own), 1)
        return _Columns(columns, weights, negatives, live, packed)

    def to_pool(self, at_neg: Tensor, rows: int) -> Tensor:
        """Values `[C, live]` where they belong in the pool, `[C, M]`, and 0 elsewhere."""
        if self.packed is None:
            return at_neg if at_neg.shape[1] == rows else pad(at_neg, (0, rows - at_neg.shape[1]))
        return at_neg.new_zeros(1, rows).index_copy_(1, self.packed[: self.live], at_neg)


def solve(problem: Problem, objective: Objective) -> Solution:
    """Coefficients and transposed sums of all classes, tile by tile."""
    positives, wants_gradient = problem.positives, problem.gradient_rows > 0
    # s + 0 · s turns an infinite score into nan, which then spreads to all of its class, like a nan does.
    scores = torch.add(problem.scores, problem.scores, alpha=0)
    own_score = positives.take(scores)
    table = _Columns.of(problem, scores, own_score, objective)
    columns, negatives, live = table.scores, table.negatives, table.live
    inverse_tau = positives.of_class(problem.tau.reciprocal().to(columns.dtype))
    share = objective.share(problem)
    at_neg = at_pos = None
    finished = []
    step = max(1, TILE_ELEMENTS // max(columns.shape[1], 1))
    for start in range(0, positives.count, step):
        part = slice(start, start + step) if step < positives.count else slice(None)
        index = None if positives.class_index is None else positives.class_index[part]
        both = _above_and_slope(
            _rows_of(columns, index), _cut(own_score, part)[:, None], _cut(inverse_tau, part)[:, None]
        )
        if table.weights is not None:
            both *= _rows_of(table.weights, index)
        coefficients = objective.coefficients(
            _sums(both, negatives), _cut(share, part), _cut(problem.own_weight, part)
        )
        finished.append(coefficients)
        if wants_gradient:
            to_neg, to_pos = coefficients.to_neg, coefficients.to_pos
            at_neg = _collected(at_neg, to_neg, both[1, :, :live], index, problem.classes)
            if to_pos is not None:
                at_pos = _collected(at_pos, to_pos, both[1, :, negatives:], index, problem.classes)
    return Solution(
        joined(finished),
        None if at_neg is None else table.to_pool(at_neg, problem.rows),
        None if at_pos is None else positives.unpadded(at_pos),
    )


def _above_and_slope(scores: Tensor, own_score: Tensor, inverse_tau: Tensor) -> Tensor:
    """σ(x) and σ'(x) of x = (s_j − s_i)/τ, `[2, K, columns]`.

    σ' as σ(x) σ(−x): accurate far out in both tails.
    """
    both = scores.new_empty(2, own_score.shape[0], scores.shape[1])
    above, slope = both.unbind()
    torch.sub(scores, own_score, out=above)
    above.mul_(inverse_tau)
    torch.neg(above, out=slope)
    both.sigmoid_()
    slope.mul_(above)
    return both


def _sums(both: Tensor, negatives: int) -> PairSums[Tensor]:
    above_neg, slope_neg = both[:, :, :negatives].sum(2).double().unbind()
    if both.shape[2] == negatives:
        return PairSums(above_neg, slope_neg, None, None)
    above_pos, slope_pos = both[:, :, negatives:].sum(2).double().unbind()
    return PairSums(above_neg, slope_neg, above_pos, slope_pos)


def _collected(
    before: Tensor | None, coefficient: Tensor, slope: Tensor, index: Tensor | None, classes: int
) -> Tensor:
    """Σ_i coefficient(i) · slope(i, ·), added to the row of i's class, `[C, columns]`."""
    coefficient = coefficient.to(slope.dtype)
    if index is None:
        total = torch.mv(slope.t(), coefficient)[None]
        return total if before is None else before.add_(total)
    if before is None:
        before = slope.new_zeros(classes, slope.shape[1])
    return before.index_add_(0, index, slope * coefficient[:, None])


def _rows_of(table: Tensor, index: Tensor | None) -> Tensor:
    return table if index is None else table.index_select(0, index)


@overload
def _cut(per_positive: Tensor, part: slice) -> Tensor: ...
@overload
def _cut(per_positive: Tensor | float, part: slice) -> Tensor | float: ...
def _cut(per_positive: Tensor | float, part: slice) -> Tensor | float:
    """A slice of a vector `[K]`; a single entry or a number stands for all, and a slice of all is all."""
    if isinstance(per_positive, float) or part == slice(None) or per_positive.numel() == 1:
        return per_positive
    return per_positive[part]
