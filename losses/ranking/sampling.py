"""Random draws that every rank and every resumed run repeats: a hash of a step counter, not a generator.

A generator's state lives outside the checkpoint, differs between ranks, and cannot be read on a device
without waiting for it. A hash of (step, row) needs none of that, and it leaves the global generator alone.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .._checks import looks_are_free

_LOW_32 = 0xFFFFFFFF


_Integer = TypeVar("_Integer", int, Tensor)


def _mix(x: _Integer) -> _Integer:
    """Mix 32-bit integers held in int64, or one in Python.

    Xor-shift and multiply rounds in the manner of Wellons' "hash prospector"; the multipliers are odd and
    below 2^31, so that no product leaves the range of int64.
    """
    for shift, multiplier in ((16, 0x7FEB352D), (15, 0x31848BAB), (16, 0x45D9F3B)):
        x = x ^ (x >> shift)
        x = (x * multiplier) & _LOW_32
    return x ^ (x >> 16)


def uniform(step: Tensor, count: int, stream: int) -> Tensor:
    """`count` reproducible numbers in [0, 1), float64, for one step and one named stream.

    Args:
        step: 0-dim int64; the number of forwards that have fed the queue.
        count: How many numbers.
        stream: Draws for different purposes in one step use different streams.
    """
    rows = torch.arange(count, device=step.device)
    return _draw(rows, _seed(step, stream)).double() / 2**53


def uniform_first(step: Tensor, stream: int) -> Tensor | float:
    """The first of the numbers of `uniform`; in Python, and faster, where a look at `step` is free."""
    if looks_are_free(step):
        return _draw(0, _seed(int(step), stream)) / 2**53
    return uniform(step, 1, stream)


def _seed(step: _Integer, stream: int) -> _Integer:
    return _mix((step & _LOW_32) ^ _mix((step >> 32) + stream))


def _draw(row: _Integer, seed: _Integer) -> _Integer:
    """53 bits, the mantissa of float64: ties among a million rows stay improbable.

    Two rounds: neighbouring (step, row) pairs differ in one bit, and one round alone correlates them.
    """
    return _mix(row ^ seed) * 2**21 + (_mix(_mix(row + 1) ^ seed) >> 11)


def rows_in_order(keep: Tensor) -> tuple[Tensor, Tensor]:
    """`[N]` row indices, the kept ones first and in their order, and the 0-dim count of those."""
    return torch.argsort(keep.logical_not().to(torch.int8), stable=True), keep.sum()


def fair_order(stratum: Tensor, keep: Tensor, size: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """Choose at most `size` of the kept rows, each stratum by its share (systematic sampling).

    Every kept row has the same chance, and each stratum (and, within it, each rank, whose rows lie
    together) gets its share rounded up or down: a class of 64 rows in 10,000 is never wiped out by the luck
    of one draw.

    Args:
        stratum: `[N]` integers.
        keep: `[N]` bool.
        size: How many rows there is room for, fewer than N.
        step: 0-dim int64, the seed of the draw.

    Returns:
        `[size]` row indices in their original order, those chosen first, and their 0-dim count.
    """
    rows = keep.shape[0]
    count = keep.sum()
    last = torch.iinfo(torch.int64).max
    ordered = torch.argsort(torch.where(keep, stratum, last), stable=True)
    places = torch.arange(size, device=keep.device)
    start = uniform_first(step, stream=1)
    spaced = ((places.double() + start) * (count.double() / size)).long()
    spaced = torch.minimum(spaced, (count - 1).clamp_min(0))
    chosen = ordered[torch.where(count > size, spaced, places)]
    taken = count.clamp_max(size)
    return torch.where(places < taken, chosen, rows - 1 + chosen * 0).sort().values, taken


def fair_rows(stratum: Tensor, size: int, step: Tensor) -> Tensor:
    """The rows that `fair_order` chooses where all N > `size` are kept and a look at values is free."""
    rows = stratum.shape[0]
    keys = stratum.numpy()
    # NumPy sorts integers of two bytes by their digits.
    ordered = (keys.astype(np.uint16) if keys.max() < 2**16 else keys).argsort(kind="stable")
    spaced = ((np.arange(size) + uniform_first(step, stream=1)) * (rows / size)).astype(np.int64)
    chosen = ordered[np.minimum(spaced, rows - 1)]
    chosen.sort()
    return torch.from_numpy(chosen)


def quota_sample(
    stratum: Tensor, strata: int, counted: Tensor, size: int, step: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose `size` rows with a guaranteed minimum for each stratum, and say how likely each was.

    Each observed stratum first gets ``max(1, size // (2 · observed strata))`` rows (all it has, if fewer);
    the rest is drawn uniformly from the rows that are left. If the guarantees alone exceed `size`, they
    are thinned uniformly.

    Args:
        stratum: `[M]` integers in [0, strata).
        strata: The number of strata.
        counted: `[M]` bool; other rows are chosen last, to keep the size fixed.
        size: How many rows to choose; at most M.
        step: 0-dim int64, the seed of the draw.

    Returns:
        `[size]` row indices in their original order, and the `[M]` inclusion probability of every row.
    """
    rows = counted.shape[0]
    where = torch.where(counted, stratum, strata)
    total = torch.zeros(strata + 1, dtype=torch.int64, device=counted.device)
    total = total.scatter_add(0, where, torch.ones_like(where))
    observed = (total[:strata] > 0).sum().clamp_min(1)
    quota = (size // (2 * observed)).clamp_min(1)

    # Place of each row within its stratum, in random order: sort by (stratum, draw).
    draw = uniform(step, rows, stream=2)
    order = torch.argsort(draw)
    order = order[torch.argsort(where[order], stable=True)]
    first = total.cumsum(0) - total
    place = torch.empty_like(where)
    place[order] = torch.arange(rows, device=where.device) - first[where[order]]

    guaranteed = counted & (place < quota)
    left_over = counted & ~guaranteed
    key = uniform(step, rows, stream=3) + torch.where(guaranteed, 0, torch.where(left_over, 1, 2))
    chosen = torch.argsort(key)[:size].sort().values

    granted = total[:strata].minimum(quota).double()
    thinned = (size / granted.sum().clamp_min(1)).clamp_max(1.0)
    room = (size - granted.sum()).clamp_min(0)
    filled = (room / left_over.sum().clamp_min(1)).clamp_max(1.0)
    share = granted / total[:strata].clamp_min(1)
    probability = share * thinned + (1 - share) * filled
    return chosen, torch.where(counted, probability[stratum], 1.0)
