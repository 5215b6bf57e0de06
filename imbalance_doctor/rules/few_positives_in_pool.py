"""IMB003: the pool holds too few positives of a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import (
    Floats,
    Pool,
    classes_of,
    pool,
    pooled_count,
    positive_rates,
    queue_for,
    without_positives,
)


@dataclass(frozen=True)
class FewPositivesInPool(Rule):
    """The pool holds so few positives of a class that its loss is an estimate from a handful of rows.

    ## Symptom
    `pool_pos_count` stays below 10. The class's loss jumps from step to step; at fewer than 5 it is noise.

    ## Cause
    The pool (live batch and queue) is small for the positive rate: at 0.5 %, a pool of 1,280 rows holds 6.

    ## Remedy
    A larger `queue_size`: the finding prints the size at which 20 positives are expected. It costs
    memory for scores only. A larger batch, gathering over ranks, or a sampler help as well, and also give
    more positives that carry gradient, which the queue does not.

    ## Evidence
    The mean of `pool_pos_count` over the last 20 records with a full queue.

    ## Known problems
    Counts within one or two of the border come and go with the data.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020.
    """

    code: ClassVar[str] = "IMB003"
    name: ClassVar[str] = "few-positives-in-pool"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = ("pool_size", "pool_pos_count", "live_pos_count", "live_neg_count")
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002")

    symptom: ClassVar[str] = (
        "{class_label} has {positives:.2g} positives in a pool of {pool_size:,.0f} rows; its loss is an "
        "estimate from a handful of rows."
    )
    cause: ClassVar[str] = "the pool is small for a positive rate of about {positive_rate:.2g}."
    remedy: ClassVar[str] = (
        "{wanted_positives:.0f} positives need queue_size ≈ {queue_size:,.0f} (now {queue_size_now:,.0f}); "
        "or a larger batch, gathering over ranks, or a sampler."
    )

    #: Fewer than these is a warning.
    few: float = 10.0
    #: Fewer than these is an error.
    noise: float = 5.0
    #: Positives that the prescribed queue is expected to hold.
    wanted_positives: float = 20.0

    def examine(self, window: Window) -> Verdict:
        """Compare the pool's positives with what an estimate needs."""
        now = pool(window)
        counts = pooled_count(window, "pool_pos_count", now)
        few = counts < self.few
        if not few.any():
            return []
        few &= ~without_positives(window, now)
        return self._findings(window, now, counts, classes_of(few))

    def _findings(self, window: Window, now: Pool, counts: Floats, classes: list[int]) -> Iterator[Evidence]:
        rates = positive_rates(window)
        for index in classes:
            rate = window.run.positive_rate(index) or float(counts[index]) / now.full_size
            to = queue_for(self.wanted_positives / rate, now)
            yield Evidence(
                {
                    "positives": float(counts[index]),
                    "pool_size": now.full_size,
                    "positive_rate": rate,
                    "observed_rate": float(rates[index]),
                    "wanted_positives": self.wanted_positives,
                    "queue_size": float(to),
                    "queue_size_now": float(now.queue_size),
                },
                index,
                severity="error" if counts[index] < self.noise else "warning",
                prescription={"parameter": "queue_size", "from": now.queue_size, "to": to},
            )
