"""IMB502: the warmup goes on though validation has stopped improving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import WARMUP_PHASE, Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.gate import unvalidated
from imbalance_doctor.rules.measures.phases import chance, lift, validation
from imbalance_doctor.rules.measures.pool import round_up


@dataclass(frozen=True)
class WarmupTooLong(Rule):
    """The warmup loss has brought average precision where it can, and goes on for as long again.

    ## Symptom
    Average precision on validation data has been flat for more than 40 % of the warmup so far. Or the
    warmup is as long as the run, and the main loss never begins.

    ## Cause
    The warmup loss now fits calibration, not the order of the scores.

    ## Remedy
    End the warmup at the plateau (the step is printed).

    ## Evidence
    The first evaluation within 0.02 of the best of the newest 5 lies back by more than 40 % of the warmup,
    and there are more than 5 on the plateau. A warmup as long as the run is found by its settings, and is an
    error.

    Smooth-AP after a warmup of 280 of 300 steps against 60 of 300, AP at the end, 3 seeds: .89 .88 .89
    against .90 .90 .90 on Gaussian data; .98 .98 .99 against .97 .97 .97 on digits at a rate of 10 %. With
    350 of 400 steps it was the same as with 50 (.90 / .89, and .82 / .85 on digits at 2 %). What is lost is
    at most the time: information.

    ## Known problems
    A plateau may be followed by a second rise. Flat near chance is no plateau that a switch should end,
    and is left alone.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020.
    """

    code = "IMB502"
    name = "warmup-too-long"
    severity = "info"
    kinds = frozenset({"warmup_wrapper"})
    requires = ("phase",)
    explained_by = ("IMB506",)
    foreseeable = True
    new_run = ("warmup_steps", "wanted_steps")

    symptom = (
        "average precision on validation data was within {flat:.2g} of {now:.2f} by step {plateau:.0f}, and "
        "the warmup has gone on for {idle_steps:.0f} steps since."
    )
    cause = "most likely the warmup loss now fits calibration, not the order of the scores."
    remedy = "set the warmup to about {plateau:.0f} steps."
    endless_symptom = (
        "the warmup lasts all of the {total_steps:,.0f} steps of the run: the main loss never begins."
    )
    endless_cause = "the warmup is as long as the run."
    endless_remedy = (
        "set the warmup to {wanted_steps:,.0f} steps, a tenth of the run, or make the run longer."
    )

    flat: float = threshold(
        0.02, "Average precision that a plateau may still gain: the noise of one evaluation is of this size."
    )
    idle: float = threshold(
        0.4,
        "Share of the warmup so far that must be flat: with a half, digits that had learnt all by step 170 "
        "were not found in a warmup of 380.",
    )
    evaluations: int = threshold(
        5, "Evaluations on the plateau, so that a pause in the rise is not taken for it."
    )
    ready: float = threshold(
        0.3,
        "Average precision, between 0 for chance and 1, below which a warmup is not done: the published "
        "advice.",
    )

    wanted: float = threshold(
        0.1,
        "Share of the run that is prescribed for a warmup that would last all of it: long warmups gained "
        "nothing over short ones.",
    )

    def examine(self, window: Window) -> Verdict:
        """Find since when average precision has been flat; or that the warmup never ends."""
        if self._is_endless(window):
            total = window.run.total_steps or 0
            values = {"total_steps": total, "wanted_steps": round_up(self.wanted * total)}
            return [
                Evidence(
                    values,
                    severity="error",
                    symptom=self.endless_symptom,
                    cause=self.endless_cause,
                    remedy=self.endless_remedy,
                )
            ]
        missing = unvalidated(window, ("average_precision", "positive_rate"))
        if missing:
            return missing
        precision = validation(window)
        if len(precision) <= self.evaluations or window.series("phase").values[-1] != WARMUP_PHASE:
            return []
        now = precision.values[-self.evaluations :].max()
        if lift(now, chance(window)) < self.ready:
            return []
        plateau = int(precision.steps[np.flatnonzero(precision.values >= now - self.flat)[0]])
        start, newest = window.run.start_step, int(precision.steps[-1])
        on_it = int((precision.steps >= plateau).sum())
        if on_it <= self.evaluations or newest - plateau < self.idle * (newest - start):
            return []
        return [Evidence({"flat": self.flat, "now": now, "plateau": plateau, "idle_steps": newest - plateau})]

    @staticmethod
    def _is_endless(window: Window) -> bool:
        """Whether the warmup is as long as the run, by its settings or at the last step."""
        total, planned = window.run.total_steps, window.config("warmup_steps")
        if total is None:
            return False
        if planned is not None:
            return bool(planned >= total)
        phases = window.series("phase")
        return bool(phases.values[-1] == WARMUP_PHASE and phases.steps[-1] >= total - 1)
