"""What one moment of a training run leaves behind: plain, immutable records.

A record is what the recorder writes, the run log keeps and the rules read. Numbers are float32 arrays:
the precision that losses work in, and one that survives being written as decimal text without change,
so that a diagnosis made from the log is the diagnosis that was made live.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.losses import kinds

Array: TypeAlias = NDArray[np.float32]

#: The largest number of a step: beyond it readers of JSON that know floating point alone lose count.
MOST_STEPS = 2**53


@dataclass(frozen=True)
class LossInfo:
    """A watched loss: the name it goes by in this run, its kind, and its settings."""

    name: str
    kind: str = kinds.OTHER
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gathers(self) -> bool:
        """Whether it ranks the rows of all processes, where there are several."""
        main = self.config.get("main_loss")
        config = main if isinstance(main, Mapping) and main else self.config
        return "queue_size" in config and config.get("gather_distributed") is not False


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first step; the header of its log."""

    every: int = 10
    total_steps: int | None = None
    population_positive_rate: float | tuple[float, ...] | None = None
    #: In the order of the class ids; None for an id without a name.
    class_names: tuple[str | None, ...] | None = None
    #: The validation metric that the run is for, one of `imbalance_doctor.metrics.METRICS`, where declared.
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
    """The statistics of one watched loss at one step, names as in `losses.diagnostics.CATALOGUE`."""

    step: int
    loss: str
    stats: Mapping[str, Array]
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalRecord:
    """Validation metrics per class, names as in `imbalance_doctor.metrics.METRICS`."""

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
    raise ValueError(f"expected the number of a step, from 0 to 2**53; got {step!r:.60}")


def goes_on(records: Sequence[Record], earlier: Sequence[Record]) -> bool:
    """Whether records are the earlier ones and those that came since."""
    return len(records) >= len(earlier) and all(map(operator.is_, earlier, records))


def as_array(values: float | Sequence[Any] | np.ndarray[Any, Any]) -> Array:
    """Numbers as the float32 array that a record holds."""
    return np.asarray(values, dtype=np.float32)
