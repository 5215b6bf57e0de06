"""IMB403: a batch brings hardly one live positive, and only live positives carry gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import THRESHOLDED, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import (
    Floats,
    classes_of,
    mean,
    pool,
    recent,
    round_up,
    without_positives,
)


@dataclass(frozen=True)
class StarvedGradient(Rule):
    """Hardly one live positive a batch, in a loss whose gradient reaches positives only.

    ## Symptom
    `live_pos_count` is typically 0 or 1, and so is `grad_pos_count`. The pool may hold many positives:
    those in the queue are detached and teach nothing.

    ## Cause
    Batch size times positive rate is about 1 or less.

    ## Remedy
    A larger batch, gathering over ranks, or a sampler that draws more positives. For the trapezoid
    surrogate, `pos_numerator="live"` averages over live positives, so that each of them counts fully.

    ## Evidence
    The mean of `live_pos_count` over the last 20 records.

    ## Known problems
    None known.

    ## References
    Narasimhan & Agarwal, *A Structural SVM Based Approach for Optimizing Partial AUC*, ICML 2013.
    """

    code: ClassVar[str] = "IMB403"
    name: ClassVar[str] = "starved-gradient"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = THRESHOLDED
    requires: ClassVar[tuple[str, ...]] = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count", "grad_pos_count",
    )  # fmt: skip
    min_records: ClassVar[int] = 10
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002")

    symptom: ClassVar[str] = (
        "a batch of {batch:,.0f} brings {live_positives:.2g} positives of {class_label} on average, and "
        "none in {empty_percent:.0f} % of steps; the {pool_positives:.0f} in the pool carry no gradient."
    )
    cause: ClassVar[str] = (
        "batch size times positive rate is about {live_positives:.2g}, and this loss pushes live positives "
        "only."
    )
    remedy: ClassVar[str] = (
        "a batch of {batch_needed:,.0f} for {wanted_positives:.0f} live positives, gathering over ranks, "
        "or a sampler that draws more positives."
    )
    live_remedy: ClassVar[str] = (
        'pos_numerator="live", so that the gradient is not divided by the pooled positives; besides, a batch '
        "of {batch_needed:,.0f} for {wanted_positives:.0f} live positives, or a sampler that draws more."
    )

    #: Mean live positives a batch, below which the gradient is starved.
    starved: float = 1.0
    #: Live positives of the batch that is recommended.
    wanted_positives: float = 4.0

    def examine(self, window: Window) -> Verdict:
        """Count the live positives of recent batches."""
        if window.config("surrogate") == "pairwise":  # its gradient reaches live negatives too
            return []
        live = mean(recent(window, "live_pos_count"))
        starved = live < self.starved
        if not starved.any():
            return []
        now = pool(window)
        starved &= ~without_positives(window, now)
        return self._findings(window, now.batch, live, classes_of(starved))

    def _findings(self, window: Window, batch: float, live: Floats, classes: list[int]) -> Iterator[Evidence]:
        counts = recent(window, "live_pos_count")
        pooled = mean(recent(window, "pool_pos_count"))
        carrying = mean(recent(window, "grad_pos_count"))
        dilutable = window.kind == "pauc_at_budget" and window.config("pos_numerator") == "pool"
        prescription: dict[str, Any] = {"parameter": "pos_numerator", "from": "pool", "to": "live"}
        for index in classes:
            positives = max(float(live[index]), 1.0 / len(counts))
            yield Evidence(
                {
                    "batch": batch,
                    "live_positives": float(live[index]),
                    "gradient_positives": float(carrying[index]),
                    "pool_positives": float(pooled[index]),
                    "empty_percent": 100.0 * float((counts[:, index] == 0).mean()),
                    "batch_needed": float(round_up(batch * self.wanted_positives / positives)),
                    "wanted_positives": self.wanted_positives,
                },
                index,
                remedy=self.live_remedy if dilutable else None,
                prescription=prescription if dilutable else None,
            )
