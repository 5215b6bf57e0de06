"""IMB508: the scheduled temperature goes up again in the middle of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import WARMUP_PHASE, Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import held


@dataclass(frozen=True)
class TemperatureJumpedBack(Rule):
    """A temperature that a schedule only ever lowers has gone up: the schedule lost its place.

    ## Symptom
    `temperature` falls, jumps back towards `temp_start`, and falls again.

    ## Cause
    The run resumed from a checkpoint of the model without the loss's `state_dict`, so that the schedule
    counts its decay from the resume; or a new wrapper was built in the middle of the run.

    ## Remedy
    Save and load the loss's `state_dict` with the model's: the schedule, and the queue with it, then
    continue where they were.

    ## Evidence
    `temperature` rises by more than 1 % from one record to the next in a schedule from a higher to a lower
    value, and is still above where it was. Scheduled temperatures never rise, and float32 resolves 1e-7.

    Smooth-AP, 0.2 to 0.005 in 200 of 300 steps, a new schedule at step 150 or 250, 3 seeds: AP .89 / .89 on
    Gaussian data and .79 / .79 on digits, .89 and .78 without. The jump itself does no harm; it shows that
    the loss's state did not come back. Information.

    ## Known problems
    A temperature that is raised by hand, with `reconfigure`, looks the same; one that is raised by a
    treatment does not. It is seen where the log of the earlier session is continued.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (a small temperature approximates the rank).
    """

    code: ClassVar[str] = "IMB508"
    name: ClassVar[str] = "temperature-jumped-back"
    severity: ClassVar[Severity] = "info"
    kinds: ClassVar[frozenset[str]] = frozenset({"warmup_wrapper"})
    requires: ClassVar[tuple[str, ...]] = ("phase", "temperature")
    min_records: ClassVar[int] = 2

    symptom: ClassVar[str] = (
        "the temperature rose from {before:.3g} to {after:.3g} at step {at_step:.0f}; its schedule only "
        "ever lowers it, and it is {temperature:.3g} now."
    )
    cause: ClassVar[str] = (
        "the schedule lost its place, as when a run resumes without the loss's state_dict and counts its "
        "decay of {decay_steps:,.0f} steps from there."
    )
    remedy: ClassVar[str] = "save and load loss_fn.state_dict() beside the model's; it holds the queue too."

    #: Relative rise that is no rounding: float32 resolves a hundred-thousandth of it.
    rise: float = 0.01

    def examine(self, window: Window) -> Verdict:
        """Find the newest rise, and whether the temperature has come down from it."""
        series = window.series("temperature")
        values = series.values
        rose = values[1:] > values[:-1] * (1.0 + self.rise)
        if not rose.any() or float(window.config("temp_end", 0.0)) > float(window.config("temp_start", 0.0)):
            return []
        last = int(np.flatnonzero(rose)[-1])
        before, after, now = float(values[last]), float(values[last + 1]), float(values[-1])
        warming = held(window, "phase", series.steps[last + 1 :])[0] == WARMUP_PHASE
        if warming or now <= before * (1.0 + self.rise):  # a second training begins anew; or it is over
            return []
        values_ = {
            "before": before,
            "after": after,
            "at_step": float(series.steps[last + 1]),
            "temperature": now,
            "decay_steps": float(window.config("temp_decay_steps", 0)),
        }
        return [Evidence(values_)]
