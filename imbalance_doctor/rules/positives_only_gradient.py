"""IMB509: a loss that pushes positives only trains alone, from the first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import THRESHOLDED, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import mean, recent


@dataclass(frozen=True)
class PositivesOnlyGradient(Rule):
    """The loss pushes positives up and never a negative down, and nothing else trains the model.

    ## Symptom
    The loss falls slowly and average precision stays far below what Smooth-AP or BCE reach on the same
    data, although AUROC looks fair.

    ## Cause
    Recall@Quantile and partial AUC with the trapezoid surrogate take their thresholds without gradient:
    only positives receive any. Directions in which negatives resemble positives are never unlearnt.

    ## Remedy
    Keep a likelihood loss beside it (`LossWarmupWrapper` with `final_main_weight` below 1), warm up with
    one, use `surrogate="pairwise"` for partial AUC, or Smooth-AP.

    ## Evidence
    The loss has been the only one from the run's first step, and its gradient reaches positives only. No
    threshold: it follows from the configuration. AP at a rate of 0.5 %, batch 256, 800 steps of Adam, 3
    seeds, Gaussian data / digits: trapezoid .34 / .05, Recall@2 % .36 / .08, pairwise .79 / .75,
    Smooth-AP .80 / .66 (batch 64).

    ## Known problems
    Fine-tuning a model that already ranks well is reported as well; there the finding may be ignored.

    ## References
    Narasimhan & Agarwal, *SVM pAUC tight: A New Support Vector Method for Optimizing Partial AUC*, KDD 2013
    (a surrogate with gradient through both).
    """

    code: ClassVar[str] = "IMB509"
    name: ClassVar[str] = "positives-only-gradient"
    severity: ClassVar[Severity] = "info"
    kinds: ClassVar[frozenset[str]] = THRESHOLDED
    requires: ClassVar[tuple[str, ...]] = ("pool_auroc",)
    min_records: ClassVar[int] = 10
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002")

    symptom: ClassVar[str] = (
        "this loss alone has trained the model for {steps:.0f} steps, and no negative has received any "
        "gradient; the pool's AUROC is {auroc:.2f}."
    )
    cause: ClassVar[str] = (
        "its thresholds carry no gradient, so that positives are pushed up and negatives never down."
    )
    remedy: ClassVar[str] = (
        "keep BCE or cross-entropy beside it (LossWarmupWrapper with final_main_weight below 1), warm up "
        "with one, or use Smooth-AP."
    )
    pairwise_remedy: ClassVar[str] = (
        'surrogate="pairwise", which pushes negatives too; or keep BCE or cross-entropy beside it '
        "(LossWarmupWrapper with final_main_weight below 1)."
    )

    def examine(self, window: Window) -> Verdict:
        """Look whether the loss has been alone since the first step."""
        if window.config("surrogate") == "pairwise":
            return []
        steps = window.step - window.run.start_step
        if window.records * window.run.every < steps:  # it began later: after a warmup, or a treatment
            return []
        auroc = mean(recent(window, "pool_auroc"))
        known = auroc[auroc == auroc]
        if not len(known):
            return []
        values = {"steps": float(steps), "auroc": float(known.sum() / len(known))}
        remedy = self.pairwise_remedy if window.kind == "pauc_at_budget" else None
        return [Evidence(values, 0 if window.classes == 1 else None, remedy=remedy)]
