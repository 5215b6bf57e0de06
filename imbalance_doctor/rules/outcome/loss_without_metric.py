"""IMB701: the training loss is low, and validation is at chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import at_chance
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, mean, recent, uninformative_loss


@dataclass(frozen=True)
class LossWithoutMetric(Rule):
    """Training has succeeded by its loss, and on validation data the class is ranked as by chance.

    ## Symptom
    The loss is near 0 (or, in training, positives get the class's probability and negatives do not), and
    average precision on validation data is at the positive rate.

    ## Cause
    Several faults look like this, and the ranking of the training pool tells them apart. Where the pool is
    ranked well, the model has memorised its rows, or reads something that only training data has: a leak; or
    the validation rows are labelled or prepared otherwise. Where it is not (ranking losses only), most
    positives carry no gradient because the temperature does not fit the scores; or the objective is met
    without an order, as a recall at a generous quantile is.

    ## Remedy
    Follow the cause: train for fewer epochs and search for features that know the label; set a fitting
    temperature; or set a stricter objective.

    ## Evidence
    Each of the newest 3 evaluations is at chance (average precision within half of the positive rate, or 3
    standard errors, of it; AUROC below 0.6), while the loss of the last 20 records is at 30 % of its
    uninformative value or less. For likelihood losses the mean probability of the class is higher on its
    positives than on its negatives by 0.7 or more: the probability on positives alone said that a young
    softmax had learnt a class of 96 % of the rows (.95, with an AUROC of .52 in training), and so had a BCE
    whose weight of 2,000 had brought every row to 1.

    Smooth-AP on 256 rows with random labels (rate 20 %), 800 steps, 5 seeds: AP .14 to .25 on Gaussian data
    and .21 to .24 on digits, .82 and .98 on fresh rows with their own labels. Found at step 150 to 290 and
    370 to 630.

    A border on average precision alone had reported a slow linear model at a rate of 50 % (.67 is 1.3 times
    chance there); with AUROC beside it none of 160 ordinary runs was.

    ## Known problems
    Validation data whose rows or labels are mixed up look the same, and are worth finding too.

    ## References
    Kaufman et al., *Leakage in Data Mining*, KDD 2011. Zhang et al., *Understanding Deep Learning Requires
    Rethinking Generalization*, ICLR 2017 (random labels are learnt to the last).
    """

    code = "IMB701"
    name = "loss-without-metric"
    severity = "error"
    kinds = RANKING | LIKELIHOOD
    requires = ("pool_auroc",)
    requires_eval = ("average_precision", "auroc", "positive_rate", "positives")
    min_records = 10
    explained_by = (
        "IMB001", "IMB010", "IMB011", "IMB020", "IMB202", "IMB305", "IMB402",
    )  # fmt: skip

    symptom = (
        "by its training loss, {class_label} is {reached:.0f} % solved, yet validation average precision is "
        "{precision:.2g} (chance {chance:.2g})."
    )
    likelihood_symptom = (
        "in training, the mean probability of {class_label} is {reached:.0f} percentage points higher on its "
        "positives than on its negatives, yet validation average precision is {precision:.2g} (chance "
        "{chance:.2g})."
    )
    cause = (
        "training rows are ranked well (AUROC {pool_auroc:.2f}) but validation rows are not: the model has "
        "memorised its rows, a feature leaks the label in training only, or validation rows have other "
        "labels or another preprocessing."
    )
    remedy = (
        "score training rows with the code that scores validation rows: if they rank as badly, its labels "
        "or preprocessing differ; if they rank well, look for features that leak the label and for rows "
        "seen too often, then regularise."
    )
    saturated_cause = (
        "training rows are not ranked well either (AUROC {pool_auroc:.2f}), and {dead_percent:.0f} % of the "
        "positives carry no gradient: the temperature does not fit the scores."
    )
    saturated_remedy = 'raise the temperature, or use tau_scale="iqr".'
    easy_cause = (
        "training rows are not ranked well either (AUROC {pool_auroc:.2f}): the objective can be met "
        "without ranking them."
    )
    easy_remedy = "use a stricter objective: a smaller quantile or budget, or Smooth-AP."

    reached: float = threshold(
        0.7,
        "Share of the way from the uninformative loss to 0 (of a likelihood loss: mean probability of "
        "positives less that of negatives), from which training has succeeded: runs on random labels got "
        "there at step 150 to 630.",
    )
    evaluations: int = threshold(
        3, "Evaluations in a row at chance: fewer may be the noise of validation data with few positives."
    )
    ranked: float = threshold(
        0.8, "AUROC of the pool from which training rows are ranked well: memorised rows had 1.000 (IMB704)."
    )
    dead: float = threshold(
        0.9,
        "Share of positives without gradient from which the temperature is to blame: an ordinary run has 70 "
        "%, because they are solved.",
    )

    def examine(self, window: Window) -> Verdict:
        """Look for classes at chance, then for those whose loss is low all the same."""
        chance: Bools = at_chance(window, self.evaluations)
        if not chance.any():
            return []
        reached = self._reached(window)
        if reached is None or reached.shape != chance.shape:
            return []
        found = classes_of(chance & (reached >= self.reached))
        return self._findings(window, reached, found)

    def _reached(self, window: Window) -> Floats | None:
        """How far training has come, per class: 0 for a loss that knows nothing, 1 for a loss of 0."""
        if window.kind not in RANKING:
            if not (window.has("mean_p_true_pos") and window.has("mean_p_true_neg")):
                return None
            right = mean(recent(window, "mean_p_true_pos")) + mean(recent(window, "mean_p_true_neg"))
            apart: Floats = right - 1.0
            return apart
        if not window.has("per_class_loss"):
            return None
        result: Floats = 1.0 - mean(recent(window, "per_class_loss")) / mean(uninformative_loss(window))
        return result

    def _findings(self, window: Window, reached: Floats, classes: list[int]) -> Iterator[Evidence]:
        if not classes:
            return
        latest = mean(window.eval_series("average_precision").last(self.evaluations).values)
        rates = window.eval_series("positive_rate").values[-1]
        ranked = mean(recent(window, "pool_auroc"))
        dead = mean(recent(window, "saturation")) if window.has("saturation") else np.zeros_like(ranked)
        for index in classes:
            cause, remedy = None, None
            if window.kind in RANKING and not ranked[index] >= self.ranked:
                saturated = dead[index] >= self.dead
                cause = self.saturated_cause if saturated else self.easy_cause
                remedy = self.saturated_remedy if saturated else self.easy_remedy
            yield Evidence(
                {
                    "reached": 100.0 * reached[index],
                    "precision": latest[index],
                    "chance": rates[index],
                    "pool_auroc": ranked[index],
                    "dead_percent": 100.0 * dead[index],
                },
                index,
                symptom=None if window.kind in RANKING else self.likelihood_symptom,
                cause=cause,
                remedy=remedy,
            )
