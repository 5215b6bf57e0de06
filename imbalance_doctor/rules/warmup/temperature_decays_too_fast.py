"""IMB504: the temperature reaches its end long before the main phase does."""

from __future__ import annotations

from dataclasses import dataclass

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import switch_step
from imbalance_doctor.rules.measures.pool import round_to, round_up


@dataclass(frozen=True)
class TemperatureDecaysTooFast(Rule):
    """The temperature is at its sharpest before the first half of the main phase is over.

    ## Symptom
    `temp_decay_steps` is less than half of the steps after the switch.

    ## Cause
    The decay was set for a longer warmup or a shorter run. Sharp ranks pass gradient to the few positives
    that are within some temperatures of a negative, and those are the wrong ones while scores still move.

    ## Remedy
    Set `temp_decay_steps` to 60 % of the main phase (printed).

    ## Evidence
    `temp_decay_steps` is below half of `total_steps` less the warmup, and `temp_start` at least twice
    `temp_end`.

    Smooth-AP at a rate of 2 %, 50 steps of warmup, 300 of main phase, 2 seeds, AP after a decay within
    20 / 200 steps:

    | from, to | Gaussian data | digits |
    |---|---|---|
    | 0.5, 0.005 | .89 / .90 | .76 / .82 |
    | 0.05, 0.0005 | .85 / .88 | .61 / .74 |
    | 1, 0.0005 | .87 / .86 | .64 / .72 |

    Down to 0.005, which is the default, a fast decay cost .01 on Gaussian data and .06 on digits. Below, it
    cost up to .13, and the end itself costs as much with a slow decay: there the temperature is saturated
    (IMB202), which is the finding to act on. So this one is information.

    ## Known problems
    Without `total_steps` the length of the main phase is unknown, and the rule is silent.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020, section 5 (choice of the temperature).
    """

    code = "IMB504"
    name = "temperature-decays-too-fast"
    severity = "info"
    kinds = frozenset({"warmup_wrapper"})
    requires = ("phase", "temperature")
    min_records = 1
    foreseeable = True

    symptom = (
        "the temperature falls from {start:.3g} to {end:.3g} in {decay_steps:,.0f} steps, "
        "{percent:.0f} % of the {main_steps:,.0f} steps of the main phase."
    )
    cause = "the decay is short for this run: most of the main phase uses the sharpest temperature."
    remedy = "set temp_decay_steps={wanted:.0f}, {wanted_percent:.0f} % of the main phase."

    early: float = threshold(
        0.5,
        "Share of the main phase, below which the decay is early: a decay to 0.005 within 0.07 of it cost "
        ".01 of AP on Gaussian data and .06 on digits, against one within 0.67 of it; a decay to 0.0005 cost "
        "up to .13.",
    )
    wanted: float = threshold(
        0.6,
        "Share of the main phase that is prescribed: a decay over 0.67 of it was better than one over 0.07, "
        "or within .01 of it, in each of six comparisons.",
    )
    factor: float = threshold(
        2.0,
        "Ratio of the two temperatures from which there is a decay to speak of: spreads of 8 to 60 "
        "temperatures are as good as each other (IMB201).",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the length of the decay with what is left of the run after the switch."""
        start, end = float(window.config("temp_start", 1.0)), float(window.config("temp_end", 1.0))
        if end <= 0.0 or start < self.factor * end:
            return []
        total, planned = window.run.total_steps, window.config("warmup_steps")
        if total is None:
            return Skipped("the length of the run is unknown; pass total_steps")
        switch = int(planned) if planned is not None else switch_step(window)
        main = total - (switch or 0)
        decay = int(window.config("temp_decay_steps", 0))
        if switch is None or main <= 0 or decay >= self.early * main:
            return []
        to = round_up(self.wanted * main)
        values = {
            "start": start,
            "end": end,
            "decay_steps": decay,
            "main_steps": main,
            "percent": round_to(100.0 * decay / main),
            "wanted": to,
            "wanted_percent": 100.0 * self.wanted,
        }
        prescription = Change("temp_decay_steps", decay, to)
        return [Evidence(values, prescription=prescription)]
