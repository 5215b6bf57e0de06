"""The cases of the rules, one module for each rule, named like the rule's own module.

A module holds `CASES`: at least one sick, one healthy and one borderline `Case`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import History, Window
from imbalance_doctor.records import EvalRecord, LossInfo, RunInfo, StepRecord, WatchRecord, as_array
from imbalance_doctor.statistics import STATISTICS


@dataclass(frozen=True)
class Case:
    """A window, built by hand to hit a border exactly, and what the rule must say of it.

    Statistics are given as one value for all records, or as a function of the record's number; a list
    is one value for each class. None, from a function, leaves the statistic out of that record.
    """

    name: str
    sort: Literal["sick", "healthy", "borderline"]
    kind: str
    stats: Mapping[str, Any]
    #: The severity expected, None for no evidence, "skipped" for a rule that must decline.
    expect: Severity | Literal["skipped"] | None
    config: Mapping[str, Any] = field(default_factory=dict)
    records: int = 20
    every: int = 10
    run: Mapping[str, Any] = field(default_factory=dict)
    #: Validation metrics: a function of the evaluation's number, and how many there were.
    evals: Mapping[str, Any] = field(default_factory=dict)
    evaluations: int = 0
    #: Steps from one evaluation to the next; `every` by default.
    eval_every: int | None = None
    #: Classes that evidence must name, where not just class 0.
    classes: tuple[int | None, ...] = (0,)
    #: Part of the prescription that must be there.
    prescribes: Mapping[str, Any] | None = None

    def history(self) -> History:
        """The run so far."""
        history = History(RunInfo(every=self.every, **self.run))
        history.add(WatchRecord(0, LossInfo("loss", self.kind, dict(self.config))))
        for number in range(self.records):
            given = {name: _at(value, number) for name, value in self.stats.items()}
            stats = {name: _array(name, value) for name, value in given.items() if value is not None}
            history.add(StepRecord(number * self.every, "loss", stats))
        for number in range(self.evaluations):
            metrics = {
                name: _array(name, _at(value, number), per_class=True) for name, value in self.evals.items()
            }
            history.add(EvalRecord(number * (self.eval_every or self.every), metrics))
        return history

    def window(self) -> Window:
        """The window that the rule sees: of a wrapper, the one with its schedule."""
        return next(iter(self.history().windows()))


SCALARS = frozenset(name for name, stat in STATISTICS.items() if not stat.axes)


def _at(value: Any, number: int) -> Any:
    return value(number) if callable(value) else value


def _array(name: str, value: Any, per_class: bool = False) -> np.ndarray[Any, Any]:
    if name in SCALARS and not per_class:
        return as_array(value)
    return as_array(value if isinstance(value, (list, tuple)) else [value])


def counts(
    *,
    positives: Any,
    pool: Any = 1280,
    live: Any = 1.0,
    batch: float = 256,
    rows_of_classes: int = 1,
    **others: Any,
) -> dict[str, Any]:
    """The counts that every ranking loss reports, for a pool of `pool` rows with `positives` in it."""

    def minus(total: Any, part: Any) -> Any:
        if callable(total) or callable(part):
            return lambda number: minus(
                total(number) if callable(total) else total, part(number) if callable(part) else part
            )
        return [total - p for p in part] if isinstance(part, list) else total - part

    return {
        "pool_size": pool,
        "pool_pos_count": positives,
        "pool_neg_count": minus(pool, positives),
        "live_pos_count": live,
        "live_neg_count": minus(batch, live),
        **others,
    }


#: A queue of the default size.
QUEUE = {"queue_size": 1024}
