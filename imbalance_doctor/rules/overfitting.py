"""IMB704: validation falls while the training pool is ranked better and better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import ANY, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import recent
from imbalance_doctor.rules.phases import class_mean, standard_error, validation


@dataclass(frozen=True)
class Overfitting(Rule):
    """Average precision on validation data is past its best, and training rows rank ever better.

    ## Symptom
    Validation average precision peaks and falls; the pool's AUROC goes on rising, and is far above that of
    the validation data.

    ## Cause
    The model memorises training rows: few positives, seen many times.

    ## Remedy
    The weights of the best evaluation (the step is printed), fewer epochs, more regularisation, or more
    positives.

    ## Evidence
    The mean of the newest 5 evaluations is below the best mean of 5 by 0.05 and by 1.5 standard deviations of
    one evaluation (from second differences, so that a trend does not count); validation data misorders at
    least twice as many pairs as the pool, and its AUROC is lower by 0.02 and by 2 standard errors. On fresh
    rows the two agree, so that the wandering of ordinary runs (AP from .86 to .50 on 8 positives) is left
    alone.

    BCE on 512 rows, 30 % of them with a random label, rate 10 %, 600 steps, 3 seeds: AP at the end .54 .61
    .48 on Gaussian data (.82 at its best) and .64 .79 .65 on digits, against .87 and .98 on fresh rows. Found
    at step 150 to 230 and 270 to 470. Without noise a bank of 256 rows reached its best and stayed there (AP
    .77 to .92): nothing falls, and nothing is found.

    ## Known problems
    Validation data of another distribution than the training data show a gap as well, and a drift there
    looks like a fall.

    ## References
    Prechelt, *Early Stopping - But When?*, 1998.
    """

    code: ClassVar[str] = "IMB704"
    name: ClassVar[str] = "overfitting"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = ANY
    requires: ClassVar[tuple[str, ...]] = ("pool_auroc",)
    requires_eval: ClassVar[tuple[str, ...]] = ("average_precision", "auroc")
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB703")

    symptom: ClassVar[str] = (
        "average precision on validation data was {best:.2f} at step {best_step:.0f} and is {now:.2f} at "
        "step {step:.0f}; AUROC is {pool_auroc:.3f} in training and {auroc:.3f} in validation."
    )
    cause: ClassVar[str] = "the model memorises training rows instead of learning what sets positives apart."
    remedy: ClassVar[str] = (
        "stop at step {best_step:.0f} or take its weights; fewer epochs, more regularisation, or more "
        "positives."
    )

    #: Fall of average precision from its best that matters.
    fall: float = 0.05
    #: The same in standard deviations of one evaluation; the difference of two means of five has 0.63.
    noise: float = 1.5
    #: Evaluations that are averaged, for the best and for now.
    smooth: int = 5
    #: Evaluations that there must be.
    evaluations: int = 10
    #: How far the pool's AUROC is above that of the validation data, at the least.
    gap: float = 0.02
    #: The same in standard errors of the validation data's: with 8 positives it may be off by 0.1.
    errors: float = 2.0
    #: Pairs that validation data misorders for each that the pool does, at the least.
    misordered: float = 2.0

    def examine(self, window: Window) -> Verdict:
        """Compare the newest evaluations with the best, and with the pool."""
        precision = validation(window)
        values = precision.values
        if len(values) < self.evaluations or values[-self.smooth :].mean() > values.max() - self.fall:
            return []
        smooth = np.convolve(values, np.full(self.smooth, 1.0 / self.smooth), "valid")
        best = int(smooth.argmax())
        fall = float(smooth[best] - smooth[-1])
        # The second difference of independent errors has the root of 6 times their deviation.
        jitter = 1.48 * float(np.median(np.abs(np.diff(values, 2)))) / math.sqrt(6.0)
        if fall < max(self.fall, self.noise * jitter):
            return []
        ranked = class_mean(recent(window, "pool_auroc"))
        auroc = validation(window, "auroc").values[-self.smooth :]
        known = ranked[np.isfinite(ranked)]
        if not len(known) or not len(auroc):
            return []
        inside, outside = 1.0 - float(known.mean()), 1.0 - float(auroc.mean())
        gap = max(self.gap, self.errors * standard_error(window, 1.0 - outside))
        if outside < max(inside + gap, self.misordered * inside):
            return []
        return [
            Evidence(
                {
                    "best": float(smooth[best]),
                    "best_step": float(precision.steps[best + self.smooth // 2]),
                    "now": float(smooth[-1]),
                    "step": float(precision.steps[-1]),
                    "pool_auroc": 1.0 - inside,
                    "auroc": 1.0 - outside,
                }
            )
        ]
