"""When which loss counts how much, and how the temperature falls: pure functions of a position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum


class Phase(IntEnum):
    """Where a warmup schedule stands."""

    WARMUP = 0
    BLEND = 1
    MAIN = 2


@dataclass(frozen=True)
class BlendSchedule:
    """Warmup, blend and main phase, in epochs or in steps.

    Attributes:
        warmup: Length of the warmup.
        blend: Length K of the blend.
        final: Weight of the main loss after the blend.
    """

    warmup: int
    blend: int
    final: float

    def phase(self, position: int) -> Phase:
        """The phase at an epoch or step, counted from 0."""
        if position < self.warmup:
            return Phase.WARMUP
        return Phase.BLEND if position < self.warmup + self.blend else Phase.MAIN

    def main_weight(self, position: int) -> float:
        """Weight of the main loss: (k + 1)/(K + 1) of the final one in the k-th part of the blend."""
        phase = self.phase(position)
        if phase is Phase.WARMUP:
            return 0.0
        if phase is Phase.MAIN:
            return self.final
        return self.final * (position - self.warmup + 1) / (self.blend + 1)


@dataclass(frozen=True)
class Decay:
    """A geometric fall from `start` at step `begin` to `end` at step `until`, constant beyond."""

    start: float
    end: float
    begin: int
    until: int

    def at(self, step: int) -> float:
        """The value at `step`."""
        if step >= self.until:
            return self.end
        if step <= self.begin:
            return self.start
        passed = (step - self.begin) / (self.until - self.begin)
        return self.start * math.pow(self.end / self.start, passed)
