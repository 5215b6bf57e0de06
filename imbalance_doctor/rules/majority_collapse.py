"""IMB009: nearly everything is predicted negative, and the rare class is never found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity, Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of


@dataclass(frozen=True)
class MajorityCollapse(Rule):
    """The default decision finds none of the rare class, while accuracy looks excellent.

    ## Symptom
    `true_pos_count` is about 0 over tens of positives: recall at p >= 0.5 (or argmax) is nil. Accuracy is
    one minus the positive rate, which is 99.5 % at a rate of 0.5 %, and says nothing.

    ## Cause
    BCE and cross-entropy are lowest, under imbalance, where nearly everything is predicted negative.

    ## Remedy
    Class weights, a focal loss with a fitting alpha, or a ranking loss; judge by recall, precision and AP.

    ## Evidence
    Recall of the default decision over the recent live positives, at least 20 of them.

    ## Known problems
    None known.

    ## References
    He & Garcia, *Learning from Imbalanced Data*, TKDE 2009.
    """

    code: ClassVar[str] = "IMB009"
    name: ClassVar[str] = "majority-collapse"
    severity: ClassVar[Severity] = "error"
    kinds: ClassVar[frozenset[str]] = LIKELIHOOD
    requires: ClassVar[tuple[str, ...]] = (
        "live_pos_count", "live_neg_count", "predicted_pos_count", "true_pos_count",
    )  # fmt: skip
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001",)

    symptom: ClassVar[str] = (
        "the default decision found {found:.0f} of the last {positives:.0f} positives of {class_label}, "
        "while {accuracy_percent:.2f} % of its decisions were right."
    )
    cause: ClassVar[str] = (
        "at a positive rate of {positive_rate:.2g}, a likelihood loss is lowest where nearly everything is "
        "predicted negative."
    )
    remedy: ClassVar[str] = (
        "weigh the positives (about {weight:.0f} to 1), use a focal loss with a fitting alpha, or a "
        "ranking loss; judge by recall, precision and average precision instead of accuracy."
    )

    #: Recall of the default decision, at or below which a class counts as never found.
    recall: float = 0.05
    #: Live positives that must have been seen.
    positives: float = 20.0
    #: Positive rate above which missing them all is another fault.
    rare: float = 0.2
    #: Steps that any run may spend in collapse.
    allowance_steps: int = 150
    #: Share of a run of known length that may be spent there.
    allowance_share: float = 0.05

    def examine(self, window: Window) -> Verdict:
        """Accumulate decisions until they cover enough positives."""
        steps = window.step - window.run.start_step
        allowed = max(self.allowance_steps, self.allowance_share * (window.run.total_steps or 0))
        if steps < allowed:
            return Skipped(
                f"step {steps} of the {allowed:.0f} that a run may need to leave the all-negative start"
            )
        live = window.series("live_pos_count").values
        newest = live[::-1].cumsum(axis=0)
        seen = newest[-1]
        enough = seen >= self.positives
        if not enough.any():
            return Skipped(f"{seen.max():.0f} of {self.positives:.0f} positives seen")
        found = window.series("true_pos_count").values[::-1].cumsum(axis=0)
        # For each class, the newest records that hold enough positives.
        last = (newest < self.positives).sum(axis=0).clip(max=len(newest) - 1)
        columns = np.arange(live.shape[1])
        positives, hits = newest[last, columns], found[last, columns]
        negatives = window.series("live_neg_count").values.sum(axis=0)
        rate = seen / (seen + negatives).clip(1.0)
        sick = enough & (hits <= self.recall * positives) & (rate < self.rare)
        return self._findings(window, positives, hits, rate, classes_of(sick))

    def _findings(
        self, window: Window, positives: Floats, hits: Floats, rate: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        tp = window.series("true_pos_count").values.sum(axis=0)
        predicted = window.series("predicted_pos_count").values.sum(axis=0)
        seen = window.series("live_pos_count").values.sum(axis=0)
        rows = seen + window.series("live_neg_count").values.sum(axis=0)
        wrong = (predicted - tp) + (seen - tp)
        for index in classes:
            yield Evidence(
                {
                    "found": float(hits[index]),
                    "positives": float(positives[index]),
                    "accuracy_percent": 100.0 * float(1.0 - wrong[index] / rows[index]),
                    "positive_rate": float(rate[index]),
                    "weight": float((1.0 - rate[index]) / rate[index]),
                },
                index,
            )
