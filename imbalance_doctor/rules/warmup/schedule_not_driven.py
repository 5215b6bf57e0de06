"""IMB506: the warmup wrapper's schedule stands still while training goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import MAIN_PHASE, WARMUP_PHASE, Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold


@dataclass(frozen=True)
class ScheduleNotDriven(Rule):
    """The wrapper is not told of training steps, so its phase or temperature stands still.

    ## Symptom
    The run is past the end of its warmup (or its blend) but has not left it; or the schedule goes back to its
    warmup again and again; or the ranking loss never leaves its first temperature.

    ## Cause
    `on_train_batch_start(global_step)` is not called, or always with the same number, or with the index of
    the batch in its epoch, which begins at 0 again at each.

    ## Remedy
    Call `on_train_batch_start(global_step)` before each forward, with steps counted over all epochs (and
    `on_train_epoch_start(epoch)` at each epoch, when the schedule is in epochs).

    ## Evidence
    Comparisons with the configured schedule, none with a threshold to tune. Steps: the run is more than 5
    records older than the end of `warmup_steps` (or of the blend), and `phase` is still what it was before;
    or `phase` has fallen twice. Temperature: over the last 5 or more records of the main phase, the schedule
    should have moved it by at least 0.1 % (float32 resolves a ten-thousandth of that) and it has not moved
    at all.

    Smooth-AP on digits with epochs of 100 steps, the hook given the index of the batch: a warmup of 200 steps
    never ends (found at step 290), one of 60 begins again at each epoch (found at step 140).

    ## Known problems
    A schedule in epochs is not examined before its main phase, because a log does not say where an epoch
    ends; the wrapper itself warns of a missing hook. A resumed run whose step counter begins at 0 again is
    judged from that 0.

    ## References
    The hooks' names are those of Lightning's `Callback`.
    """

    code = "IMB506"
    name = "schedule-not-driven"
    severity = "error"
    kinds = frozenset({"warmup_wrapper"})
    requires = ("phase",)
    min_records = 5

    symptom = (
        "the run is {steps:.0f} steps old and still in a warmup of {warmup_steps:.0f} steps: the main loss "
        "does not train."
    )
    cause = (
        "the wrapper is not told of training steps: on_train_batch_start(global_step) is not called, or its "
        "number stands still or restarts at 0 in each epoch."
    )
    remedy = (
        "call loss_fn.on_train_batch_start(global_step) before each forward, with steps counted over all "
        "epochs, and loss_fn.on_train_epoch_start(epoch) at each epoch."
    )
    blend_symptom = (
        "the run is {steps:.0f} steps old and still in a blend that ends at step {warmup_steps:.0f}."
    )
    restart_symptom = (
        "the schedule has gone back to an earlier phase {restarts:.0f} times, last at step {at_step:.0f}: "
        "the main loss stops training there, and its queue is emptied when it takes over again."
    )
    restart_cause = (
        "on_train_batch_start gets a number that restarts at 0, such as the index of a batch in its epoch."
    )
    temperature_symptom = (
        "the temperature has stayed at {temperature:.3g} for {steps:.0f} steps of the main phase; by its "
        "schedule it should be {scheduled:.3g} now."
    )

    records: int = threshold(
        5, "Records beyond the end of the warmup: steps may be counted from 0 or 1, and recorded one late."
    )
    due: float = threshold(
        1e-3,
        "Relative movement of the temperature that must have been due: float32 resolves a ten-thousandth of "
        "it.",
    )
    restarts: int = threshold(
        2,
        "Times that the phase fell, from which the hooks are to blame: once, a run was resumed (see "
        "temperature-jumped-back).",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare phase and temperature with the configured schedule."""
        phase = window.series("phase")
        fell = np.flatnonzero(phase.values[1:] < phase.values[:-1])
        if len(fell) >= self.restarts:
            values = {"restarts": len(fell), "at_step": phase.steps[fell[-1] + 1]}
            return [Evidence(values, symptom=self.restart_symptom, cause=self.restart_cause)]
        lengths = [window.config(name) for name in ("warmup_steps", "blend_steps")]
        if phase.values[-1] != MAIN_PHASE and lengths == [None, None]:
            return Skipped("its warmup or blend is in epochs, and a log does not say where an epoch begins")
        steps = window.step - window.run.start_step
        warmup, blend = (float(length or 0) for length in lengths)
        end = warmup if phase.values[-1] == WARMUP_PHASE else warmup + blend
        if phase.values[-1] != MAIN_PHASE:
            if steps < end + self.records * window.run.every:
                return []
            symptom = None if phase.values[-1] == WARMUP_PHASE else self.blend_symptom
            return [Evidence({"steps": steps, "warmup_steps": end}, symptom=symptom)]
        return self._temperature(window) if window.has("temperature") else []

    def _temperature(self, window: Window) -> Verdict:
        temperatures, phases = window.series("temperature"), window.series("phase").values
        main = int((phases == MAIN_PHASE).sum())
        if main < self.records or len(temperatures) < main:
            return []
        held = temperatures.last(main)
        now = held.values[-1]
        if (held.values != now).any():
            return []
        start, end = float(window.config("temp_start", now)), float(window.config("temp_end", now))
        decay = float(window.config("temp_decay_steps", 0))
        spanned = held.steps[-1] - held.steps[0]
        if decay <= 0 or start <= 0 or end <= 0 or math.isclose(now, end, rel_tol=1e-4):
            return []
        moved = math.log(end / start) * min(spanned / decay, 1.0)
        if abs(moved) < self.due:
            return []
        values = {"steps": spanned, "temperature": now, "scheduled": now * math.exp(moved)}
        return [Evidence(values, symptom=self.temperature_symptom)]
