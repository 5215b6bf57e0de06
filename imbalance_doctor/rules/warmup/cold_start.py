"""IMB507: validation fell when the ranking loss took over, and has not come back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Series, Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import standard_error, switch_step, validation
from imbalance_doctor.rules.measures.pool import round_to


@dataclass(frozen=True)
class ColdStart(Rule):
    """The ranking loss has unlearnt what the warmup had learnt.

    ## Symptom
    Average precision on validation data is lower than at the end of the warmup, and stays so: the ranking
    loss does worse than the likelihood loss before it.

    ## Cause
    The ranking loss pushes positives only (Recall@Quantile, partial AUC with the trapezoid), and nothing
    keeps the negatives down once the warmup loss is gone; or its temperature does not fit the scores that the
    warmup left.

    ## Remedy
    Set `final_main_weight` below 1, which keeps the warmup loss beside it (0.5 is prescribed); or use
    `surrogate="pairwise"` or Smooth-AP, whose gradient reaches the negatives. A longer warmup only delays it.

    ## Evidence
    Each of the newest 4 evaluations, all after the switch, has an average precision below that of the last
    evaluation before it, or below what was held for two evaluations since: by 0.05, or a third of it where
    that is less, and by 2 standard errors (of a share of as many rows as there are positives). The switch is
    100 steps back, and the newest is not higher than the first of them by as much.

    Evaluations since the switch count too, because AP can rise before it falls. A third is enough, because a
    class that is hard to rank has little to lose. Such classes at a rate of 5 % after 200 steps of BCE, 2
    seeds, AP at the switch, 40 steps later, and at the end, and how often this rule found a fall:

    | partial AUC (trapezoid) alone | at step 200 | 240 | 550 | found | beside half of BCE, 550 | found |
    |---|---|---|---|---|---|---|
    | Gaussian data, centres 1.3 apart | .46 .46 | .46 .47 | .33 .36 | 2 of 2 | .47 .47 | 0 of 2 |
    | make_classification, separation 0.4 | .59 .58 | .53 .53 | .36 .31 | 2 of 2 | .83 .82 | 0 of 2 |
    | digits, noise of 1.3 | .29 .31 | .21 .22 | .16 .17 | 2 of 2 | .35 .35 | 0 of 2 |

    Partial AUC of 2 % (trapezoid) at a rate of 2 %, 150 steps of BCE, then 250 of the loss alone or at half
    of the weight, AP at the end, 3 seeds: Gaussian data .73 .73 .72 against .90 .90 .90; digits .16 .11 .22
    against .83 .85 .83. Found 30 to 160 steps after the switch.

    Half of the weight is not always little enough: with 5 classes AP fell from 1.00 to .91 in 550 steps of
    it.

    Published lists blame scores that were too uniform when the ranking phase began, and recommend a longer
    warmup. With Smooth-AP no warmup (from 0 to 350 of 400 steps, three families) led to a fall; with a loss
    that pushes positives only every warmup did, long or short.

    ## Known problems
    A run that overfits after the switch looks the same.

    ## References
    Narasimhan & Agarwal, *SVM pAUC tight*, KDD 2013.
    """

    code = "IMB507"
    name = "cold-start"
    severity = "warning"
    kinds = frozenset({"warmup_wrapper"})
    requires = ("phase",)
    requires_eval = ("average_precision",)
    explained_by = (
        "IMB001", "IMB002", "IMB003", "IMB202", "IMB305", "IMB402", "IMB403", "IMB505", "IMB509", "IMB703",
    )  # fmt: skip

    symptom = (
        "average precision fell from {before:.2f} at step {before_step:.0f} to {now:.2f}, the mean of the "
        "last {evaluations:.0f} evaluations up to step {step:.0f}; the ranking loss took over at step "
        "{switch:.0f}."
    )
    cause = (
        "the ranking loss alone does not keep the order that the warmup loss had learnt: it pushes "
        "positives up but no negative down (Recall@Quantile, partial AUC with the trapezoid), or its "
        "temperature does not fit the scores."
    )
    remedy = (
        "keep the warmup loss beside it (final_main_weight={weight:.2g}), or use a loss whose gradient "
        'reaches the negatives (surrogate="pairwise", Smooth-AP); if IMB202 is open too, fix the '
        "temperature first. A longer warmup only delays the fall."
    )

    fall: float = threshold(
        0.05,
        "Fall of average precision that matters: more than twice the noise of one evaluation, which is "
        "about 0.02.",
    )
    share: float = threshold(
        1.0 / 3.0,
        "Share of average precision whose loss matters where that is less than `fall`: a class at .12 would "
        "have to lose 42 % of it otherwise.",
    )
    errors: float = threshold(
        2.0,
        "Standard errors of the validation data that the fall must be as well. The rows are the same each "
        "time, so that most of the error cancels; with 3 a table that fell from .83 to .76 was not found.",
    )
    evaluations: int = threshold(
        4, "Evaluations in a row that must be lower: neither noise nor a dip on the way back is reported."
    )
    settle_steps: int = threshold(
        100, "Steps since the switch in which it may have dipped: Smooth-AP came back from .68 to .86 in 60."
    )
    weight: float = threshold(
        0.5,
        "Weight of the main loss that is prescribed, half of the present one where that is lower: beside "
        "half of BCE none of 12 runs with one class fell; one with 5 classes did, from 1.00 to .91.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare average precision before the switch with the newest evaluations."""
        precision = validation(window)
        if len(precision) <= self.evaluations:
            return []
        latest = precision.values[-self.evaluations :]
        best = latest.max()
        if best >= precision.values.max() - self._matters(precision.values.max()):
            return []
        switch = switch_step(window)
        if switch is None or precision.steps[-self.evaluations] < switch:
            return []
        if precision.steps[-1] < switch + self.settle_steps:
            return []  # the dip of a new objective
        at, before = self._before(precision, switch)
        least = max(self._matters(before), self.errors * standard_error(window, before))
        if best > before - least or latest[-1] > latest[0] + self._matters(before):
            return []  # or it is on its way back
        weight = float(window.config("final_main_weight", 1.0))
        wanted = self.weight if weight > self.weight else round_to(weight / 2.0)
        prescription = Change("final_main_weight", weight, wanted)
        values = {
            "before": before,
            "before_step": at,
            "switch": switch,
            "now": latest.mean(),
            "evaluations": self.evaluations,
            "step": precision.steps[-1],
            "weight": wanted,
        }
        return [Evidence(values, prescription=prescription)]

    def _matters(self, precision: float) -> float:
        """The fall from this average precision that matters."""
        return min(self.fall, self.share * precision)

    def _before(self, precision: Series, switch: int) -> tuple[int, float]:
        """Step and value of what was reached: at the last evaluation before the switch, or for two since."""
        last = int(np.searchsorted(precision.steps, switch)) - 1
        if last < 0:
            return switch, 0.0
        values, steps = precision.values[last : -self.evaluations], precision.steps[last : -self.evaluations]
        held = np.minimum(values[:-1], values[1:])
        if len(held) and held.max() > values[0]:
            return int(steps[held.argmax()]), float(held.max())
        return int(precision.steps[last]), float(precision.values[last])
