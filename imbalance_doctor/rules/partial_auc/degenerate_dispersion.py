"""IMB402: partial AUC cannot be computed because the negatives' scores are all equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import RECENT, Bools, Floats, classes_of, held, mean


@dataclass(frozen=True)
class DegenerateDispersion(Rule):
    """The scores of the negatives are constant: partial AUC has no band, and the class is left out.

    ## Symptom
    `valid` is 0 for a class that has positives and negatives in the pool. Its loss does not count, it has
    no gradient, and when it is the only class the loss is exactly 0.

    ## Cause
    The model outputs one number for every row: dead units after too large a step, a head that was set to
    zero, an input that is constant (a normalisation without spread).

    ## Remedy
    Look at the model's output for one batch. Lower the learning rate, begin with a warmup on BCE or
    cross-entropy, re-initialise the head. No setting of the loss helps: there is no order in equal scores.

    ## Evidence
    In at least half of the recent records the class is invalid although `pool_pos_count`,
    `iid_neg_count` and `band_neg_count` are above zero (equal scores all lie in the band), or all live
    scores are equal to rounding (`live_score_quantiles`). The second is how it looks while the one number
    drifts: the queue then holds other constants, and the pool as a whole is not constant. In runs with
    dead hidden units it held at every record.

    ## Known problems
    None known.

    ## References
    Narasimhan & Agarwal, *A Structural SVM Based Approach for Optimizing Partial AUC*, ICML 2013.
    """

    code = "IMB402"
    name = "degenerate-dispersion"
    severity = "error"
    kinds = frozenset({"pauc_at_budget"})
    requires = (
        "valid",
        "pool_pos_count",
        "live_pos_count",
        "iid_neg_count",
        "band_neg_count",
        "live_score_quantiles",
    )
    explained_by = ("IMB001",)
    min_records = 3

    symptom = (
        "{class_label} was left out of the loss in {invalid_percent:.0f} % of recent records because the "
        "scores of its negatives are all equal; the pool holds {positives:,.0f} positives and "
        "{negatives:,.0f} negatives."
    )
    cause = "the model outputs one number for every row (dead units, a zero head, constant input)."
    remedy = (
        "look at the model's output for one batch; lower the learning rate, re-initialise the head, or "
        "begin with a warmup on BCE or cross-entropy."
    )

    share: float = threshold(
        0.5,
        "Share of recent records in which the class is invalid for this reason: it held at every record in "
        "runs with dead units, and half leaves room for a fault that began in the window.",
    )
    rounding: float = threshold(
        1e-6,
        "Relative difference of scores up to which they are equal: float32 resolves 1.2e-7, and sums lose a "
        "digit.",
    )

    def examine(self, window: Window) -> Verdict:
        """Count the records in which a class is invalid without lack of rows."""
        live = window.config("pos_numerator") == "live"
        series = window.aligned(
            "valid", "live_pos_count" if live else "pool_pos_count", "iid_neg_count", "band_neg_count"
        )
        steps = series[0].steps[-RECENT:]
        valid, positives, negatives, in_band = (each.values[-RECENT:] for each in series)
        valid = np.where(self._constant(window, steps), 0.0, valid)
        if valid.all():
            return []
        complete = (positives > 0) & (negatives > 0) & (in_band > 0)
        share = ((valid == 0) & complete).sum(axis=0) / len(valid)
        sick = share >= self.share
        return self._findings(share, mean(positives), mean(negatives), classes_of(sick))

    def _constant(self, window: Window, steps: NDArray[np.int64]) -> Bools:
        """Records in which all live scores are equal, though an older constant may lie in the queue."""
        live = held(window, "live_score_quantiles", steps)
        low, high = live[:, :, 0], live[:, :, -1]
        equal: Bools = high - low <= self.rounding * np.maximum(np.abs(low), np.abs(high))
        return equal

    def _findings(
        self, share: Floats, positives: Floats, negatives: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence(
                {
                    "invalid_percent": 100.0 * share[index],
                    "positives": positives[index],
                    "negatives": negatives[index],
                },
                index,
            )
