"""Losses that several experiments use, as the clinic's catalogue has its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from losses import SigmoidFocalLoss
from tests.clinic.catalogue import warmed


def focal(alpha: float = 0.25, gamma: float = 2.0) -> Callable[[int], nn.Module]:
    """The sigmoid focal loss."""
    return lambda columns: SigmoidFocalLoss(alpha=alpha, gamma=gamma)


def beside_bce(main: Callable[[int], nn.Module], steps: int = 0) -> Callable[[int], nn.Module]:
    """A ranking loss with BCE at half of the weight, its temperature constant; `steps` of BCE alone first."""
    return warmed(main, steps, final_main_weight=0.5, temp_start=0.1, temp_end=0.1)
