"""Pair sums by tiles: one row of the tile is one positive of one class, its columns are the whole pool."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Elements of a tile. Larger tiles leave the second-level cache, smaller ones are all call overhead.
TILE_ELEMENTS = 2**17


@dataclass(frozen=True)
class PositiveRows:
    """The positives of all classes as one flat list, ordered by class."""

    class_index: Tensor  # [K]
    pool_row: Tensor  # [K]
    slot: Tensor  # [K], position within the class
    widest: int  # positives of the class that has most

    @staticmethod
    def of(positive: Tensor) -> PositiveRows:
        """The list of the positives in a mask `[M, C]`."""
        class_index, pool_row = positive.t().nonzero(as_tuple=True)
        count = positive.sum(0)
        first = count.cumsum(0) - count
        slot = torch.arange(class_index.numel(), device=positive.device) - first[class_index]
        return PositiveRows(class_index, pool_row, slot, int(count.max()) if count.numel() else 0)


def logistic_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """σ(x) and σ'(x), each with full relative accuracy in both tails."""
    tail = x.abs().neg_().sigmoid_()
    slope = tail - tail.square()
    return torch.where(x > 0, 1 - tail, tail), slope
