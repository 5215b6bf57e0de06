"""IMB002: a class has no positive in the pool, record after record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import (
    Pool,
    classes_of,
    pool,
    positive_rates,
    queue_for,
    without_positives,
)


@dataclass(frozen=True)
class NoPositivesInPool(Rule):
    """A class has no positive in the pool, record after record: it is not trained at all.

    ## Symptom
    `pool_pos_count` is 0 in most records. The class is invalid there and left out of the mean; when it is
    the only class, the loss is exactly 0 and so is its gradient. The rare class never improves, and the
    loss curve, flat and low, looks like success.

    ## Cause
    The pool (live batch and queue) is smaller than one over the positive rate, so that it is a matter of
    luck whether it holds a positive. Or the loader never delivers any: sorted or filtered data, a label
    that does not occur, positives marked as ignored.

    ## Remedy
    A larger `queue_size` costs memory for scores only, and is the first thing to try; the finding says
    which size makes 10 positives the expected number. A larger batch, gathering over ranks
    (`gather_distributed=True`), or a sampler that draws more positives do the same. Where the declared
    positive rate says that the pool should hold many, look at the loader instead: shuffle it.

    ## Evidence
    `pool_pos_count` is 0 in all of the first 3 to 9 records, in the newest 9, or in more than half of the
    window by 1.6 standard errors (of those with a pool at least half full). With an expectation of 1
    positive, exp(-1) = 37 % of pools have none, with 0.7 it is half; without the margin a run with 1
    expected positive opened and closed this finding twice in 2,000 steps. A well-sized pool (10 expected)
    that is half full has none with a probability of exp(-5) = 0.7 %, so a queue that still fills raises no
    alarm.

    ## Known problems
    A queue so large that it is not half full after several hundred steps delays the finding. A class
    that is meant to be absent from the training data is reported as well; leave it out of the loss.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (needs positives in the retrieval set);
    Wang et al., *Cross-Batch Memory for Embedding Learning*, CVPR 2020 (the queue).
    """

    code: ClassVar[str] = "IMB002"
    name: ClassVar[str] = "no-positives-in-pool"
    severity: ClassVar[Severity] = "error"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = ("pool_size", "pool_pos_count", "live_pos_count", "live_neg_count")
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001",)
    foreseeable: ClassVar[bool] = True

    symptom: ClassVar[str] = (
        "{class_label} has no positive in the pool of {pool_size:,.0f} rows in {empty_percent:.0f} % of "
        "steps, and is not trained in those."
    )
    cause: ClassVar[str] = (
        "the pool is too small for the positive rate, which is about {positive_rate:.2g}: "
        "{expected_positives:.2g} positives are expected in it."
    )
    remedy: ClassVar[str] = (
        "queue_size ≈ {queue_size:,.0f} makes {wanted_positives:.0f} positives the expected number; or a "
        "larger batch, gathering over ranks, or a sampler that draws more positives."
    )

    unseen_cause: ClassVar[str] = (
        "none of about {rows_seen:,.0f} rows seen so far was positive: the class is rarer than that, or "
        "the loader does not deliver it (sorted or filtered data, wrong label id)."
    )
    unseen_remedy: ClassVar[str] = (
        "check that the training data holds the class and is shuffled. If it does, the pool needs a "
        "queue_size of {queue_size:,.0f} or more for {wanted_positives:.0f} positives, or a sampler."
    )
    loader_cause: ClassVar[str] = (
        "the loader: at the declared positive rate of {positive_rate:.2g} this pool should hold "
        "{expected_positives:,.0f} positives. The data is sorted, filtered, or labelled otherwise."
    )
    loader_remedy: ClassVar[str] = (
        "shuffle the loader, and check labels and ignore_index; no setting of the loss helps."
    )

    #: Positives that the prescribed queue is expected to hold: then a pool holds none once in 22,000.
    wanted_positives: float = 10.0
    #: With this many expected from the declared rate and none found, it is the loader: exp(-10) = 5e-5.
    surely_expected: float = 10.0

    def examine(self, window: Window) -> Verdict:
        """Count the records without positives."""
        now = pool(window)
        absent = without_positives(window, now)
        return self._findings(window, now, classes_of(absent)) if absent.any() else []

    def _findings(self, window: Window, now: Pool, classes: list[int]) -> Iterator[Evidence]:
        counts, rates = window.series("pool_pos_count").values, positive_rates(window)
        records = len(window.series("live_pos_count"))
        seen = now.size + now.batch * (records - 1)
        for index in classes:
            declared = window.run.positive_rate(index)
            rate = declared or float(rates[index])
            unseen = rate == 0.0
            to = queue_for(self.wanted_positives / (rate or 1.0 / seen), now)
            values = {
                "pool_size": now.size,
                "empty_percent": 100.0 * float(np.mean(counts[:, index] == 0)),
                "positive_rate": rate,
                "expected_positives": rate * now.full_size,
                "rows_seen": seen,
                "queue_size": float(to),
                "wanted_positives": self.wanted_positives,
            }
            if declared and declared * now.full_size >= self.surely_expected:
                yield Evidence(values, index, cause=self.loader_cause, remedy=self.loader_remedy)
                continue
            yield Evidence(
                values,
                index,
                cause=self.unseen_cause if unseen else None,
                remedy=self.unseen_remedy if unseen else None,
                prescription={"parameter": "queue_size", "from": now.queue_size, "to": to},
            )
