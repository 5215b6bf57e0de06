"""IMB016: gradients reach the logits, and neither the scores nor the loss have moved since the start."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Series, Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.constant import constant_loss
from imbalance_doctor.rules.measures.pool import Floats, mean


@dataclass(frozen=True)
class HeadDoesNotMove(Rule):
    """The scores are still those of the initial weights, though gradients reach them.

    ## Symptom
    Since the start of the run the mean probability of the negatives and the spread of the scores are what
    they were, within the noise of batches; the loss is no better than a constant prediction's, and the
    gradient at the logits is not zero.

    ## Cause
    No step changes the weights: the optimizer does not hold the parameters that make the logits, they are
    frozen, their graph is detached, or the learning rate is 0 or far too low for the steps of the run.

    ## Remedy
    Compare the parameters of the model with those in `optimizer.param_groups`; look for
    `requires_grad=False`, `detach()` and `no_grad()`; print the learning rate at a step, and raise it.

    ## Evidence
    From half of a run of known length on, 300 steps at the least (500 where it is unknown), and while the
    window still reaches back to the first record. What moved is the gain of a straight line through the
    records of each class: of the negatives' mean probability, in standard deviations of the scores, and of
    the standard deviation itself, relative to its mean. A class is quiet where the gain is within 3
    standard errors of 0 (or is 0.02), and one standard error more is still less than 0.4: classes
    whose few negatives would hide a movement prove nothing. Over several classes the squares are averaged.
    The loss of the newer half of the records is at least 0.95 times a constant's, so that a model that was
    trained before is left alone.

    ## Known problems
    A trained model that is frozen by mistake looks like one that has nothing left to learn, and is not found.
    Nor are ranking losses judged, whose loss says less of what was learnt.

    ## References
    PyTorch documentation, *Autograd mechanics*, "Setting requires_grad".
    """

    code = "IMB016"
    name = "head-does-not-move"
    severity = "warning"
    kinds = LIKELIHOOD
    requires = (
        "loss", "live_pos_count", "live_neg_count", "mean_p_true_neg", "score_std",
        "pos_grad_norm", "neg_grad_norm",
    )  # fmt: skip
    min_records = 20
    explained_by = ("IMB001", "IMB010")

    symptom = (
        "after {steps:,.0f} steps the scores are those of the start: their standard deviation was "
        "{std_before:.3g} and is {std_now:.3g}, the loss was {loss_before:.3g} over the first half of the "
        "records and {loss_now:.3g} over the second (a constant prediction gets {constant:.3g}). Gradients "
        "do reach the logits (norm {gradient:.2g})."
    )
    cause = (
        "no step changes the weights: the optimizer does not hold them, they are frozen or detached, or the "
        "learning rate is 0 or far too low."
    )
    remedy = (
        "compare the model's parameters with those in optimizer.param_groups, look for requires_grad=False "
        "and detach(), and print the learning rate; if all of that is right, raise the learning rate 10 "
        "times or more."
    )

    settle_steps: int = threshold(
        300,
        "Steps before the first verdict, however short the run: slow starts and warmups of the learning "
        "rate are over by then.",
    )
    settle_share: float = threshold(
        0.5,
        "Share of a run of known length before the first verdict, where that is more: a warmup of the "
        "learning rate over a fifth of the run is over by then.",
    )
    unknown_steps: int = threshold(
        500,
        "Steps before the first verdict where the length of the run is unknown: a longer run warms up "
        "longer.",
    )
    looks: int = threshold(
        5, "Looks at the scores that a straight line must go through: with 5 its error is known to a third."
    )
    unlearnt: float = threshold(
        0.95,
        "Times what a constant gets, from which nothing is learnt: constants on small batches vary by less.",
    )
    smallest: float = threshold(
        0.01,
        "Standard error, in spreads, below which a movement is too small to matter: twice it over half of a "
        "run is 0.04 by its end.",
    )
    known: float = threshold(
        0.4,
        "Movement, in spreads, that the scores must be known to have stayed below: healthy slow runs had "
        "moved by 1 or more.",
    )
    chance: float = threshold(
        8.0,
        "How far the mean square of C classes' movements, in standard errors, may be above 1, times "
        "sqrt(C): 8 is 3 errors of one class. At 2.2 of them, through 9 looks, frozen heads seemed to move "
        "in 8 of 20 runs.",
    )

    def examine(self, window: Window) -> Verdict:
        """Look for a movement of the scores since the start."""
        steps = window.step - window.run.start_step
        total = window.run.total_steps
        settled = max(self.settle_steps, int(self.settle_share * total)) if total else self.unknown_steps
        if steps < settled:
            return Skipped(
                f"too early: judged from step {window.run.start_step + settled} on (now {window.step})"
            )
        losses = window.series("loss")
        if len(losses) < window.records:
            return []  # the start is out of sight
        gradients = [mean(window.series(name).values) for name in ("pos_grad_norm", "neg_grad_norm")]
        gradient = np.nansum(np.square(gradients)) ** 0.5
        known = constant_loss(window)
        if known is None or not gradient > 0.0:
            return []
        values, half = known[0].values, len(known[0]) // 2
        # Asked first, as it is cheap, and lets any run go that learns. False for a loss of nan.
        if not values[half:].sum() >= self.unlearnt * known[1][half:].sum():
            return []
        spread = window.series("score_std")
        finite = np.isfinite(spread.values).all(axis=1)
        spread = Series(spread.steps[finite], spread.values[finite])
        if len(spread) < self.looks or not self._quiet(window, spread):
            return []
        return [
            Evidence(
                {
                    "steps": steps,
                    "std_before": spread.values[0].mean(),
                    "std_now": spread.values[-1].mean(),
                    "loss_before": values[:half].mean(),
                    "loss_now": values[half:].mean(),
                    "constant": known[1].mean(),
                    "gradient": gradient,
                }
            )
        ]

    def _quiet(self, window: Window, spread: Series) -> bool:
        """Whether neither the mean probability nor the spread moved, in any class that has a spread."""
        negatives = window.series("mean_p_true_neg")
        share, width = mean(negatives.values), mean(spread.values)
        if negatives.values.shape[1:] != spread.values.shape[1:] or not (width > 0.0).all():
            return False
        # A score's standard deviation as one of probabilities; that of a decision is the largest there is.
        varies = share * (1.0 - share)
        units = np.minimum(width * varies, np.sqrt(varies))
        if not (units > 0.0).all():
            return False
        return self._still(negatives, units) and self._still(spread, width)

    def _still(self, series: Series, unit: Floats) -> bool:
        gain, error = _gain(series)
        gain, error = np.abs(gain) / unit, np.maximum(error / unit, self.smallest)
        told = 3.0 * error < self.known  # a class of next to all rows has few negatives
        gain, error = gain[told], error[told]
        if not len(gain) or not (gain + error < self.known).all():
            return False
        excess = float(((gain / error) ** 2).mean()) - 1.0
        return excess <= self.chance / math.sqrt(len(gain))


def _gain(series: Series) -> tuple[Floats, Floats]:
    """What a straight line through the finite records gains from first to last, and its error, [C] each."""
    known = np.isfinite(series.values).all(axis=1)
    steps, values = series.steps[known].astype(np.float64), series.values[known]
    nothing = np.full(series.values.shape[1], np.nan)
    if len(steps) < 3:
        return nothing, nothing
    off, span = steps - steps.mean(), steps[-1] - steps[0]
    square = off @ off
    slope = off @ values / square
    rest = values - values.mean(axis=0) - off[:, None] * slope
    error = np.sqrt((rest * rest).sum(axis=0) / (len(steps) - 2) / square)
    return slope * span, error * span
