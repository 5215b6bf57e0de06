"""IMB302: the positives are above the threshold; the loss has nothing left to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, recent


@dataclass(frozen=True)
class RecallMet(Rule):
    """The pooled positives are above the threshold: the objective is met, and the loss has stalled at 0.

    ## Symptom
    Recall does not improve any more, and the loss is near 0.

    ## Cause
    The objective is met: all positives are among the top `quantile` of the pool.

    ## Remedy
    None is needed. If a sharper ranking is wanted, use a smaller quantile (the positive rate is the smallest
    that a perfect model can meet in full) or Smooth-AP.

    ## Evidence
    Over the last 10 records `above_threshold_count` is 99.5 % of `pool_pos_count`, with at least 10 positives
    in each, and the loss is below 0.02. Those records span 100 to 250 steps, in which one of 1,200 positives
    was below in a run that had met its objective.

    ## Known problems
    It says nothing of the validation data: a memorised training set meets its recall as well.

    ## References
    Boyd et al., *Accuracy at the Top*, NeurIPS 2012.
    """

    code = "IMB302"
    name = "recall-met"
    severity = "info"
    kinds = frozenset({"recall_at_quantile"})
    requires = ("per_class_loss", "pool_pos_count", "above_threshold_count")
    min_records = 10

    symptom = (
        "{above_percent:.1f} % of the {positives:.0f} pooled positives of {class_label} are above the "
        "threshold; the loss is {class_loss:.3f}."
    )
    cause = "the objective, recall at quantile {quantile:.3g}, is met; nothing is wrong."
    remedy = (
        "none is needed; check that the quantile is the one you mean. For a sharper ranking, use a smaller "
        "one, down to the positive rate of {positive_rate:.2g}, or Smooth-AP."
    )

    records: int = threshold(10, "Newest records that must all have met it: they span 100 to 250 steps.")
    positives: float = threshold(10.0, "Positives in each record, so that a share of them means something.")
    above: float = threshold(
        0.995, "Share of them above the threshold over those records: one straggler in 1,200 is no miss."
    )
    loss: float = threshold(
        0.02,
        "Loss up to which it is met: one that is higher still pushes positives that are within a few "
        "temperatures of the threshold.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare positives above the threshold with all positives."""
        losses = recent(window, "per_class_loss", self.records)
        met = losses[-1] < self.loss
        if not met.any():
            return []
        positives = recent(window, "pool_pos_count", self.records)
        above = recent(window, "above_threshold_count", self.records)
        met &= ((positives >= self.positives) & (losses < self.loss)).all(axis=0)
        share = above.sum(axis=0) / np.maximum(positives.sum(axis=0), 1.0)
        return self._findings(window, share, classes_of(met & (share >= self.above)))

    def _findings(self, window: Window, share: Floats, classes: list[int]) -> Iterator[Evidence]:
        positives = recent(window, "pool_pos_count", 1)[0]
        rows = (
            positives + recent(window, "pool_neg_count", 1)[0] if window.has("pool_neg_count") else positives
        )
        for index in classes:
            yield Evidence(
                {
                    "above_percent": 100.0 * share[index],
                    "positives": positives[index],
                    "class_loss": recent(window, "per_class_loss", 1)[0, index],
                    "quantile": window.config("quantile", 1.0),
                    "positive_rate": positives[index] / rows[index],
                },
                index,
            )
