"""IMB509: a loss that pushes positives only trains alone, from the first step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Series, Window
from imbalance_doctor.rules.base import THRESHOLDED, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, held


@dataclass(frozen=True)
class PositivesOnlyGradient(Rule):
    """The loss pushes positives up and never a negative down, and nothing else trains the model.

    ## Symptom
    The loss falls and positives do rise above the threshold now and then, but the order of the scores
    does not get better: AUROC stays near 0.5, or, after a warmup that had brought it up, falls again.

    ## Cause
    Recall@Quantile and partial AUC with the trapezoid surrogate take their thresholds without gradient:
    only positives receive any. Whatever moves positives up also moves the negatives that resemble them,
    the threshold follows, and nothing ever pushes a negative down.

    ## Remedy
    Keep a likelihood loss beside it (`LossWarmupWrapper` with `final_main_weight` below 1), use
    `surrogate="pairwise"` for partial AUC, or Smooth-AP. A warmup alone is not enough.

    ## Evidence
    The loss's gradient reaches positives only (by its configuration), and the mean `pool_auroc` of the
    looks in the last 10 records is below 0.6 (from 150 steps on, where the loss was alone from the first
    step, and not if the newest look is above), or 0.1 below that of its own first 3 looks; either by the
    standard error of a random order of as many positives (two for a fall). Alone from the first step without
    either is information, and so is a fall that leaves AUROC above 0.85.

    AUROC on validation data, Adam, batch 256, seed 0; BCE alone for 100 steps where it warms up:

    | data, steps | trapezoid | recall | warmed up | and 0.5 BCE | pairwise | Smooth-AP |
    |---|---|---|---|---|---|---|
    | sequences, 2 %, 400 | .55 | .54 | .53 | .84 | .91 | .91 |
    | ten digits, 400 | .51 | .51 | | | 1.00 | 1.00 |
    | three Gaussians, 3 % 3 % 94 %, 400 | .64 | .63 | | | .99 | .99 |

    In the pool, the runs that ended near 0.5 were below 0.6 at step 200 or had fallen by then; the others
    were above 0.8 at step 100, and ordinary binary runs that rose slowly (digits at a learning rate of
    0.001) above 0.6 at 150. Binary tabular data suffers less in AUROC (.85 to .95) but much in AP: at a
    rate of 0.5 %, .34 / .05 against .80 / .66 for Smooth-AP (Gaussian data / digits).

    ## Known problems
    Data that no loss separates within 150 steps looks the same. The log does not tell this rule how much
    the warmup loss still weighs, nor whether one is added outside of it; where it does, AUROC dips after the
    switch and recovers.

    ## References
    Narasimhan & Agarwal, *SVM pAUC tight: A New Support Vector Method for Optimizing Partial AUC*, KDD 2013
    (a surrogate with gradient through both).
    """

    code = "IMB509"
    name = "positives-only-gradient"
    severity = "info"
    kinds = THRESHOLDED
    requires = ("pool_pos_count",)
    min_records = 10
    explained_by = (
        "IMB001", "IMB002", "IMB202", "IMB301", "IMB304", "IMB305", "IMB401", "IMB402", "IMB403",
    )  # fmt: skip
    foreseeable = True

    symptom = (
        "in {steps:.0f} steps this loss gave no negative any gradient: nothing pushes negatives down, "
        "unless you add another loss to it. The pool's AUROC is {auroc:.2f}."
    )
    cause = "its thresholds carry no gradient, so it pushes positives up but never a negative down."
    decay_symptom = (
        "the pool's AUROC has fallen from {before:.2f} to {auroc:.2f} since this loss took over {steps:.0f} "
        "steps ago; it gives no negative any gradient."
    )
    planned_symptom = (
        "this loss gives no negative any gradient, and nothing else trains the model once it leads, unless "
        "you add another loss to it."
    )
    remedy = (
        "keep BCE or cross-entropy beside it (LossWarmupWrapper with final_main_weight below 1), or use "
        "Smooth-AP."
    )
    pairwise_remedy = (
        'set surrogate="pairwise", which pushes negatives too; or keep BCE or cross-entropy beside it '
        "(LossWarmupWrapper with final_main_weight below 1)."
    )

    auroc: float = threshold(
        0.6,
        "Mean AUROC of the pool, below which the order is not being learnt: 0.7 raised two false alarms in "
        "116 healthy runs, 0.6 none.",
    )
    settle_steps: int = threshold(
        150, "Steps from the start after which it is judged: pairwise and Smooth-AP were above 0.8 by 100."
    )
    fall: float = threshold(
        0.1,
        "Fall of the pool's AUROC below its first looks that is a decay: 0.12 to 0.3 in runs that decayed, "
        "0.02 where a likelihood loss with half of the weight held it.",
    )
    good: float = threshold(
        0.85, "AUROC of the pool from which a fall is information: a binary run at .88 went on to learn."
    )
    first: int = threshold(
        3, "Looks at the scores that are the beginning: 40 steps of a loss that begins the run."
    )
    latest: int = threshold(
        10, 'Newest records whose looks count as "now": 1 or 2 looks, none of them from the beginning.'
    )

    def examine(self, window: Window) -> Verdict:
        """Look at how the order of the scores develops under this loss."""
        if window.config("surrogate") == "pairwise":
            return []
        index = 0 if window.classes == 1 else None
        remedy = self.pairwise_remedy if window.kind == "pauc_at_budget" else None
        if not window.has("pool_auroc"):  # before the run, or with counts alone
            return [] if _held(window) else [Evidence({}, index, symptom=self.planned_symptom, remedy=remedy)]
        steps = window.step - window.run.start_step
        # From the first records on, and not after a warmup.
        alone = window.since - window.run.start_step <= window.run.every
        series = window.series("pool_auroc")
        # Scores are in some records only: what counts as now is told by steps, not by entries.
        latest = window.recent("pool_auroc", self.latest)
        latest = latest if len(latest) else series.last(1)
        late, newest = _overall(latest.values), _overall(latest.last(1).values)
        first = Series(series.steps[: self.first], series.values[: self.first])
        early = _overall(first.values)
        if not math.isfinite(late):
            return []
        values = {
            "steps": window.step - window.since,
            "auroc": late,
            "before": early,
        }
        error = _error(window, latest)
        fall = max(self.fall, 2.0 * math.hypot(error, _error(window, first)))
        if len(series) >= self.first + len(latest) and late < early - fall:
            mild = late >= self.good
            return [
                Evidence(
                    values,
                    index,
                    severity="info" if mild else "warning",
                    symptom=self.decay_symptom,
                    remedy=remedy,
                )
            ]
        if not alone:
            return []
        stuck = steps >= self.settle_steps and late + error < self.auroc and not newest >= self.auroc
        return [Evidence(values, index, severity="warning" if stuck else "info", remedy=remedy)]


def _error(window: Window, looks: Series) -> float:
    """The standard error of AUROC over some looks, if the order is random, from the positives that it ranked.

    Negatives are many more; rows of the queue that two looks share are counted twice.
    """
    positives = held(window, "pool_pos_count", looks.steps).sum()
    return math.sqrt(1.0 / (12.0 * max(positives, 1.0)))


def _held(window: Window) -> bool:
    """Whether a likelihood loss keeps a part of the weight."""
    weight = window.series("main_weight").values
    return bool(len(weight) and weight[-1] < 1.0)


def _overall(values: Floats) -> float:
    """The mean over records and classes of what is known."""
    known = values[np.isfinite(values)]
    return float(known.sum() / len(known)) if len(known) else math.nan
