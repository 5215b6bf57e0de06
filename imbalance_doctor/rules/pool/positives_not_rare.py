"""IMB205: positives are common, and Smooth-AP has no imbalance to work on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, positive_rates


@dataclass(frozen=True)
class PositivesNotRare(Rule):
    """Smooth-AP is used on a class that is not rare.

    ## Symptom
    More than 20 % of the rows are positives. Nothing goes wrong.

    ## Cause
    The class is common, or a sampler makes it so. Smooth-AP is made for the case in which a likelihood
    loss is led by the negatives.

    ## Remedy
    None is needed. BCE, cross-entropy or a focal loss reach the same order of scores for less, and give
    probabilities. With a sampler, compare at the rate that the model will meet.

    ## Evidence
    Positives over rows of the live batches in the window (a cap on the pool draws more positives than there
    are), above 20 % by three standard errors: at a rate of 20 %, a share of the rows seen so far crosses that
    border again and again. AP after 400 steps of Adam, batch 256, seed 0, on Gaussian data / digits:

    | rate | Smooth-AP | BCE | focal, alpha 0.75 |
    |---|---|---|---|
    | 20 % | .98 / .99 | .98 / .99 | .98 / 1.00 |
    | 5 % | .94 / .97 | .94 / .92 | .94 / .98 |
    | 1 % | .84 / .89 | .84 / .68 | .85 / .83 |

    At 20 % Smooth-AP is not ahead, and a step of it takes longer; below, it is ahead of BCE on digits by .05
    and .21, and on Gaussian data all are the same.

    ## Known problems
    Of few balanced classes each is common (three have a third each); the finding is true of them, but a loss
    that ranks each class against the rest may still be what one wants.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020.
    """

    code = "IMB205"
    name = "positives-not-rare"
    severity = "info"
    kinds = frozenset({"smooth_ap"})
    requires = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count",
    )  # fmt: skip
    explained_by = ("IMB010",)
    foreseeable = True

    symptom = "{rate_percent:.0f} % of the rows are positives of {class_label}."
    cause = "the class is not rare, or a sampler makes it common."
    remedy = "none is needed; BCE, cross-entropy or a focal loss would rank as well at a lower cost."

    common: float = threshold(
        0.2,
        "Share of positives from which Smooth-AP gained nothing over BCE: at 20 % both came to an AP of .98 "
        "and .99.",
    )
    errors: float = threshold(
        3.0,
        "Standard errors that the share must be above it: at a rate that is exactly that, one look in 700 "
        "is by chance.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the positives with the rows."""
        rates = positive_rates(window)
        rows = sum(window.series(f"live_{kind}_count").values.sum(axis=0) for kind in ("pos", "neg"))
        error = np.sqrt(self.common * (1.0 - self.common) / np.maximum(rows, 1.0))
        return self._findings(rates, classes_of(rates > self.common + self.errors * error))

    @staticmethod
    def _findings(rates: Floats, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence({"rate_percent": 100.0 * rates[index]}, index)
