"""What one moment of a training run leaves behind: plain, immutable records.

A record is what a watcher makes, the run log keeps and the rules read. Numbers are float32 arrays:
the precision that losses work in, and one that survives being written as decimal text without change,
so that a diagnosis made from the log is the diagnosis that was made live.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.losses import kinds, warmup

Array: TypeAlias = NDArray[np.float32]

#: The largest number of a step: beyond it readers of JSON that know floating point alone lose count.
MOST_STEPS = 2**53

#: The two losses of a warmup wrapper: the settings under which its own have the kind and settings of each.
MAIN_LOSS, WARMUP_LOSS = "main_loss", "warmup_loss"


@dataclass(frozen=True)
class LossInfo:
    """A watched loss: the name it goes by in this run, its kind, and its settings.

    A warmup wrapper is two losses in turn, which go by its name; what shape its settings have is known here
    alone.
    """

    name: str
    kind: str = kinds.OTHER
    config: Mapping[str, Any] = field(default_factory=dict)

    def setting(self, name: str, default: Any = None) -> Any:
        """A setting; where a wrapper has none of this name, that of its main loss, as in `reconfigure`."""
        if name not in self.config and self.main is not None:
            return self.main.config.get(name, default)
        return self.config.get(name, default)

    @property
    def main(self) -> LossInfo | None:
        """The loss that a wrapper ends with; None of any other loss."""
        return self._part(MAIN_LOSS)

    @property
    def warmup(self) -> LossInfo | None:
        """The loss that a wrapper begins with; None of any other loss."""
        return self._part(WARMUP_LOSS)

    def active(self, phase: float) -> LossInfo:
        """The loss whose statistics are reported in a phase: of a wrapper one of its two."""
        return (self.warmup if phase == warmup.schedule.Phase.WARMUP else self.main) or self

    @property
    def gathers(self) -> bool:
        """Whether it ranks the rows of all processes, where there are several."""
        config = (self.main or self).config
        return "queue_size" in config and config.get("gather_distributed") is not False

    @property
    def identity(self) -> tuple[str, Mapping[str, Any]]:
        """What makes it another loss when it changes: all but the temperature that a wrapper moves itself."""
        if self.main is None:
            return self.kind, self.config
        main = {name: value for name, value in self.main.config.items() if name != "temperature"}
        return self.kind, {**self.config, MAIN_LOSS: {**main, "kind": self.main.kind}}

    def _part(self, role: str) -> LossInfo | None:
        if self.kind != kinds.WARMUP or not isinstance(self.config, Mapping):
            return None
        held = self.config.get(role)
        settings = {"kind": kinds.OTHER, **(held if isinstance(held, Mapping) else {})}
        return LossInfo(self.name, str(settings.pop("kind")), MappingProxyType(settings))


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first step; the header of its log."""

    every: int = 10
    total_steps: int | None = None
    population_positive_rate: float | tuple[float, ...] | None = None
    #: In the order of the class ids; None for an id without a name.
    class_names: tuple[str | None, ...] | None = None
    #: The validation metric that the run is for, where declared: one of `imbalance_doctor.scores.metrics`.
    target_metric: str | None = None
    rank: int = 0
    world_size: int = 1
    start_step: int = 0
    started: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    #: How rules were chosen and tuned, so that a report from the log repeats the live choice.
    rules: Mapping[str, Any] = field(default_factory=dict)

    def class_name(self, index: int | None, classes: int) -> str | None:
        """The user's name for a class, or None. A single column is the positive class of two.

        Of more than two names, nothing tells which one a single column has.
        """
        names = self.class_names
        if index is None or names is None or (classes == 1 and len(names) > 2):
            return None
        if classes == 1:
            return names[-1]
        return names[index] if index < len(names) else None

    def positive_rate(self, index: int) -> float | None:
        """The declared share of positives of a class in the population, or None."""
        rate = self.population_positive_rate
        if isinstance(rate, tuple):
            return rate[index] if index < len(rate) else None
        # One number speaks of one positive class; it says nothing about each of several.
        return rate if index == 0 or rate is None else None


@dataclass(frozen=True)
class StartRecord:
    """A later session of the run begins: what it does not watch again is watched no more."""

    step: int


@dataclass(frozen=True)
class WatchRecord:
    """A loss was put under watch, or its settings changed."""

    step: int
    loss: LossInfo


@dataclass(frozen=True)
class StepRecord:
    """The statistics of one watched loss at one step, names as in `losses.catalogue`."""

    step: int
    loss: str
    stats: Mapping[str, Array]
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalRecord:
    """Validation metrics per class, names as in `imbalance_doctor.scores.metrics.METRICS`."""

    step: int
    metrics: Mapping[str, Array]


@dataclass(frozen=True)
class TreatmentRecord:
    """A setting of a running loss was changed because a finding prescribed it."""

    step: int
    loss: LossInfo
    code: str
    parameter: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.parameter} {self.before} → {self.after} ({self.code}, step {self.step})"


@dataclass(frozen=True)
class EndRecord:
    """The run was closed in good order."""

    step: int


Record: TypeAlias = StartRecord | WatchRecord | StepRecord | EvalRecord | TreatmentRecord | EndRecord


def whole(step: Any) -> int:
    """The number of a step.

    Raises:
        ValueError: It is no whole number from 0 to `MOST_STEPS`.
    """
    try:
        number = int(step)
        if number == step and 0 <= number <= MOST_STEPS:
            return number
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch's tensors raise the last
        pass
    raise ValueError(f"expected the number of a step, from 0 to 2**53, got {step!r:.60}")


def goes_on(records: Sequence[Record], earlier: Sequence[Record]) -> bool:
    """Whether records are the earlier ones and those that came since."""
    return len(records) >= len(earlier) and all(map(operator.is_, earlier, records))


def as_array(values: float | Sequence[Any] | np.ndarray[Any, Any]) -> Array:
    """Numbers as the float32 array that a record holds."""
    return np.asarray(values, dtype=np.float32)
