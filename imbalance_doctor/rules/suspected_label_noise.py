"""IMB004: some positives lie deep among the negatives while the rest are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity, Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of, mean
from imbalance_doctor.rules.scores import MEDIAN, Q05, Q75, Q95, distinct_rows, share_below


@dataclass(frozen=True)
class SuspectedLabelNoise(Rule):
    """Most positives are told apart from the negatives, and a share of them scores like any negative.

    ## Symptom
    `pos_score_quantiles` fall apart: the median positive is above 95 % of the negatives, and the lowest
    positives are below the median negative.

    ## Cause
    Rows labelled positive that are not, usually. They score as what they are, and half of them lie below
    the median negative.

    ## Remedy
    Look at the lowest-scored positives, by a model that has not seen them; correct or drop what is wrong.

    ## Evidence
    The share of positives below the median negative, over the last four looks at the scores after step 100,
    is above 2.5 % by a standard error. Twice that is the estimate of the mislabelled, whose scores are those
    of negatives; so their share below the upper quartile is 1.5 times as large, where positives on a slope
    down to the negatives have 2.5 times and more. Not judged where the rest is not told apart, and while the
    share falls by a third: the model is still learning.

    Of positives with 10 / 20 / 40 % mislabelled (5 %, batch 256, 2 seeds) it saw .05 / .09 / .21 below the
    median on Gaussian data and digits, and none of it on sequences, whose classes overlap. Rows drawn anew
    (400 to 500 steps), and 4,096 rows 37 times over; AP on clean validation data, Gaussian data / digits:

    | loss | anew: clean | 20 % | 40 % | again: clean | 40 % |
    |---|---|---|---|---|---|
    | Smooth-AP | .94 / .97 | .94 / .97 | .94 / .95 | .90 / .95 | .86 / .91 |
    | partial AUC, pairwise | .94 / .97 | .94 / .96 | .94 / .95 | .92 / .94 | .88 / .92 |
    | BCE | .94 / .95 | .94 / .96 | .94 / .96 | .91 / .96 | .88 / .93 |
    | focal, gamma 2, alpha 0.25 | .94 / .96 | .94 / .98 | .93 / .96 | .90 / .96 | .86 / .94 |

    Ranking losses do not suffer most, as published; all lose some .04 where rows come again. Information
    below an estimate of 20 %, a warning from there. Of 148 ordinary runs it named one, at 15 %.

    ## Known problems
    A kind of positive that the model cannot see, or has not learnt yet, scores like negatives as well (that
    one run). Rows that come again are learnt by heart, wrong labels included, and the positives close up:
    of likelihood losses on 4,096 rows it saw 2 in 8 in time, of ranking losses all. Look at rows that the
    model has not trained on. Likelihood losses with a few positives in a batch take 20 % to be seen.

    ## References
    Northcutt, Jiang & Chuang, *Confident Learning*, JAIR 2021.
    """

    code: ClassVar[str] = "IMB004"
    name: ClassVar[str] = "suspected-label-noise"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = RANKING | LIKELIHOOD
    requires: ClassVar[tuple[str, ...]] = (
        "pos_score_quantiles", "neg_score_quantiles", "live_pos_count", "pool_pos_count",
    )  # fmt: skip
    min_records: ClassVar[int] = 10
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB006")

    symptom: ClassVar[str] = (
        "{deep_percent:.1f} % of the positives of {class_label} score below the median negative, while "
        "{above_percent:.0f} % score above 95 % of the negatives."
    )
    cause: ClassVar[str] = (
        "about {noise_percent:.0f} % of its positives score like negatives: mislabelled rows, or a kind of "
        "positive that the model cannot see."
    )
    remedy: ClassVar[str] = (
        "look at the lowest-scored positives, by a model that has not seen them; correct the labels, or "
        "drop the rows."
    )

    #: Share of positives below the median negative; twice as many are as negatives are. See Evidence.
    deep: float = 0.025
    #: Share from which the positives as a whole have not been learnt yet: chance is 0.5.
    most: float = 0.35
    #: Different positives that must have been seen: quantiles of four rows say nothing of a share of 3 %. A
    #: run on 1,000 classes with one positive of a class in its pool was told that all were mislabelled.
    positives: float = 20.0
    #: From this share on it is a warning: 20 % mislabelled.
    harmful: float = 0.1
    #: Standard errors by which that share must exceed the first.
    certainty: float = 1.0
    #: Share below the upper quartile of the negatives, over the share below their median: 1.5 for rows that
    #: score as negatives do, 1.4 to 1.9 under noise, above 2.1 in all but 3 of 148 healthy runs, where
    #: positives lie on a slope down to the negatives.
    slope: float = 2.0
    #: Share of the other positives that score above 95 % of the negatives. A model that has not learnt to
    #: tell the classes apart says nothing of the labels.
    separated: float = 0.8
    #: Share below the median negative in the newer half of the records, over that in the older half. Where it
    #: falls (by 1.5 standard errors of the difference), the model is still learning; wrong labels stay.
    lasting: float = 0.7
    #: Steps before the first look at the scores, and looks that are averaged over, the newest; and looks that
    #: there must be: at the second one, 50 steps after the first, classes that were being learnt (from .85 to
    #: .90 in AUROC) still looked mislabelled, in 3 of 4 runs on three classes of make_classification.
    settle_steps: int = 100
    looks: int = 4
    least: int = 3

    def examine(self, window: Window) -> Verdict:
        """Compare the low positives with the negatives."""
        series = window.series("pos_score_quantiles").since(window.run.start_step + self.settle_steps)
        positives = series.last(self.looks).values
        if len(positives) < self.least:
            return Skipped(
                f"{len(series)} of {self.least} looks at the scores after step {self.settle_steps}"
            )
        negatives = window.series("neg_score_quantiles").values[-len(positives) :]
        if not (positives[..., Q05] < negatives[..., Q75]).any():
            return []
        below = share_below(positives, negatives[..., MEDIAN])
        deep = mean(below)
        seen = distinct_rows(window, "pos", int(series.steps[-len(positives)]), len(positives))
        error = np.sqrt(np.maximum(deep, self.deep) / np.maximum(seen, 1.0))
        sick = (deep - self.certainty * error >= self.deep) & (deep <= self.most) & (seen >= self.positives)
        sick &= mean(share_below(positives, negatives[..., Q75])) <= self.slope * deep
        above = 1.0 - mean(share_below(positives, negatives[..., Q95]))
        sick &= above >= np.maximum(self.separated * (1.0 - 2.0 * deep), 0.5)
        half = (len(below) + 1) // 2  # of three looks the first, while most is learnt, is not compared alone
        older, newer = mean(below[:half]), mean(below[half:])
        sick &= (newer >= self.lasting * older) | (older - newer <= 3.0 * error)
        return self._findings(deep, above, classes_of(sick)) if sick.any() else []

    def _findings(self, deep: Floats, above: Floats, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            share = 100.0 * float(deep[index])
            yield Evidence(
                {
                    "deep_percent": share,
                    "noise_percent": 2.0 * share,
                    "above_percent": 100.0 * float(above[index]),
                },
                index,
                severity="warning" if deep[index] >= self.harmful else "info",
            )
