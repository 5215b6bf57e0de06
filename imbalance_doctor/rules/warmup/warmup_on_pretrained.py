"""IMB503: a model that ranks well already is given a warmup."""

from __future__ import annotations

from dataclasses import dataclass

from imbalance_doctor.history import WARMUP_PHASE, Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import chance, lift, validation


@dataclass(frozen=True)
class WarmupOnPretrained(Rule):
    """The model ranks well from its first evaluation on, and a warmup is configured all the same.

    ## Symptom
    Average precision is high at the first evaluation, made before the first steps of the warmup, or within
    them.

    ## Cause
    The weights are those of a trained model. The warmup loss pulls them towards calibrated probabilities,
    which may cost some of the order.

    ## Remedy
    Skip the warmup: `warmup_steps=0` (or epochs).

    ## Evidence
    The first evaluation is no later than one record after the start, and its average precision is at least
    0.5, with chance as 0 and perfection as 1; the second is not higher by 0.1, as it is where a new model
    learns easy data at once (digits at a rate of 10 %); the warmup is under way.

    A model with 200 steps of training, then 300 steps at a rate of 2 %, 3 seeds; AP at the end after a warmup
    of 0 / 100 / 200 steps: Gaussian data .91 / .90 / .90, digits .91 / .89 / .89. The warmup pulls AP down by
    0.02 at the most (.89 to .87, Gaussian) and costs 0.01 to 0.02 at the end: information.

    ## Known problems
    Data that a model learns within a few steps look the same. Without an evaluation at the start the rule is
    silent.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (fine-tuned from pretrained features without a warmup).
    """

    code = "IMB503"
    name = "warmup-on-pretrained"
    severity = "info"
    kinds = frozenset({"warmup_wrapper"})
    requires = ("phase",)
    requires_eval = ("average_precision", "positive_rate")
    min_records = 1

    symptom = (
        "average precision was already {first:.2f} at step {evaluated:.0f} (chance is {chance:.2g}), and is "
        "{now:.2f} now, in the warmup."
    )
    cause = "most likely the model was trained before; a warmup is for scores without an order."
    remedy = "skip the warmup (warmup_steps=0); the ranking loss can begin at once."

    good: float = threshold(
        0.5,
        "Average precision of the first evaluation, between 0 for chance and 1, that scores of new weights "
        "do not have.",
    )
    learning: float = threshold(
        0.1,
        "Rise to the second evaluation with which the model is new and learns fast, as on digits at a rate "
        "of 10 %.",
    )

    def examine(self, window: Window) -> Verdict:
        """Look at the first evaluation, if it was made at the very start."""
        if window.series("phase").values[-1] != WARMUP_PHASE:
            return []
        precision = validation(window)
        if len(precision) < 2 or precision.values[0] < self.good:
            return []
        rate = chance(window)
        early = precision.steps[0] <= window.run.start_step + window.run.every
        first, second = lift(precision.values[:2], rate)
        if not early or first < self.good or second > first + self.learning:
            return []
        return [
            Evidence(
                {
                    "first": precision.values[0],
                    "evaluated": precision.steps[0],
                    "chance": rate,
                    "now": precision.values[-1],
                }
            )
        ]
