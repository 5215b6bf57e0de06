"""A single class of few pairs on the CPU, in NumPy.

A step on a batch of 256 and a queue of 1,024 rows is mostly calls: dozens of them around the pairs of a dozen
positives. One to NumPy takes a third of the time that one to torch takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .objectives import Objective, PairSums

if TYPE_CHECKING:
    from numpy.typing import NDArray

# With more pairs than this a grid is faster.
MOST_PAIRS = 400_000

# Pairs of a tile: its two buffers stay in a second-level cache of 1 MiB.
TILE_ELEMENTS = 2**16

# e^x is finite up to here, and a σ(−x) further out no longer changes anything.
FARTHEST = {np.dtype(np.float32): 80.0, np.dtype(np.float64): 700.0}

Floats: TypeAlias = "NDArray[np.floating[Any]]"


def takes(scores: Tensor) -> bool:
    """Whether scores `[M, C]` are of the kind that this module computes with, if their pairs are few."""
    return scores.shape[1] == 1 and scores.is_cpu and scores.dtype in (torch.float32, torch.float64)


def loss_and_gradient(
    scores: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau: Tensor,
    rows: int,
    objective: Objective,
    watched: bool,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Loss `[1]`, gradient of the first `rows` rows and slopes, both `[M, 1]`; None for too many pairs.

    The gradient is empty where none is wanted, the slopes unless `watched`.
    """
    is_pos, is_neg = positive.numpy().ravel(), negative.numpy().ravel()
    positives, negatives = int(np.count_nonzero(is_pos)), int(np.count_nonzero(is_neg))
    if positives * (negatives + positives if objective.uses_positives else negatives) > MOST_PAIRS:
        return None
    values: Floats = scores.numpy().ravel()
    gradient, slopes = np.zeros((2, len(values)), values.dtype)
    loss = np.array([np.nan], values.dtype)
    share = objective.plain_share(positives, negatives)
    if share is not None:
        pos, neg = is_pos.nonzero()[0], is_neg.nonzero()[0]
        inverse_tau = 1.0 / tau.item()
        loss[0], gradient[neg], gradient[pos], slopes[pos] = _solve(
            values[pos], values[neg], inverse_tau, share, objective
        )
        gradient[rows:] = 0.0
        # 0 · nan carries a nan of the loss into every row of the class.
        gradient *= inverse_tau + 0.0 * float(loss[0])
    return (
        torch.from_numpy(loss),
        torch.from_numpy(gradient[:, None][:, : min(rows, 1)]),
        torch.from_numpy(slopes[:, None][:, : int(watched)]),
    )


@np.errstate(over="ignore", invalid="ignore")
def _solve(
    own: Floats, others: Floats, inverse_tau: float, share: float, objective: Objective
) -> tuple[float, Floats, Floats, Floats]:
    """Loss, its gradient at the negatives and at the positives, and the slopes of the latter, all times τ."""
    negatives = len(others)
    columns = np.concatenate((others, own)) if objective.uses_positives else others
    at_columns = np.zeros(len(columns), columns.dtype)
    # 0 · s is nan where s is not finite; it spreads from here to all of the loss.
    loss = poison = _nothing(columns) if objective.uses_positives else _nothing(own) + _nothing(others)
    pull, slopes = np.empty((2, len(own)))
    step = max(1, TILE_ELEMENTS // len(columns))
    # One buffer for all tiles: fresh memory costs more than what is computed in it.
    room = np.empty((2, min(step, len(own)), len(columns)), own.dtype)
    for start in range(0, len(own), step):
        part = slice(start, start + step)
        both = _above_and_slope(own[part], columns, inverse_tau, room)
        sums = _sums(both[:, :, :negatives]), _sums(both[:, :, negatives:])
        found = objective.coefficients(PairSums(*sums[0], *sums[1]), share, 1.0)
        loss += float(found.value.sum())
        pull[part] = slopes[part] = found.own
        at_columns[:negatives] += found.to_neg.astype(own.dtype) @ both[1, :, :negatives]
        if found.to_pos is not None:
            at_columns[negatives:] += found.to_pos.astype(own.dtype) @ both[1, :, negatives:]
            slopes[part] -= 0.25 * found.to_pos  # the pair of a positive with itself: σ'(0)
    if objective.uses_positives:
        pull -= at_columns[negatives:]
    return loss, at_columns[:negatives], pull, np.abs(slopes) / (share + poison)


def _above_and_slope(own: Floats, columns: Floats, inverse_tau: float, room: Floats) -> Floats:
    """σ(x) and σ'(x) of x = (s_j − s_i)/τ, `[2, K, columns]`: 1/(1 + e) and e/(1 + e)², where e = e^−x.

    Both keep their relative accuracy far out in both tails.
    """
    both = room[:, : len(own)]
    above, slope = both
    np.subtract(own[:, None], columns, out=slope)
    slope *= inverse_tau
    # By a row of limits: NumPy takes twice as long for a single one.
    np.minimum(slope, np.full_like(columns, FARTHEST[own.dtype]), out=slope)
    np.exp(slope, out=slope)
    np.add(slope, 1, out=above)
    np.reciprocal(above, out=above)
    slope *= above
    slope *= above
    return both


def _nothing(values: Floats) -> float:
    """0, or nan where one of the values is not finite."""
    return 0.0 * float(np.maximum.reduce(values)) + 0.0 * float(np.minimum.reduce(values))


def _sums(both: Floats) -> NDArray[np.float64]:
    # NumPy sums in pairs of halves, which is exact to some last places.
    sums: NDArray[np.float64] = np.add.reduce(both, 2).astype(np.float64)
    return sums
