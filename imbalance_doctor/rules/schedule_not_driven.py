"""IMB506: the warmup wrapper's schedule stands still while training goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import MAIN_PHASE, WARMUP_PHASE, Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict


@dataclass(frozen=True)
class ScheduleNotDriven(Rule):
    """Training steps go by, but the wrapper does not hear of them: phase or temperature stand still.

    ## Symptom
    The run is past the end of its warmup and the warmup loss is still the one that trains; or the ranking
    loss trains at its first temperature for ever.

    ## Cause
    `on_train_batch_start(global_step)` is not called, or always with the same number.

    ## Remedy
    Call `on_train_batch_start(global_step)` before each forward (and `on_train_epoch_start(epoch)` at each
    epoch, when the schedule is in epochs).

    ## Evidence
    Two comparisons with the configured schedule, neither with a threshold to tune. Steps: the run is
    more than `warmup_steps` and 5 records old, and `phase` is still 0. Temperature: over the last 5 or more
    records of the main phase, the schedule should have moved it by at least 0.1 % (float32 resolves a
    ten-thousandth of that) and it has not moved at all.

    ## Known problems
    A schedule in epochs of which only the epoch hook was forgotten stays in warmup without being found
    here, because a log does not say where an epoch ends; the wrapper itself warns of it. A resumed run
    whose step counter begins at 0 again is judged from that 0.

    ## References
    The hooks' names are those of Lightning's `Callback`.
    """

    code: ClassVar[str] = "IMB506"
    name: ClassVar[str] = "schedule-not-driven"
    severity: ClassVar[Severity] = "error"
    kinds: ClassVar[frozenset[str]] = frozenset({"warmup_wrapper"})
    requires: ClassVar[tuple[str, ...]] = ("phase",)
    min_records: ClassVar[int] = 5

    symptom: ClassVar[str] = (
        "the run is {steps:.0f} steps old and still in a warmup of {warmup_steps:.0f} steps: the main loss "
        "has not begun."
    )
    cause: ClassVar[str] = (
        "the wrapper does not hear of training steps: on_train_batch_start(global_step) is not called, or "
        "always with the same number."
    )
    remedy: ClassVar[str] = (
        "call loss_fn.on_train_batch_start(global_step) before each forward, and "
        "loss_fn.on_train_epoch_start(epoch) at each epoch."
    )
    temperature_symptom: ClassVar[str] = (
        "the temperature has stayed at {temperature:.3g} for {steps:.0f} steps of the main phase; the "
        "schedule should have brought it to {scheduled:.3g} by now."
    )

    #: Records beyond the end of the warmup: steps may be counted from 0 or 1, and recorded one late.
    records: int = 5
    #: Relative movement of the temperature that must have been due.
    due: float = 1e-3

    def examine(self, window: Window) -> Verdict:
        """Compare phase and temperature with the configured schedule."""
        phase = window.series("phase")
        steps = window.step - window.run.start_step
        warmup = window.config("warmup_steps")
        late = self.records * window.run.every
        if warmup is not None and phase.values[-1] == WARMUP_PHASE:
            if steps < float(warmup) + late:
                return []
            return [Evidence({"steps": float(steps), "warmup_steps": float(warmup)})]
        if phase.values[-1] != MAIN_PHASE or not window.has("temperature"):
            return []
        return self._temperature(window)

    def _temperature(self, window: Window) -> Verdict:
        temperatures, phases = window.series("temperature"), window.series("phase").values
        main = int((phases == MAIN_PHASE).sum())
        if main < self.records or len(temperatures) < main:
            return []
        held = temperatures.last(main)
        now = float(held.values[-1])
        if (held.values != now).any():
            return []
        start, end = float(window.config("temp_start", now)), float(window.config("temp_end", now))
        decay = float(window.config("temp_decay_steps", 0))
        spanned = float(held.steps[-1] - held.steps[0])
        if decay <= 0 or start <= 0 or end <= 0 or math.isclose(now, end, rel_tol=1e-4):
            return []
        moved = math.log(end / start) * min(spanned / decay, 1.0)
        if abs(moved) < self.due:
            return []
        values = {"steps": spanned, "temperature": now, "scheduled": now * math.exp(moved)}
        return [Evidence(values, symptom=self.temperature_symptom)]
