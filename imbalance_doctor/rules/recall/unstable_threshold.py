"""IMB303: the threshold jumps from record to record by more than the scores drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import THRESHOLDED, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    RECENT,
    UNCAP,
    Floats,
    cap_for,
    classes_of,
    held,
    larger_queue,
    mean,
    pool,
)


@dataclass(frozen=True)
class UnstableThreshold(Rule):
    """The threshold (or the band's lower edge) jumps by a tenth of the scores' spread and more.

    ## Symptom
    `threshold` (or `t_beta`) goes up and down between records, while the scores around it move little.

    ## Cause
    Few scores lie near the quantile: the pool is small for it, or a cap leaves few rows of it.

    ## Remedy
    Raise `queue_size` until 20 rows lie above the threshold, or remove the cap; and keep the quantile (or
    budget) well away from the positive rate.

    ## Evidence
    The mean distance of the threshold from the mean of its two neighbours in time, over the last 20 records,
    is above 0.1 interquartile ranges of the scores, with fewer than 10 rows above it. Drift cancels in it.

    Recall beside BCE at half of the weight, rate 2 %, batch 256, two seeds: jumps of 0.03 to 0.09 ranges with
    a queue of 4,096 and 1 or more rows in a hundred above the threshold; 0.3 to 2.2 with four rows above it.
    Random patterns as images, for a small convolution, lie wider: 0.02 to 0.03 against 0.12 to 0.15, and AP
    .75 against .67 (3 seeds). In 160 ordinary runs 5 were above 0.2, all on sequences, whose scores are
    nearly tied for a long time.

    AP with 4 rows above the threshold against 84 and more: Gaussian data .89 / .90, digits .69 / .81,
    make_classification .84 / .88; with 15 rows and jumps of 0.14 to 0.21 nothing was lost (.91 / .80 / .88).
    What harms is the small number, which IMB304 (and IMB401) says more directly; a threshold that jumps at a
    good number is harmless, and is not reported. Information.

    ## Known problems
    A learning rate that moves all scores to and fro shows the same.

    ## References
    David & Nagaraja, *Order Statistics*, 2003 (the variance of a quantile is inverse to the squared density).
    """

    code = "IMB303"
    name = "unstable-threshold"
    severity = "info"
    kinds = THRESHOLDED
    requires = (
        "pool_size", "live_pos_count", "live_neg_count", "tau_eff", "score_iqr",
    )  # fmt: skip
    min_records = RECENT
    explained_by = (
        "IMB001", "IMB002", "IMB003", "IMB010", "IMB204", "IMB301", "IMB304", "IMB401", "IMB402", "IMB407",
    )  # fmt: skip

    symptom = (
        "the threshold of {class_label} jumps by {jump:.2g} from record to record: {jump_in_spreads:.2g} "
        "times the spread of its scores, and {jump_in_temperatures:.2g} temperatures."
    )
    cause = (
        "few scores lie near the threshold: {rows_above:.2g} rows of the pool are above a quantile of "
        "{quantile:.3g}."
    )
    remedy = (
        "raise queue_size to about {queue_size:,.0f} (now {queue_size_now:,.0f}), for {wanted_rows:.0f} "
        "rows above the threshold; and keep the quantile well away from the positive rate of "
        "{positive_rate:.2g}."
    )

    cap_remedy = UNCAP

    jump: float = threshold(
        0.1,
        "Mean jump of the threshold, in interquartile ranges of the scores: 0.02 to 0.09 with a queue that "
        "is large enough, 0.12 to 2.2 with four rows above the threshold.",
    )
    rows: float = threshold(
        10.0, "Rows above the threshold from which on a jump is harmless: with 15 nothing was lost."
    )
    wanted_rows: float = threshold(
        20.0,
        "Rows above the threshold with the prescribed queue: the relative error of their share is 22 % at "
        "20.",
    )

    def examine(self, window: Window) -> Verdict:
        """Measure how far each threshold is from the mean of its neighbours in time."""
        name = "threshold" if window.kind == "recall_at_quantile" else "t_beta"
        series = window.recent(name, RECENT)
        values = series.values
        if len(values) < RECENT:
            return []
        jumps = np.abs(values[1:-1] - 0.5 * (values[:-2] + values[2:]))
        typical = mean(jumps)
        spread = window.series("score_iqr").values[-1]
        if not (typical > 0.5 * self.jump * spread).any():
            return []
        spreads = mean(held(window, "score_iqr", series.steps[1:-1]))
        found = classes_of(typical > self.jump * spreads)
        return self._findings(window, typical, spreads, found)

    def _findings(
        self, window: Window, jumps: Floats, spreads: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        if not classes:
            return
        now, taus = pool(window), mean(window.recent("tau_eff", RECENT).values)
        quantile = float(window.config("quantile") or window.config("beta") or 1.0)
        wanted = self.wanted_rows / quantile
        to = larger_queue(wanted, now)
        if now.full_size * quantile >= self.rows or (to is None and not now.cap):
            return
        positives = window.series("live_pos_count").values.sum(axis=0)
        rows = positives + window.series("live_neg_count").values.sum(axis=0)
        for index in classes:
            yield Evidence(
                {
                    "jump": jumps[index],
                    "jump_in_spreads": jumps[index] / spreads[index],
                    "jump_in_temperatures": jumps[index] / taus[index],
                    "rows_above": now.full_size * quantile,
                    "quantile": quantile,
                    "wanted_rows": self.wanted_rows,
                    "queue_size_now": now.queue_size,
                    **({} if to is None else {"queue_size": to}),
                    **({"cap_wanted": cap_for(wanted, now)} if now.cap else {}),
                    "positive_rate": positives[index] / max(rows[index], 1.0),
                },
                index,
                remedy=self.cap_remedy if now.cap else None,
            )
