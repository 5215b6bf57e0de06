"""IMB704: training rows are ranked far better than validation rows, which fall behind or never came along."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Series, Window
from imbalance_doctor.rules.base import ANY, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import CHANCE_AUROC, class_mean, standard_error, validation
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, recent
from imbalance_doctor.rules.measures.scores import fresh_rows, weighted


@dataclass(frozen=True)
class Overfitting(Rule):
    """Training rows rank far better than validation rows, whose ranking falls or does not come along.

    ## Symptom
    Validation average precision peaks and falls, while the pool's AUROC goes on rising and is far above that
    of the validation data. Or nothing falls, and evaluation after evaluation has an AUROC far below the
    pool's: of all classes, or of one.

    ## Cause
    The model memorises training rows: few positives, seen many times; or it reads something that only they
    have. Where nothing falls, it may be the validation data: labels or class ids in another order, another
    preprocessing.

    ## Remedy
    After a fall, restore the weights of the best evaluation (the step is printed), train for fewer epochs,
    regularise more, or find more positives. Without one there is no better step to go back to: score training
    rows as validation rows are scored. If they come out as badly, labels or preprocessing differ; if not,
    look for leaks, then regularise or find more positives.

    ## Evidence
    A fall: the mean of the newest 5 evaluations is below the best mean of 5 by 0.05 and by 1.5 standard
    deviations of one evaluation (from second differences, so that a trend does not count); validation data
    misorders at least twice as many pairs as the pool, and its AUROC is lower by 0.02 and by 2 standard
    errors. On fresh rows the two agree, so that the wandering of ordinary runs (AP from .86 to .50 on 8
    positives) is left alone.

    BCE on 512 rows, 30 % of them with a random label, rate 10 %, 600 steps, 3 seeds: AP at the end .54 .61
    .48 on Gaussian data (.82 at its best) and .64 .79 .65 on digits, against .87 and .98 on fresh rows. Found
    at step 150 to 230 and 270 to 470. Without noise a bank of 256 rows reached its best and stayed there (AP
    .77 to .92): nothing falls.

    A gap, by class: the best of the newest 3 evaluations is below the pool's AUROC by 0.1 and by 3 standard
    errors of both, and is not the newest by more than its error. And the pool's is 0.8 or more, where
    validation misorders at least twice the pairs; or validation is at chance, below 0.6: what is learnt in
    training only need not be learnt well yet. The pool is that of the looks before the newest evaluation, so
    that old scores, dropout and augmentation make it look worse and not better.

    Networks on 400 to 800 rows, 64 a batch, 8 to 50 evaluations: pool 1.000, validation .64 .68 .69 .80 .80
    .84, found at step 190 to 730, where AP never fell or there were too few evaluations to tell; validation
    labels shuffled (.48 against .97), two validation classes swapped (.64 and .63 against 1), a feature that
    knew the label in training only (.54 to .60): step 370 to 540. Their twins on ten times the rows came to
    .87 to .995, with the pool beside them, and were left alone, and so were 183 ordinary runs.

    ## Known problems
    Validation data of another distribution than the training data show a gap as well, and a drift there
    looks like a fall. A gap of less than 0.1 in AUROC is left alone: 500 memorised rows of noisy digits at
    10 % (.94 against 1, at an AP of .79).

    ## References
    Prechelt, *Early Stopping - But When?*, 1998.
    """

    code = "IMB704"
    name = "overfitting"
    severity = "warning"
    kinds = ANY
    requires = ("pool_auroc",)
    requires_eval = ("average_precision", "auroc")
    explained_by = ("IMB001", "IMB701", "IMB703")

    symptom = (
        "average precision on validation data was {best:.2f} at step {best_step:.0f} and is {now:.2f} at "
        "step {step:.0f}; AUROC is {pool_auroc:.3f} in training and {auroc:.3f} in validation."
    )
    cause = "the model memorises training rows instead of learning what separates positives from negatives."
    remedy = (
        "stop at step {best_step:.0f} or restore its weights; train for fewer epochs, regularise more, or "
        "find more positives."
    )

    gap_symptom = (
        "AUROC is {pool_auroc:.3f} on training rows but {auroc:.3f} on validation rows, the best of the "
        "last {evaluations:.0f} evaluations up to step {step:.0f} (average precision {now:.2f})."
    )
    gap_cause = (
        "the model has memorised training rows, a feature leaks the label in training only, or validation "
        "rows have other labels, class ids or preprocessing."
    )
    gap_remedy = (
        "score training rows with the code that scores validation rows: if they rank as badly, its labels "
        "or preprocessing differ; if they rank well, look for leaks, then regularise, augment, or find more "
        "positives."
    )

    fall: float = threshold(
        0.05,
        "Fall of average precision from its best that matters: runs that overfit fell by .21 to .34 on "
        "Gaussian data.",
    )
    noise: float = threshold(
        1.5,
        "The same in standard deviations of one evaluation: the difference of two means of five has 0.63.",
    )
    smooth: int = threshold(
        5,
        "Evaluations that are averaged, for the best and for now: single ones wandered from .86 to .50 on 8 "
        "positives.",
    )
    evaluations: int = threshold(
        10, "Evaluations that there must be: a mean of five at the best, and another one now."
    )
    gap: float = threshold(
        0.02,
        "How far the pool's AUROC is above that of the validation data, at the least: on fresh rows the two "
        "agree.",
    )
    errors: float = threshold(
        2.0, "The same in standard errors of the validation data's: with 8 positives it may be off by 0.1."
    )
    misordered: float = threshold(
        2.0,
        "Pairs that validation data misorders for each that the pool does, at the least: at an AUROC of .7, "
        "a gap of 0.02 means nothing.",
    )
    ranked: float = threshold(
        0.8, "AUROC of the pool from which training rows are ranked well: memorised rows had 1.000."
    )
    standing_gap: float = threshold(
        0.1,
        "How far validation is below the pool where nothing fell: healthy networks on finite data that they "
        "rank without an error came to .966 to .995.",
    )
    standing_errors: float = threshold(
        3.0, "The same in standard errors of both: 3 is a chance of one in 700."
    )
    standing: int = threshold(
        3,
        "Evaluations that must all be that far below: one or two of them are luck where validation has few "
        "positives.",
    )
    looks: int = threshold(
        4, "Looks at the pool, up to the newest evaluation, that are averaged: those of 20 records."
    )

    def examine(self, window: Window) -> Verdict:
        """Look for a fall of validation, and else for classes that it ranks far worse than the pool."""
        return self._fallen(window) or self._standing(window)

    def _fallen(self, window: Window) -> list[Evidence]:
        precision = validation(window)
        values = precision.values
        if len(values) < self.evaluations or values[-self.smooth :].mean() > values.max() - self.fall:
            return []
        smooth = np.convolve(values, np.full(self.smooth, 1.0 / self.smooth), "valid")
        best = int(smooth.argmax())
        fall = smooth[best] - smooth[-1]
        # The second difference of independent errors has the root of 6 times their deviation.
        jitter = 1.48 * np.median(np.abs(np.diff(values, 2))) / math.sqrt(6.0)
        if fall < max(self.fall, self.noise * jitter):
            return []
        ranked = class_mean(recent(window, "pool_auroc"))
        auroc = validation(window, "auroc").values[-self.smooth :]
        known = ranked[np.isfinite(ranked)]
        if not len(known) or not len(auroc):
            return []
        inside, outside = 1.0 - known.mean(), 1.0 - auroc.mean()
        gap = max(self.gap, self.errors * standard_error(window, 1.0 - outside))
        if outside < max(inside + gap, self.misordered * inside):
            return []
        return [
            Evidence(
                {
                    "best": smooth[best],
                    "best_step": precision.steps[best + self.smooth // 2],
                    "now": smooth[-1],
                    "step": precision.steps[-1],
                    "pool_auroc": 1.0 - inside,
                    "auroc": 1.0 - outside,
                }
            )
        ]

    def _standing(self, window: Window) -> list[Evidence]:
        orders, precision, positives = (
            window.eval_series(name).last(self.standing).values
            for name in ("auroc", "average_precision", "positives")
        )
        ranked = _pool_order(window, int(window.eval_series("auroc").steps[-1]), self.looks)
        shape = (self.standing, *ranked[0].shape)
        if not orders.shape == precision.shape == positives.shape == shape:
            return []
        (inside, counted), judged = ranked, orders.max(axis=0)
        errors = np.hypot(_share_error(inside, counted), _share_error(judged, positives[-1]))
        behind: Bools = inside - judged > np.maximum(self.standing_gap, self.standing_errors * errors)
        well = (inside >= self.ranked) & (1.0 - judged > self.misordered * (1.0 - inside))
        behind &= well | (judged < CHANCE_AUROC)
        behind &= orders[-1] <= orders[:-1].max(axis=0) + _share_error(judged, positives[-1])
        found = classes_of(behind)
        # Of one class, or of most: it is the loss as a whole that is behind.
        groups: list[int | None] = [None] if 2 * len(found) > len(behind) else [*found]
        step = window.eval_series("auroc").steps[-1]

        def told(index: int | None) -> Evidence:
            of = found if index is None else [index]
            values = {
                "pool_auroc": inside[of].mean(),
                "auroc": judged[of].mean(),
                "now": precision[-1, of].mean(),
                "evaluations": self.standing,
                "step": step,
            }
            return Evidence(
                values, index, symptom=self.gap_symptom, cause=self.gap_cause, remedy=self.gap_remedy
            )

        return [told(index) for index in groups] if found else []


def _pool_order(window: Window, step: int, looks: int) -> tuple[Floats, Floats]:
    """AUROC of the pool over so many looks up to a step, and the positives in them, [C] each.

    Of no class where there are fewer looks, or the counts are unknown.
    """
    nothing = np.empty(0), np.empty(0)
    if not (window.has("pool_pos_count") and window.has("live_pos_count")):
        return nothing
    series = window.series("pool_auroc")
    end = int(np.searchsorted(series.steps, step, "right"))
    series = Series(series.steps[:end], series.values[:end]).last(looks)
    if len(series) < looks:
        return nothing
    rows = fresh_rows(window, "pos", series)
    return weighted(series.values, rows), np.where(np.isfinite(series.values), rows, 0.0).sum(axis=0)


def _share_error(share: Floats, rows: Floats) -> Floats:
    """The standard error of a share of so many rows; half a row is added on either side, for shares of 1."""
    shrunk = (share * rows + 0.5) / (rows + 1.0)
    error: Floats = np.sqrt(shrunk * (1.0 - shrunk) / (rows + 1.0))
    return error
