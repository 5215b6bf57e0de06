"""IMB703: the loss has risen far above what a constant prediction gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.constant import constant_loss
from imbalance_doctor.rules.measures.pool import Floats


@dataclass(frozen=True)
class ExplodingLoss(Rule):
    """The loss went up instead of down, to where a constant prediction would be better: steps too large.

    ## Symptom
    The loss rises above where it began and stays there, swings up again and again, or shoots up once and
    comes back to that of a constant for good.

    ## Cause
    A learning rate that is too high for the loss (sum reductions multiply it by the batch, weights by
    themselves), inputs that were not scaled, or gradients that a few rows dominate.

    ## Remedy
    Lower the learning rate by a factor of 10, clip gradients, warm the learning rate up; scale the inputs.

    ## Evidence
    The measure is the loss of a constant: the rate of each class, weighted as the loss weighs it, predicted
    for every row of the record. The median loss of the last 5 records is more than twice that, and the loss
    has risen: the median is more than 1.5 times the first record of the window or a median of 5 before, or
    the constant where that is larger, and it is so beyond what more positives in the batches explain: the
    loss of a model that stays as it is grows no faster than the rows of the rarer side. Or one record was
    more than 10 times the constant and the first record, and no median since was below 0.9 times the
    constant: the units died of it.

    BCE and focal at a rate of 5 %: SGD with learning rates of 50, 0.3 on a sum, 1.0 with momentum on a sum,
    0.3 with a weight of 2,000: medians of 2 to 230 times the constant, where the first record was 2 to 14,
    and the lowest median up to 3 times lower; found at step 40 (the sum of 0.3 at 140). Inputs up to 1,000
    times too large at 0.1: 140 times at step 20, 0.98 to 1.2 times from step 110 on. In 38 ordinary runs of
    these losses no median above 1.2 times the constant was higher than 0.9 times the lowest level before it;
    single records of 84 times the start, under Adam at 3.0, went away. Growth is measured from the first
    record, because the second is 10 steps later: the focal sum was at 66 times its start by then. It is a
    median's, because one bad batch is no explosion. A model that does not move has a steady loss, whose
    multiples vary with the positives that each batch happens to hold: losses of 0.688 to 0.701 were 5 to 12
    times the constant at a rate of 1 %, in batches of 128.

    For a loss whose constant is not known: the median of the last 5 records is more than 10 times the largest
    of the first 3 of the window.

    ## Known problems
    Scores that explode may still rank well: some of these runs ended with an AP of .66 to .94, until the
    numbers overflowed. Ranking losses lie between 0 and 1 and cannot explode; their scores can. Steps that
    kill all units between two records leave the loss near the constant's, and show as majority collapse
    (IMB009). A run that is resumed at a much higher loss looks the same.

    ## References
    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 8.2.4.
    """

    code = "IMB703"
    name = "exploding-loss"
    severity = "error"
    kinds = LIKELIHOOD | {"other"}
    requires = ("loss",)
    min_records = 5
    explained_by = ("IMB001",)

    symptom = "the loss is {now:.3g}, {growth:,.3g} times its level of {before:.3g} at step {step:.0f}."
    cause = (
        "most likely the learning rate is too high for this loss, inputs are not scaled, or a few rows "
        "dominate the gradient."
    )
    remedy = "lower the learning rate by a factor of 10, clip gradients, and warm the learning rate up."
    above_symptom = (
        "the loss is {now:.3g}, up from {before:.3g} at step {step:.0f}, and {above:,.3g} times what a "
        "constant prediction gets ({constant:.3g})."
    )
    spike_symptom = (
        "the loss shot up to {peak:.3g} at step {step:.0f}, {growth:,.3g} times its level of {before:.3g}, "
        "and has been no better than a constant prediction since ({now:.3g}; a constant gets {constant:.3g})."
    )
    scaled_remedy = (
        "restart with the learning rate lowered by a factor of 10, clip gradients, and warm the learning "
        "rate up; check that inputs are scaled, and that reduction and weights do not multiply the step."
    )

    growth: float = threshold(
        10.0,
        "Growth over the first records, of a spike or where the loss of a constant is not known: far beyond "
        "the 1.3 times by which medians of slow runs vary.",
    )
    above: float = threshold(
        2.0,
        "Times what a constant gets, from which the loss is too high: an untrained model at a rate of 5 % "
        "has 3.5, and falls; in 38 ordinary runs no median above 1.2 had risen.",
    )
    rise: float = threshold(
        1.5, "Growth over a level before: medians of 5 records of a slow run vary by up to 1.3."
    )
    after: int = threshold(
        10,
        "Records since a spike from which its consequence is known: units that had died were at 140 times "
        "the constant at step 20, and at 0.98 to 1.2 times from step 110 on.",
    )
    learnt: float = threshold(
        0.9,
        "Times what a constant gets, below which a median of 5 records shows that something is learnt: the "
        "constant is that of the rows at hand, so that those of dead units stayed between 0.97 and 1.2.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the newest records with a constant's loss and with lower levels before."""
        known = constant_loss(window)
        if known is None:
            return self._grown(window)
        series, constant, rare = known
        multiple = series.values / constant
        if len(multiple) < self.min_records or not np.isfinite(multiple).all():
            return []
        if np.sort(multiple[-5:])[2] <= self.above and multiple.max() < self.growth:
            return []
        levels = _levels(multiple)
        losses, mean = _levels(series.values), constant.mean()
        now, before = losses[-1], np.concatenate([series.values[:1], losses[:-5]])
        rise = now / np.maximum(before, mean) / _more(rare)
        lowest = int(rise.argmax())
        values = {
            "now": now,
            "before": before[lowest],
            "constant": mean,
            "above": now / mean,
            "step": series.steps[0 if lowest == 0 else lowest + 3],
        }
        if levels[-1] > self.above and rise[lowest] > self.rise:
            return [Evidence(values, symptom=self.above_symptom, remedy=self.scaled_remedy)]
        peak = int(multiple.argmax())
        growth = series.values[peak] / max(series.values[0], 1e-30)
        since = levels[peak + 1 :]
        if min(growth, multiple[peak]) < self.growth or len(since) + 4 < self.after:
            return []
        if since.min() < self.learnt:
            return []
        values |= {
            "before": series.values[0],
            "peak": series.values[peak],
            "growth": growth,
            "step": series.steps[peak],
        }
        return [Evidence(values, symptom=self.spike_symptom, remedy=self.scaled_remedy)]

    def _grown(self, window: Window) -> Verdict:
        series = window.series("loss")
        newest = np.sort(series.values[-5:])
        now = newest[(len(newest) - 1) // 2]
        before = series.values[:3].max()
        if not before > 0.0 or not now > self.growth * before:
            return []
        return [Evidence({"now": now, "before": before, "growth": now / before, "step": series.steps[0]})]


def _levels(values: Floats) -> Floats:
    """The median of every 5 records in a row, [T] to [T - 4]; `np.median` takes ten times as long."""
    levels: Floats = np.sort(np.lib.stride_tricks.sliding_window_view(values, 5), axis=1)[:, 2]
    return levels


def _more(rare: Floats) -> Floats:
    """The newest 5 records' rows over those of the first record, and of every 5 in a row before, [T - 8].

    By their sum or their median, whichever is more, as a median loss follows either; 1 at the least. One row
    is added on either side, for counts of zero.
    """
    sums = np.lib.stride_tricks.sliding_window_view(rare, 5).sum(axis=1)
    ratios = []
    for five in (sums, 5.0 * _levels(rare)):
        before = np.concatenate([5.0 * rare[:1], five[:-5]])
        ratios.append((five[-1] + 1.0) / (before + 1.0))
    result: Floats = np.maximum(1.0, np.maximum(*ratios))
    return result
