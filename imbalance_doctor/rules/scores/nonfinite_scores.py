"""IMB001: NaN or infinity in the logits or in the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import ANY, FOCAL, RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures.pool import recent


@dataclass(frozen=True)
class NonfiniteScores(Rule):
    """NaN or infinity has reached the loss; one such step is enough to destroy the weights.

    ## Symptom
    `nonfinite_count` is above zero, or the loss itself is NaN or infinite. In a run without a gradient
    scaler every weight is NaN after the next optimizer step, and all later steps are lost.

    ## Cause
    An exploded step (learning rate too high, no clipping), an input row that holds NaN or infinity, or
    an overflow in half precision, where 65,504 is the largest number.

    ## Remedy
    If every logit is NaN, the weights are gone: go back to the last checkpoint, lower the learning rate
    and clip gradients. If only some are, find those input rows. Under fp16 use bf16 or a gradient scaler,
    which skips such steps. The memory queue needs no care: non-finite rows never enter it.

    ## Evidence
    `nonfinite_count > 0` or a non-finite `loss`, in the newest record. One is enough: there is no
    ordinary number of NaNs. A loss of this package that is NaN because no class could be computed
    (`reduction="none"`, every `valid` 0) is not counted, and a batch whose targets are all ignored, for which
    torch's losses return NaN and a gradient of 0, has no loss in its record.

    ## Known problems
    Only recorded steps are seen. A NaN between two records shows at the next one if it destroyed the
    weights, and goes unnoticed if a gradient scaler skipped the step, which did no harm.

    ## References
    Micikevicius et al., *Mixed Precision Training*, ICLR 2018 (overflow and loss scaling).
    """

    code = "IMB001"
    name = "nonfinite-scores"
    severity = "error"
    kinds = ANY
    requires = ("loss",)
    min_records = 1
    at_once = True

    symptom = (
        "{nonfinite_logits:,.0f} logits of the newest batch are NaN or infinite; {sick_records:.0f} of the "
        "last {records:.0f} records hold NaN or infinity."
    )
    cause = (
        "a step that was too large (learning rate, no gradient clipping), input rows that hold NaN or "
        "infinity, or an overflow in half precision."
    )
    remedy = (
        "go back to the last checkpoint if the weights are NaN; lower the learning rate and clip "
        "gradients; look for NaN in the input; under fp16 use bf16 or a gradient scaler. "
        "Non-finite rows have not entered the memory queue."
    )

    loss_symptom = (
        "the loss is NaN or infinite although every logit is finite; {sick_records:.0f} of the last "
        "{records:.0f} records hold NaN or infinity."
    )
    loss_cause = (
        "an overflow inside the loss (half precision, logits beyond its range), a NaN in targets or "
        "weights, or weights that are all 0."
    )

    passing_symptom = (
        "the loss was NaN or infinite in at least one step since the previous record; it is finite again."
    )

    def examine(self, window: Window) -> Verdict:
        """Look at the newest record, and at the steps between it and the one before."""
        loss, logits = window.newest("loss"), window.newest("nonfinite_count")
        between = window.newest("interval_loss")
        broken = float(logits) if logits is not None else 0.0
        finite = loss is None or math.isfinite(loss)
        if finite and broken == 0 and (between is None or math.isfinite(between)):
            return []
        valid = window.newest("valid")
        computed = valid is None or valid.any() or window.kind not in RANKING | FOCAL
        if not finite and broken == 0 and not computed:
            return []
        return [self._evidence(window, broken, finite)]

    def _evidence(self, window: Window, broken: float, finite: bool) -> Evidence:
        losses = recent(window, "loss")
        counts = recent(window, "nonfinite_count") if window.has("nonfinite_count") else np.zeros(1)
        values = {
            "nonfinite_logits": broken,
            "sick_records": max((~np.isfinite(losses)).sum(), (counts > 0).sum()),
            "records": len(losses),
            "steps": window.run.every,
        }
        if broken:
            return Evidence(values)
        if not finite:
            return Evidence(values, symptom=self.loss_symptom, cause=self.loss_cause)
        return Evidence(values, severity="warning", symptom=self.passing_symptom, cause=self.loss_cause)
