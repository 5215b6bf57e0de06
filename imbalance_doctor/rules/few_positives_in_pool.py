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
    `pool_pos_count` stays below 10. The class's loss jumps from step to step, and runs that differ in
    the seed alone end apart.

    ## Cause
    The pool (live batch and queue) is small for the positive rate: at 0.5 %, a pool of 1,280 rows holds 6.

    ## Remedy
    A larger `queue_size`: the finding prints the size at which 20 positives are expected. It costs
    memory for scores only. A larger batch, gathering over ranks, or a sampler help as well, and also give
    more positives that carry gradient, which the queue does not.

    ## Evidence
    The mean of `pool_pos_count` over the last 20 records with a full queue; while the queue fills, the
    most that the full queue can promise (two standard errors above the count so far).

    Measured at a rate of 0.5 %, batch 128, 400 steps of Adam, 4 seeds, with queues from 128 to 8,192:

    | pooled positives | 1.3 | 3.2 | 5.8 | 11 | 21 | 42 |
    |---|---|---|---|---|---|---|
    | Smooth-AP, Gaussian data: AP | .68 | .67 | .72 | .72 | .76 | .76 |
    | Smooth-AP, make_classification: AP | .75 | .77 | .79 | .82 | .81 | .81 |
    | Recall@1 %, digits: recall at 1 % | .05 | .06 | .08 | .08 | .14 | .15 |
    | partial AUC, digits: recall at 1 % | .05 | .05 | .06 | .08 | .12 | .12 |

    So fewer than 5 cost 5 to 15 % of AP (and doubled its spread over seeds), and more than half of the
    recall at the budget: a warning. Between 5 and 10 the loss is small: info. Fewer than 2 are an error:
    one pool in seven has none at all.

    ## Known problems
    Smooth-AP with `tau_scale="iqr"` hardly suffered in the same runs (AP .77 at 1.3 positives, .76 at 42).
    Class counts near a border come and go with the data.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020.
    """

    code: ClassVar[str] = "IMB003"
    name: ClassVar[str] = "few-positives-in-pool"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = ("pool_size", "pool_pos_count", "live_pos_count", "live_neg_count")
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002", "IMB204")
    foreseeable: ClassVar[bool] = True

    symptom: ClassVar[str] = (
        "{class_label} has {positives:.2g} positives in a pool of {pool_size:,.0f} rows; its loss is an "
        "estimate from a handful of rows."
    )
    cause: ClassVar[str] = "the pool is small for a positive rate of about {positive_rate:.2g}."
    remedy: ClassVar[str] = (
        "{wanted_positives:.0f} positives need queue_size ≈ {queue_size:,.0f} (now {queue_size_now:,.0f}); "
        "or a larger batch, gathering over ranks, or a sampler."
    )

    #: Fewer than these are worth knowing of: AP was 0 to 6 % lower. A hundred balanced classes in the
    #: default queue have 10 to 11 each, and lose nothing that could be measured.
    few: float = 10.0
    #: Fewer than these are a warning: AP was 5 to 15 % lower, recall at the budget less than half.
    poor: float = 5.0
    #: Fewer than these are an error: exp(-2) = 14 % of pools have none.
    noise: float = 2.0
    #: Positives that the prescribed queue is expected to hold: more gained nothing (21 against 42).
    wanted_positives: float = 20.0

    def examine(self, window: Window) -> Verdict:
        """Compare the pool's positives with what an estimate needs."""
        now = pool(window)
        counts = pooled_count(window, "pool_pos_count", now)
        few = counts < self.few
        if not few.any():
            return []
        few &= ~without_positives(window, now)
        # A class without any positive yet, in a run too young for that rule, has no rate to plan with.
        few &= counts > 0
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
                severity=self._degree(float(counts[index])),
                prescription={"parameter": "queue_size", "from": now.queue_size, "to": to},
            )

    def _degree(self, positives: float) -> Severity:
        if positives < self.noise:
            return "error"
        return "warning" if positives < self.poor else "info"
