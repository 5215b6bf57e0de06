"""IMB004: some positives lie deep among the negatives while the rest are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Series, Window
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, TooFew, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of
from imbalance_doctor.rules.measures.scores import (
    MEDIAN,
    Q05,
    Q75,
    Q95,
    fresh_rows,
    share_below,
    trend,
    weighted,
)


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
    The share of positives below the median negative is above 2.5 % by 1.5 standard errors: over the looks at
    the scores in the newer half of the run (after step 100), or as many as hold 40 different positives, each
    look with the weight of the positives that are new in it. Twice that share is the estimate of the
    mislabelled, whose scores are those of negatives; so their share below the upper quartile is 1.5 times as
    large, where positives on a slope down to the negatives have 2.5 times and more. Not judged where 87 % of
    the rest is not above 95 % of the negatives, where the two medians of a likelihood loss are within a tenth
    of a logit, and while AUROC rises over these looks or validation AP by 0.05: the model is still learning.

    Looks count by their positives because a likelihood loss ranks a batch. Looks at 2, 6, 2 and 5 positives
    with shares of .00, .00, .96 and .00 gave an estimate of 52 % where 20 % were wrong, and one at two gave
    32 % where none were.

    Of positives with 10 / 20 / 40 % mislabelled (5 %, batch 256, 2 seeds) it saw .05 / .09 / .21 below the
    median on Gaussian data and digits, and none of it on sequences, whose classes overlap. Rows drawn anew
    (300 steps, seed 0), and 2,048 rows 37 times over; AP on clean validation data, Gaussian data / digits:

    | loss | anew: clean | 40 % | again: clean | 40 % |
    |---|---|---|---|---|
    | Smooth-AP | .94 / .97 | .94 / .95 | .92 / .90 | .85 / .94 |
    | BCE | .94 / .88 | .94 / .92 | .94 / .84 | .93 / .91 |

    Drawn anew, wrong labels cost no more than .02. Where rows came again they cost Smooth-AP .07 and BCE .01
    on Gaussian data, and neither of them anything on digits: that ranking losses suffer most, as published,
    was so in one of two. Information below an estimate of 20 %, a warning from there. A third mislabelled was
    found in 20 of 20 runs (Gaussian data and digits, Smooth-AP, 10 seeds, step 290), and none of 210 ordinary
    runs, of 152 slow ones and of their twins was named.

    ## Known problems
    A kind of positive that the model cannot see, or has not learnt yet, scores like negatives as well. Rows
    that come again are learnt by heart, wrong labels included, and the positives close up: of likelihood
    losses on 4,096 rows few are seen, of ranking losses all. Look at rows that the model has not trained on.
    Of BCE with 8 positives in a batch (900 steps, 18 runs each on Gaussian data, digits and random patterns)
    it named 7 where a third were mislabelled, 2 where 20 % were and none where none were; with 2 standard
    errors instead of 1.5 it was 6, 0 and 0. So few rows say no more.

    ## References
    Northcutt, Jiang & Chuang, *Confident Learning*, JAIR 2021.
    """

    code = "IMB004"
    name = "suspected-label-noise"
    severity = "warning"
    kinds = RANKING | LIKELIHOOD
    requires = (
        "pos_score_quantiles", "neg_score_quantiles", "pool_auroc", "live_pos_count", "pool_pos_count",
    )  # fmt: skip
    min_records = 10
    explained_by = ("IMB001", "IMB006")

    symptom = (
        "{deep_percent:.1f} % of the positives of {class_label} score below the median negative, while "
        "{above_percent:.0f} % score above 95 % of the negatives."
    )
    cause = (
        "about {noise_percent:.0f} % (± {error_percent:.0f} %) of its positives score like negatives: "
        "mislabelled rows, or a kind of positive that the model cannot recognise."
    )
    remedy = (
        "look at the lowest-scored positives, with a model that was not trained on them; correct the "
        "labels, or drop the rows."
    )

    deep: float = threshold(
        0.025,
        "Share of positives below the median negative, from which it is reported: half of the mislabelled "
        "are there, so it stands for 5 % of them.",
    )
    most: float = threshold(
        0.35, "Share from which the positives as a whole have not been learnt yet: chance is 0.5."
    )
    positives: float = threshold(
        40.0,
        "Different positives that must have been seen, for which older looks are taken as well where a "
        "batch alone is ranked: of 20, one of 8 without noise had a share of .16 from a look at two.",
    )
    harmful: float = threshold(0.1, "Share from which it is a warning: it stands for 20 % mislabelled.")
    certainty: float = threshold(
        1.5,
        "Standard errors by which the share must exceed `deep`: one in 15 looks does by chance, at a share "
        "that is exactly that.",
    )
    slope: float = threshold(
        2.0,
        "Share below the upper quartile of the negatives, over the share below their median: 1.5 for rows "
        "that score as negatives do, 1.4 to 1.9 under noise, above 2.1 in all but 3 of 148 healthy runs, "
        "where positives lie on a slope down to the negatives.",
    )
    separated: float = threshold(
        0.87,
        "Share of the other positives that score above 95 % of the negatives. A model that has not learnt "
        "to tell the classes apart says nothing of the labels: 0.9 to 1.0 with a third mislabelled, 0.82 in "
        "a linear model of digits that could not learn some of them.",
    )
    apart: float = threshold(
        0.1,
        "Distance of the median positive from the median negative, in logits of a likelihood loss, below "
        "which nothing is told apart: a tenth in the odds. Scores that had all collapsed were within 0.001.",
    )
    closing: float = threshold(
        0.5,
        "Share of what is left of AUROC that it gains over the looks while a model is still learning: "
        "mislabelled rows keep their scores, positives that are being learnt do not.",
    )
    errors: float = threshold(1.0, "Standard errors that this gain must be as well.")
    rising: float = threshold(
        0.05, "Gain of validation AP since the middle of the run while a model is still learning."
    )
    settle_steps: int = threshold(
        100, "Steps before the first look at the scores that counts: an initial order says nothing of labels."
    )
    least: int = threshold(
        3,
        "Looks that there must be: at the second one, 50 steps after the first, classes that were being "
        "learnt (from .85 to .90 in AUROC) still looked mislabelled, in 3 of 4 runs on three classes of "
        "make_classification.",
    )
    back: float = threshold(
        0.5,
        "Share of the run so far to which the looks reach back at the least: positives that are still being "
        "learnt rise within it.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the low positives with the negatives."""
        start = window.run.start_step
        shared = window.aligned("pos_score_quantiles", "neg_score_quantiles", "pool_auroc")
        of_positives, of_negatives, order = (each.since(start + self.settle_steps) for each in shared)
        looks = len(order)
        if looks < self.least:
            return Skipped(
                f"too few records with scores after step {start + self.settle_steps}: "
                f"judged from {self.least} on (now {looks})"
            )
        positives, negatives = of_positives.values, of_negatives.values
        if not (positives[..., Q05] < negatives[..., Q75]).any():
            return []
        middle = start + int(self.back * (window.step - start))
        rows = self._rows(window, order, middle)
        below = share_below(positives, negatives[..., MEDIAN])
        deep, seen = weighted(below, rows), rows.sum(axis=0)
        error = np.sqrt(np.maximum(deep, self.deep) / np.maximum(seen, 1.0))
        sick = (deep - self.certainty * error >= self.deep) & (deep <= self.most) & (seen >= self.positives)
        sick &= weighted(share_below(positives, negatives[..., Q75]), rows) <= self.slope * deep
        above = 1.0 - weighted(share_below(positives, negatives[..., Q95]), rows)
        # The mislabelled lie above 95 % of the negatives as rarely as negatives do.
        noise = 2.0 * deep
        sick &= above >= np.maximum(self.separated * (1.0 - noise) + 0.05 * noise, 0.5)
        if not sick.any():
            return []
        sick &= ~self._learning(window, order.values, rows, middle)
        if window.kind in LIKELIHOOD:
            sick &= weighted(positives[..., MEDIAN] - negatives[..., MEDIAN], rows) >= self.apart
        return self._findings(deep, error, above, classes_of(sick))

    def passed_over(self, window: Window) -> TooFew | None:
        """Classes of which too few different positives have been looked at."""
        start = window.run.start_step
        order = window.series("pool_auroc").since(start + self.settle_steps)
        rows = self._rows(window, order, start + int(self.back * (window.step - start)))
        return TooFew(self.positives, rows.sum(axis=0) < self.positives)

    def _rows(self, window: Window, looks: Series, middle: int) -> Floats:
        """Positives of each look, [T, C]; none of those that are older than is needed."""
        fresh = fresh_rows(window, "pos", looks)
        newer = fresh[::-1].cumsum(axis=0)[::-1] - fresh
        number = len(looks) - np.arange(len(looks))[:, None]
        wanted = (newer < self.positives) | (number <= self.least) | (looks.steps[:, None] >= middle)
        rows: Floats = np.where(wanted, fresh, 0.0)
        return rows

    def _learning(self, window: Window, order: Floats, rows: Floats, middle: int) -> Bools:
        """Classes that are told apart better and better: wrong labels stay, and what is learnt does not."""
        first = int((rows > 0.0).any(axis=1).argmax())
        rise, told = trend(order[first:], rows[first:])
        left = self.closing * (1.0 - weighted(order, rows))
        learning: Bools = rise > np.maximum(left, self.errors / np.sqrt(3.0 * told.clip(0.01)))
        judged = window.eval_series("average_precision")
        if judged.values.shape[1:] == rise.shape and len(judged) > 1:
            before = judged.values[max(int(np.searchsorted(judged.steps, middle, "right")) - 1, 0)]
            learning |= judged.values[-1] > before + self.rising
        return learning

    def _findings(self, deep: Floats, error: Floats, above: Floats, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            share = 100.0 * deep[index]
            yield Evidence(
                {
                    "deep_percent": share,
                    "noise_percent": 2.0 * share,
                    "error_percent": 200.0 * error[index],
                    "above_percent": 100.0 * above[index],
                },
                index,
                severity="warning" if deep[index] >= self.harmful else "info",
            )
