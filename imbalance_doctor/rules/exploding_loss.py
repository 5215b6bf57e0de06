"""IMB703: the loss grows by orders of magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict


@dataclass(frozen=True)
class ExplodingLoss(Rule):
    """The loss has grown by an order of magnitude or more: the steps are too large.

    ## Symptom
    The loss rises far above where it began, and stays there or goes on rising.

    ## Cause
    A learning rate that is too high for the loss (sum reductions multiply it by the batch), or gradients
    that a few rows dominate.

    ## Remedy
    Lower the learning rate by a factor of 10, clip gradients, warm the learning rate up.

    ## Evidence
    The median loss of the last 5 records is more than 10 times the largest of the first 3 of the window.
    Runs of BCE under SGD at learning rates of 5 to 30 passed that between steps 50 and 140 and went on to
    1e3 to 1e20 or NaN. At a rate of 1 the loss stayed below its first value, at 3 single records were twice
    as high (AP .67 against .87); under Adam at 3.0 one record was 84 times as high and the median was
    not. A median, because one bad batch is no explosion.

    ## Known problems
    Scores that explode may still rank well: some of these runs ended with an AP of .66 to .94, until the
    numbers overflowed. Ranking losses lie between 0 and 1 and cannot explode; their scores can. Large
    steps that kill all units leave the loss where it is, and show as majority collapse (IMB009). A loss
    that starts near 0 (a model that is fine-tuned) reaches ten times its start sooner.

    ## References
    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 8.2.4.
    """

    code: ClassVar[str] = "IMB703"
    name: ClassVar[str] = "exploding-loss"
    severity: ClassVar[Severity] = "error"
    kinds: ClassVar[frozenset[str]] = LIKELIHOOD | {"other"}
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    min_records: ClassVar[int] = 6
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001",)

    symptom: ClassVar[str] = (
        "the loss is {now:.3g}, {growth:,.0f} times its level of {before:.3g} at step {step:.0f}."
    )
    cause: ClassVar[str] = "the learning rate is too high for this loss, or a few rows dominate the gradient."
    remedy: ClassVar[str] = (
        "lower the learning rate by a factor of 10, clip gradients, and warm the learning rate up."
    )

    #: Growth over the level at the beginning of the window. See Evidence.
    growth: float = 10.0

    def examine(self, window: Window) -> Verdict:
        """Compare the newest records with the beginning of the window."""
        series = window.series("loss")
        newest = np.sort(series.values[-5:])
        now = float(newest[(len(newest) - 1) // 2])
        first = series.values[:3]
        before = float(first.max())
        if not before > 0.0 or not now > self.growth * before:
            return []
        return [
            Evidence({"now": now, "before": before, "growth": now / before, "step": float(series.steps[0])})
        ]
