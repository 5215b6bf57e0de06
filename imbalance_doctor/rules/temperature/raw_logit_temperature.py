"""IMB406: partial AUC with a temperature that was meant for raw logits."""

from __future__ import annotations

from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold


@dataclass(frozen=True)
class RawLogitTemperature(Rule):
    """The temperature looks copied from a loss that takes raw logits; here it multiplies the scores' spread.

    ## Symptom
    `temperature` is 0.02 or less in partial AUC. Only positives within a few per cent of the scores' spread
    from a threshold are moved.

    ## Cause
    Smooth-AP's default of 0.01 is in logits. Partial AUC multiplies its temperature by the interquartile
    range of the negatives (or the width of the band), so that 0.01 means a hundredth of the spread.

    ## Remedy
    Use the default, 0.1.

    ## Evidence
    The configured temperature. AP at a rate of 2 %, 300 steps of Adam, 4 seeds, Gaussian data / digits /
    make_classification: .48 / .12 / .26 at 0.005, .52 / .15 / .44 at 0.01, .51 / .13 / .53 at 0.02,
    .52 / .14 / .57 at 0.05, .51 / .14 / .62 at 0.1. From 0.01 up only one family of three lost anything,
    so it is information; where no positive carries gradient, IMB202 says so and is the graver finding.

    ## Known problems
    A small temperature that was chosen on purpose, for the end of a run, is reported as well.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (a temperature of 0.01 for raw cosine scores).
    """

    code = "IMB406"
    name = "raw-logit-temperature"
    severity = "info"
    kinds = frozenset({"pauc_at_budget"})
    requires = ("loss",)
    foreseeable = True

    symptom = (
        "the temperature is {temperature:.3g} times the spread of the negatives' scores: the loss moves "
        "only positives very close to a threshold."
    )
    cause = (
        "most likely the value was copied from a loss on raw logits; here the temperature multiplies the "
        "scores' spread."
    )
    remedy = "set temperature={wanted:.2g}."

    small: float = threshold(
        0.02,
        "Temperature up to which it is reported: at 0.02 and below, one family of three lost AP (.62 at "
        "0.1, .53 at 0.02, .26 at 0.005).",
    )
    wanted: float = threshold(
        0.1, "Temperature that is prescribed: the loss's default, and the best that was measured."
    )

    def examine(self, window: Window) -> Verdict:
        """Look at the configured temperature."""
        temperature = float(window.config("temperature", self.wanted))
        if temperature > self.small:
            return []
        prescription = Change("temperature", temperature, self.wanted)
        values = {"temperature": temperature, "wanted": self.wanted}
        return [Evidence(values, 0 if window.classes == 1 else None, prescription=prescription)]
