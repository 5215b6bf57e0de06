"""IMB702: a class has positives to learn from, and does not learn: at chance, or without any gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import ANY, LIKELIHOOD, Evidence, Rule, TooFew, Verdict, threshold
from imbalance_doctor.rules.measures.phases import CHANCE_AUROC, at_chance, imprecise
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, mean, recent
from imbalance_doctor.rules.measures.scores import auroc_error, fresh_rows, weighted


@dataclass(frozen=True)
class ClassNeverImproves(Rule):
    """A class has been trained on for hundreds of steps, and is ranked no better than by chance.

    ## Symptom
    The average precision of one class stays at its share of the validation data, evaluation after
    evaluation. Or a class is never predicted, and the gradient of its positives is exactly 0.

    ## Cause
    Its gradient is starved, its labels are noise, or the model cannot see what sets it apart. Where
    another finding on the class says which, it is named as the explanation. Where training rows of the class
    are ranked well, the features do tell, and the fault is on the way to validation rows. A gradient of
    exactly 0 is a weight of 0.

    ## Remedy
    Do what the other findings on the class ask for. If there are none, look at its rows: are the labels
    right, do the features tell it apart? Where only validation is at chance, score the same rows both ways.

    ## Evidence
    From step 400 on, and after 300 positives: each of the newest 4 evaluations has an average precision
    within half of the positive rate (or 3 standard errors) of it, and an AUROC below 0.6; or the AUROC of
    the training rows, since half of the run, is below 0.6 by 2 standard errors, and average precision below
    twice the positive rate. The mean precision is less than 1.5 times that of the first 4.

    Cross-entropy, one class of 5 (Gaussian data) or 10 (digits) whose label went to random rows, 500 steps, 3
    seeds: mean AP .77 and .89, against .95 and .97; the class found at step 410, no other one. With random
    patterns as images its AUROC on validation data went up to .72, as a class that every row may be is what
    a model that is sure of the others leaves over; AP stayed at .11 to .16, and AUROC in training at .47.

    At each of the last 4 looks the gradient of the class's positives is 0, at 10 or more of them, another
    class has one, and no row was given to the class: cross-entropy on ten even classes of digits with a
    weight of 0 on one of them. Its log-odds still had an AUROC of .98, because the rows of the other classes
    teach where it is not, so no other rule found it; found at step 140. With a weight of 0.001 it was
    predicted, and at an AP of .83, by step 1200.

    Late learners set the limit: in 160 ordinary runs of up to 400 steps, average precision was at chance
    until step 280 (partial AUC on digits at 0.2 %), 340 (on sequences) and 200 (Recall on Gaussian data with
    a linear model), and rose from there; none was reported.

    ## Known problems
    A class that is learnt late looks the same until then.

    ## References
    Saito & Rehmsmeier, *The Precision-Recall Plot Is More Informative than the ROC Plot*, PLoS ONE 2015
    (chance is the positive rate).
    """

    code = "IMB702"
    name = "class-never-improves"
    severity = "warning"
    kinds = ANY
    requires = ("live_pos_count",)
    requires_eval = ("average_precision", "auroc", "positive_rate", "positives")
    min_records = 10
    explained_by = (
        "IMB001", "IMB002", "IMB003", "IMB004", "IMB005", "IMB010", "IMB011", "IMB016", "IMB020", "IMB201",
        "IMB202", "IMB305", "IMB401", "IMB402", "IMB403", "IMB506", "IMB509", "IMB701", "IMB703", "IMB704",
    )  # fmt: skip

    symptom = (
        "after {steps:,.0f} steps and about {seen:,.0f} positives, average precision of {class_label} is "
        "{precision:.2g} where chance is {chance:.2g} (AUROC {auroc:.2f})."
    )
    cause = (
        "its positives get too little gradient, its labels are wrong, or the features do not tell it apart."
    )
    remedy = (
        "see the other findings on the class; if there are none, check its labels, then features and model "
        "capacity."
    )

    ranked_cause = (
        "the features do tell it apart in training (AUROC {pool_auroc:.2f} there): the model has memorised "
        "its rows, a feature leaks the label in training only, or validation rows have other labels or "
        "another preprocessing."
    )
    ranked_remedy = (
        "score training rows with the code that scores validation rows: if they rank as badly, its labels "
        "or preprocessing differ; if they rank well, look for leaks, then regularise or find more positives."
    )
    untrained_symptom = (
        "{class_label} has about {seen:,.0f} positives in {steps:,.0f} steps, but the newest ones carry no "
        "gradient, and the model predicts the class for no row."
    )
    untrained_cause = (
        "its positives have a weight of 0: a class weight, alpha or pos_weight of 0, or a mask that leaves "
        "them out."
    )
    untrained_remedy = "give the class a weight above 0, or remove it from the problem."

    steps: int = threshold(
        400, "Steps before which a class may be at chance: in healthy runs one was until step 340."
    )
    positives: float = threshold(
        300.0,
        "Positives that must have been trained on: a class with fewer may need no more than further "
        "positives.",
    )
    evaluations: int = threshold(
        4, "Evaluations in a row at chance: fewer may be the noise of validation data with few positives."
    )
    rise: float = threshold(
        1.5,
        "Times the average precision of the first evaluations, from which the class is on its way: a slow "
        "run (sequences at 2 %) was at chance within its error until step 600, at twice what it began with.",
    )
    random: float = threshold(
        1.0,
        "Multiple of the positive rate that average precision may lie above it where training rows are "
        "ranked as by chance: it was .11 to .16 at a rate of .1 where labels were random.",
    )
    ranked: float = threshold(
        0.8,
        "AUROC of the pool from which training rows of the class are ranked well: classes with random "
        "labels were at .47 there.",
    )
    looks: int = threshold(
        4,
        "Looks in a row without any gradient: it underflows where a probability is 1 to the last bit, and "
        "then the class is predicted.",
    )
    looked_at: float = threshold(
        10.0, "Positives that those looks must have held: of fewer, all may have been at 1 to the last bit."
    )

    def examine(self, window: Window) -> Verdict:
        """Look for classes without gradient, and compare average precision with chance, class by class."""
        return [*self._untrained(window), *self._at_chance(window)]

    def passed_over(self, window: Window) -> TooFew | None:
        """Classes that have been trained on with too few positives."""
        trained = window.step - window.run.start_step
        if trained < self.steps:  # too early for any class
            return None
        return TooFew(self.positives, self._trained_on(window) < self.positives)

    def _trained_on(self, window: Window) -> Floats:
        """About how many positives of each class there have been, [C]."""
        seen: Floats = window.series("live_pos_count").values.mean(axis=0) * (
            window.step - window.run.start_step
        )
        return seen

    def _untrained(self, window: Window) -> Iterator[Evidence]:
        names = ("pos_grad_norm", "predicted_pos_count", "live_pos_count")
        if window.kind not in LIKELIHOOD or not all(window.has(name) for name in names):
            return
        norms, predicted, live = (series.last(self.looks).values for series in window.aligned(*names))
        if len(norms) < self.looks or not norms.shape == predicted.shape == live.shape:
            return
        without = (norms == 0.0).all(axis=0) & (predicted == 0.0).all(axis=0)
        without &= live.sum(axis=0) >= self.looked_at
        if not (norms > 0.0).any():  # nothing is trained at all, which is not the fault of a class
            return
        trained = window.step - window.run.start_step
        seen = self._trained_on(window)
        for index in classes_of(without):
            yield Evidence(
                {"steps": trained, "seen": seen[index]},
                index,
                severity="error",
                symptom=self.untrained_symptom,
                cause=self.untrained_cause,
                remedy=self.untrained_remedy,
            )

    def _at_chance(self, window: Window) -> Iterable[Evidence]:
        trained = window.step - window.run.start_step
        if trained < self.steps:
            return []
        stuck = imprecise(window, self.evaluations, self.random)
        if not stuck.any():
            return []
        stuck &= at_chance(window, self.evaluations) | self._random_in_training(window, stuck.shape)
        first = window.eval_series("average_precision").steps[-self.evaluations]
        live = window.series("live_pos_count").values
        if first < window.run.start_step + self.steps // 2 or live.shape[1:] != stuck.shape:
            return []
        whole = window.eval_series("average_precision").values
        stuck &= mean(whole[-self.evaluations :]) < self.rise * mean(whole[: self.evaluations])
        seen = self._trained_on(window)
        stuck &= seen >= self.positives
        return self._findings(window, trained, seen, classes_of(stuck))

    def _random_in_training(self, window: Window, shape: tuple[int, ...]) -> Bools:
        """Classes whose training rows are ranked no better than by chance, in the newer half of the run."""
        middle = window.run.start_step + (window.step - window.run.start_step) // 2
        looks = window.series("pool_auroc").since(middle)
        counts = ("pool_pos_count", "pool_neg_count", "live_neg_count")
        if len(looks) < 2 or looks.values.shape[1:] != shape or not all(map(window.has, counts)):
            return np.zeros(shape, dtype=np.bool_)
        positives, negatives = (fresh_rows(window, kind, looks) for kind in ("pos", "neg"))
        error = auroc_error(positives.sum(axis=0), negatives.sum(axis=0))
        random: Bools = weighted(looks.values, positives) + 2.0 * error < CHANCE_AUROC
        return random

    def _findings(
        self, window: Window, trained: float, seen: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        rates = window.eval_series("positive_rate").values[-1]
        precision, areas = (
            mean(window.eval_series(name).last(self.evaluations).values)
            for name in ("average_precision", "auroc")
        )
        unknown = np.full(rates.shape, np.nan)
        pool = mean(recent(window, "pool_auroc")) if window.has("pool_auroc") else unknown
        for index in classes:
            values = {
                "steps": trained,
                "seen": seen[index],
                "precision": precision[index],
                "chance": rates[index],
                "auroc": areas[index],
            }
            if pool[index] >= self.ranked:
                values["pool_auroc"] = pool[index]
                yield Evidence(values, index, cause=self.ranked_cause, remedy=self.ranked_remedy)
            else:
                yield Evidence(values, index)
