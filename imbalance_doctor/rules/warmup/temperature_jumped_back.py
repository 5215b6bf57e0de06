"""IMB508: the scheduled temperature goes up again, or the warmup begins again, in the middle of the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold


@dataclass(frozen=True)
class TemperatureJumpedBack(Rule):
    """The scheduled temperature has risen, or the warmup has come back: the schedule lost its place.

    ## Symptom
    `temperature` falls, jumps back towards `temp_start`, and falls again. Or `phase` falls from 2 to 0: the
    ranking loss no longer trains.

    ## Cause
    The run resumed from a checkpoint of the model without the loss's `state_dict`, so that the schedule
    counts its decay from the resume; or a new wrapper was built in the middle of the run. Where the warmup
    comes back, the steps or epochs that the hooks are given began at 0 again.

    ## Remedy
    Save and load the loss's `state_dict` with the model's: the schedule, and the queue with it, then
    continue where they were. Count steps over the whole training and not from the resume.

    ## Evidence
    `temperature` rises by more than 1 % from one record to the next in a schedule from a higher to a lower
    value, and is still above where it was. Scheduled temperatures never rise, and float32 resolves 1e-7. Or
    `phase` is lower than in a record before, and has not come back.

    Smooth-AP, 0.2 to 0.005 in 200 of 300 steps, a new schedule at step 150 or 250, 3 seeds: AP .89 / .89 on
    Gaussian data and .79 / .79 on digits, .89 and .78 without. The jump itself does no harm; it shows that
    the loss's state did not come back. Information.

    Smooth-AP on digits, 200 steps of warmup, resumed at step 600 with steps counted from 0: `phase` was at 0
    for 200 steps again, and the temperature back at 0.5; found at step 640.

    ## Known problems
    A temperature that is raised by hand, with `reconfigure`, looks the same; one that is raised by a
    treatment does not; and so does a second training, meant to begin anew, with the same wrapper and log. It
    is seen where the log of the earlier session is continued.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (a small temperature approximates the rank).
    """

    code = "IMB508"
    name = "temperature-jumped-back"
    severity = "info"
    kinds = frozenset({"warmup_wrapper"})
    requires = ("phase",)
    min_records = 2
    explained_by = ("IMB506",)

    symptom = (
        "the temperature rose from {before:.3g} to {after:.3g} at step {at_step:.0f} and is "
        "{temperature:.3g} now, although its schedule only lowers it."
    )
    cause = (
        "the schedule lost its place: most likely the run resumed without the loss's state_dict, and the "
        "schedule counts its decay of {decay_steps:,.0f} steps from there."
    )
    remedy = "save and load loss_fn.state_dict() together with the model's; it holds the queue too."

    phase_symptom = (
        "the schedule went back at step {at_step:.0f}, to phase {phase:.0f} (0 is the warmup, 1 the blend), "
        "and is still there."
    )
    phase_cause = (
        "the schedule lost its place: most likely the run resumed without the loss's state_dict, or its "
        "steps (or epochs) are counted from 0 again."
    )
    phase_remedy = (
        "save and load loss_fn.state_dict() together with the model's, and give the hooks steps and epochs "
        "counted over the whole training."
    )

    rise: float = threshold(
        0.01, "Relative rise that is no rounding: float32 resolves a hundred-thousandth of it."
    )

    def examine(self, window: Window) -> Verdict:
        """Look for a phase that came back, and else for a temperature that did."""
        phases = window.series("phase")
        fell = np.flatnonzero(phases.values[1:] < phases.values[:-1])
        if len(fell) and phases.values[-1] < phases.values[fell[-1]]:
            return [
                Evidence(
                    {"at_step": phases.steps[fell[-1] + 1], "phase": phases.values[-1]},
                    symptom=self.phase_symptom,
                    cause=self.phase_cause,
                    remedy=self.phase_remedy,
                )
            ]
        return self._risen(window) if window.has("temperature") else []

    def _risen(self, window: Window) -> list[Evidence]:
        series = window.series("temperature")
        values = series.values
        rose = values[1:] > values[:-1] * (1.0 + self.rise)
        if not rose.any() or float(window.config("temp_end", 0.0)) > float(window.config("temp_start", 0.0)):
            return []
        last = int(np.flatnonzero(rose)[-1])
        before, after, now = values[last], values[last + 1], values[-1]
        if now <= before * (1.0 + self.rise):  # it is over
            return []
        values_ = {
            "before": before,
            "after": after,
            "at_step": series.steps[last + 1],
            "temperature": now,
            "decay_steps": window.config("temp_decay_steps", 0),
        }
        return [Evidence(values_)]
