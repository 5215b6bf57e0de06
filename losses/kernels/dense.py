"""Pair sums by tiles: a row of a tile is one positive, its columns are the pool of the positive's class.

Loss and gradient of a row are finished while its tile is in the cache, so that no matrix of all pairs is
ever kept. For small pools this is the fastest regime: a few calls, nothing to set up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from losses.kernels.objectives import Coefficients, Objective, PairSums, Solution
from losses.kernels.problem import Problem

# Pairs of a tile. Its two float32 buffers fill a second-level cache of 1 MiB; smaller tiles are all calls.
TILE_ELEMENTS = 2**17


def solve(problem: Problem, objective: Objective) -> Solution:
    """Coefficients and transposed sums of all classes, tile by tile."""
    positives = problem.positives
    # s + 0 · s turns an infinite score into nan, which then spreads to all of its class, like a nan does.
    scores = torch.add(problem.scores, problem.scores, alpha=0)
    own_score = positives.take(scores)
    columns, weights = _columns(problem, scores, own_score, objective)
    inverse_tau = positives.of_class(problem.tau.reciprocal().to(columns.dtype))
    share, own_weight = objective.share(problem), problem.own_weight
    live, rows = problem.gradient_rows, problem.rows
    at_neg = columns.new_zeros(problem.classes, rows)
    at_pos = columns.new_zeros(problem.classes, columns.shape[1] - rows)
    finished = []
    step = max(1, TILE_ELEMENTS // columns.shape[1])
    for start in range(0, positives.count, step):
        part = slice(start, start + step)
        index = None if positives.class_index is None else positives.class_index[part]
        above = (_rows_of(columns, index) - own_score[part, None]).mul_(_cut(inverse_tau, part)[:, None])
        slope = _logistic_and_slope(above)
        if weights is not None:
            weight = _rows_of(weights, index)
            above *= weight
            slope *= weight
        own = own_weight if isinstance(own_weight, float) else own_weight[part]
        coefficients = objective.coefficients(_sums(above, slope, rows), _cut(share, part), own)
        finished.append(coefficients)
        if live:
            _collect(at_neg[:, :live], coefficients.to_neg, slope[:, :live], index)
            if coefficients.to_pos is not None:
                _collect(at_pos, coefficients.to_pos, slope[:, rows:], index)
    return Solution(
        Coefficients.joined(finished),
        at_neg if live else None,
        positives.unpadded(at_pos) if live and objective.uses_positives else None,
    )


def _columns(
    problem: Problem, scores: Tensor, own_score: Tensor, objective: Objective
) -> tuple[Tensor, Tensor | None]:
    """Scores and weights that the positives of each class are paired with.

    The negatives stay where they are in the pool, with −∞ elsewhere: σ and σ' of it are 0, so no mask is
    needed later. The positives follow, packed, if the objective wants them.
    """
    negatives = torch.where(problem.negative, scores, -torch.inf)
    if not objective.uses_positives:
        return negatives, problem.row_weight
    packed = problem.positives.padded(own_score, -torch.inf)
    columns = torch.cat((negatives, packed), 1)
    if problem.row_weight is None:
        return columns, None
    weights = problem.positives.padded(problem.positives.take(problem.row_weight), 0.0)
    return columns, torch.cat((problem.row_weight, weights), 1)


def _logistic_and_slope(x: Tensor) -> Tensor:
    """Turn x into σ(x) in place and return σ'(x), as σ(x) σ(−x): accurate far out in both tails."""
    mirrored = x.neg().sigmoid_()
    return mirrored.mul_(x.sigmoid_())


def _sums(above: Tensor, slope: Tensor, rows: int) -> PairSums:
    if above.shape[1] == rows:
        return PairSums(above.sum(1).double(), slope.sum(1).double(), None, None)
    return PairSums(
        above[:, :rows].sum(1).double(),
        slope[:, :rows].sum(1).double(),
        above[:, rows:].sum(1).double(),
        slope[:, rows:].sum(1).double(),
    )


def _collect(into: Tensor, coefficient: Tensor, slope: Tensor, index: Tensor | None) -> None:
    """Add Σ_i coefficient(i) · slope(i, ·) to the row of i's class."""
    coefficient = coefficient.to(slope.dtype)
    if index is None:
        into[0].addmv_(slope.t(), coefficient)
    else:
        into.index_add_(0, index, slope * coefficient[:, None])


def _rows_of(table: Tensor, index: Tensor | None) -> Tensor:
    return table if index is None else table.index_select(0, index)


def _cut(per_positive: Tensor, part: slice) -> Tensor:
    """A slice of a vector `[K]`; a single entry stands for all."""
    return per_positive if per_positive.numel() == 1 else per_positive[part]
