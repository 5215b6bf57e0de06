"""The Hessian of a pairwise loss times a direction, pair by pair.

Along a direction v, x_ij = (s_j − s_i)/τ moves by x'_ij = (v_j − v_i)/τ. The gradient is made of the terms
c_ij a_j σ'(x_ij), added at j and taken off at i, where c_ij is what `objectives.Coefficients` calls to_neg(i)
for a negative j and −to_pos(i) for a positive one. So the product is made of their derivatives along v,

    a_j (c'_ij σ'(x_ij) + c_ij σ''(x_ij) x'_ij),

in tiles as in `dense`, and each pair is visited once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .dense import TILE_ELEMENTS
from .objectives import Objective, PairSums
from .problem import Problem


def hessian_product(problem: Problem, objective: Objective, direction: Tensor) -> Tensor:
    """H v for each class, `[C, M]`, from a direction `[C, M]` in the type of the scores.

    Rows beyond `gradient_rows` are constants: they have no direction and no derivative.
    """
    positives, live = problem.positives, problem.gradient_rows
    # What does not count may hold anything; and as in `dense`, an infinity becomes a nan.
    scores = torch.where(problem.counted, torch.add(problem.scores, problem.scores, alpha=0), 0.0)
    moves = direction.clone()
    moves[:, live:] = 0.0
    row_weight = torch.ones_like(scores) if problem.row_weight is None else problem.row_weight
    masses = torch.stack((row_weight * problem.negative, row_weight * problem.positive))
    inverse_tau = _listed(positives.of_class(problem.tau.reciprocal()), problem).to(scores.dtype)
    share, own_weight = _listed(objective.share(problem), problem), _listed(problem.own_weight, problem)
    own_score, own_move = positives.take(scores), positives.take(moves)
    classes = positives.class_index
    classes = torch.zeros_like(positives.pool_row) if classes is None else classes
    result, own_result = torch.zeros_like(scores), torch.zeros_like(own_score)
    step = max(1, TILE_ELEMENTS // max(problem.rows, 1))
    for start in range(0, positives.count, step):
        part = slice(start, start + step)
        index = classes[part]
        turned = _turned(
            (scores[index] - own_score[part, None]) * inverse_tau[part, None],
            (moves[index] - own_move[part, None]) * inverse_tau[part, None],
            masses[:, index],
            objective,
            share[part],
            own_weight[part],
        )
        result.index_add_(0, index, turned)
        own_result[part] = -turned.sum(1)
    positives.put(result, positives.take(result) + own_result)
    result *= problem.tau.reciprocal().to(result.dtype)[:, None]
    result[:, live:] = 0.0
    return result


def _listed(value: Tensor | float, problem: Problem) -> Tensor:
    """What is one for all positives, or one for each, as `[K]`."""
    one_or_all = torch.as_tensor(value, dtype=torch.float64, device=problem.tau.device)
    return one_or_all.expand(problem.positives.count)


def _turned(
    x: Tensor, moved: Tensor, masses: Tensor, objective: Objective, share: Tensor, own_weight: Tensor
) -> Tensor:
    """a_j (c' σ' + c σ'' x') of the pairs `[K, M]` with x and x' as given, from a_j by kind `[2, K, M]`."""
    above = torch.sigmoid(x)
    slope = above * torch.sigmoid(-x)
    pushed = slope * moved
    sums = _sums(above, slope, masses)
    bend = pushed * (1 - 2 * above)
    along = _sums(pushed, bend, masses)
    now = objective.coefficients(sums, share, own_weight)
    to_neg, to_pos = objective.changes(sums, along, share, own_weight)
    turned = masses[0] * (_column(to_neg, x) * slope + _column(now.to_neg, x) * bend)
    if to_pos is not None and now.to_pos is not None:
        turned -= masses[1] * (_column(to_pos, x) * slope + _column(now.to_pos, x) * bend)
    return turned


def _sums(above: Tensor, slope: Tensor, masses: Tensor) -> PairSums[Tensor]:
    above_neg, above_pos = (above * masses).sum(2).double()
    slope_neg, slope_pos = (slope * masses).sum(2).double()
    return PairSums(above_neg, slope_neg, above_pos, slope_pos)


def _column(coefficient: Tensor, x: Tensor) -> Tensor:
    return coefficient.to(x.dtype)[:, None]
