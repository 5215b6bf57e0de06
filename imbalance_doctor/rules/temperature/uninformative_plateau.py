"""IMB201: the loss sits at the value it has when all scores are tied."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.losses import catalogue
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import blending
from imbalance_doctor.rules.measures.pool import (
    RECENT,
    Bools,
    Floats,
    classes_of,
    mean,
    recent,
    round_to,
    spread_in_temperatures,
    uninformative_loss,
)
from imbalance_doctor.rules.measures.scores import Q99

_Q01 = catalogue.QUANTILE_LEVELS.index(0.01)
#: Interquartile ranges between the quantiles 0.01 and 0.99 of a normal distribution.
_RANGE_IN_IQR = 3.45


@dataclass(frozen=True)
class UninformativePlateau(Rule):
    """For this temperature all scores are tied: the loss stays at the value that counts alone decide.

    ## Symptom
    The loss hardly moves from its uninformative value: 1 - (P+1)/(M+1) for Smooth-AP with P positives in
    a pool of M, and 0.5 for Recall@Quantile and partial AUC.

    ## Cause
    The temperature is larger than the spread of the scores, so that every comparison is near one half. Or it
    is large for scores that are bounded (a cosine): each of a hundred negatives that are below a positive by
    two temperatures still counts for 12 % of one above it, and together they weigh more than the positives.

    ## Remedy
    Set a temperature that fits the scores (printed), use `tau_scale="iqr"`, or warm up with BCE or
    cross-entropy from a near-constant start.

    ## Evidence
    D is the distance of the pool's quantiles 0.01 and 0.99 over `tau_eff`. A perfect order of scores with
    that spread has all negatives D below all positives: its loss is 1 - (1+P/2) / (1+P/2 + N sigmoid(-D)) for
    Smooth-AP with N negatives, and sigmoid(-D) for the other two. It is above 0.8 of the uninformative value,
    the loss itself is within 0.05 of that, and D is not growing by half in recent records: a run that is
    leaving the plateau by itself is left alone. So is one whose pool has an AUROC of 0.9, one in its blend,
    and one whose schedule still lowers the temperature; one whose AUROC rises is information.

    Measured with Smooth-AP at a rate of 2 %, 300 steps, Gaussian data / digits: under SGD a spread of 0.02
    temperatures ended with an AP of .40 / .03, where a fitting temperature reached .90 / .95; with 0.15 at
    the start (digits) .50 against .95. Adam, which is blind to the gradient's size, left the plateau
    within 100 steps from 0.15 and within 200 from 0.02, and ended with .90 / .67 to .79.

    With a cosine head (ordered words, 2 %, Adam, 600 to 1,200 steps) a temperature of 3 / 1 / 0.5 / 0.3 /
    0.05 ended with an AP of .07 / .10 / .98 / .98 / .98; D was 0.67 / 2 / 4 / 7 and the loss of a perfect
    order .99 / .94 / .65 / .1 of the uninformative value. In some 220 ordinary runs the border was crossed in
    one, a linear model on sequences with an AUROC of .5. A run that was cooling from 0.5 to 0.1 at a rate of
    0.1 % stood at a loss of .998 with a pool AUROC of .998, and ended with an AP of .71.

    ## Known problems
    While a schedule lowers the temperature the rule is silent, though its end may be too large as well. At
    rates far below 1 % an AUROC of 0.9 can go with a poor AP.

    Partial AUC with a temperature of 10 or 100 interquartile ranges never leaves the plateau, because its
    temperature grows with the scores; under Adam it still lowers the mean rank of negatives, and in small
    runs lost little (AP .48 against .54, and .18 against .17).

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020, section 5 (choice of the temperature).
    """

    code = "IMB201"
    name = "uninformative-plateau"
    severity = "warning"
    kinds = RANKING
    requires = (
        "per_class_loss", "pool_pos_count", "pool_neg_count", "tau_eff", "score_iqr", "score_std",
        "pos_score_quantiles", "neg_score_quantiles", "pool_auroc",
    )  # fmt: skip
    min_records = 10
    explained_by = ("IMB001", "IMB002", "IMB020", "IMB402")

    symptom = (
        "the loss of {class_label} is {class_loss:.3f}, and would be {uninformative:.3f} if all its scores "
        "were equal; they are spread over {spread_ratio:.2g} temperatures, and even a perfect order of them "
        "would have {perfect:.3f}."
    )
    cause = (
        "a temperature of {tau:.2g} is large for scores with a spread of {spread:.2g}: every comparison is "
        "near one half, or the many negatives outweigh the few positives."
    )
    remedy = (
        'set the temperature to about {tau_wanted:.2g}, use tau_scale="iqr", or warm up with BCE or '
        "cross-entropy."
    )

    blamed: float = threshold(
        0.8,
        "Loss of a perfect order over the uninformative value, from which the temperature is to blame: .94 "
        "and .99 where a bounded head did not learn, .65 where it did.",
    )
    near: float = threshold(
        0.05,
        "Distance of the loss from its uninformative value that still counts as being there: in the runs "
        "that stayed on the plateau it was 0.007 to 0.03.",
    )
    learnt: float = threshold(
        0.9,
        "AUROC of the pool from which the order is being learnt all the same: .91 to .95 in a partial AUC "
        "that ended above its twin, .84 to .87 in heads that stayed at an AP of .07 and .10.",
    )
    rising: float = threshold(
        0.1,
        "Gain of AUROC over the recent records with which it is rising, beside two standard errors: it is "
        "then information.",
    )
    leaving: float = threshold(
        1.5,
        "Growth of the spread over the recent records, from which the run is leaving the plateau by itself: "
        "1.0 to 1.3 in 200 steps where SGD was stuck, 6 and more in 70 where Adam left.",
    )
    wanted_ratio: float = threshold(
        10.0, "Spread, in temperatures, that the remedy aims at: 8 to 60 was best or near best."
    )

    def examine(self, window: Window) -> Verdict:
        """Find classes whose scores are all but tied at this temperature, and stay so."""
        if blending(window) or _cooling(window):
            return []
        width = _width(window)
        if not len(width):
            return []
        levels, perfect = mean(uninformative_loss(window)), _perfect_loss(window, width[-1])
        losses = mean(recent(window, "per_class_loss"))
        sick: Bools = (perfect > self.blamed * levels) & (np.abs(losses - levels) < self.near)
        sick &= width[-1] < self.leaving * width[0]
        if not sick.any():
            return []
        auroc = recent(window, "pool_auroc")
        sick &= ~(mean(auroc) >= self.learnt)
        error = np.sqrt(1.0 / (6.0 * np.maximum(mean(recent(window, "pool_pos_count")), 1.0)))
        half = max(len(auroc) // 2, 1)
        gain = mean(auroc[-half:]) - mean(auroc[:half])
        rises: Bools = gain > np.maximum(self.rising, 2.0 * error / math.sqrt(half))
        return self._findings(window, width[-1], perfect, losses, levels, rises, classes_of(sick))

    def _findings(
        self,
        window: Window,
        width: Floats,
        perfect: Floats,
        losses: Floats,
        levels: Floats,
        rises: Bools,
        classes: list[int],
    ) -> Iterator[Evidence]:
        taus, ratio = mean(recent(window, "tau_eff")), mean(spread_in_temperatures(window))
        # Scores in two clusters may have an IQR of nothing, or of everything.
        fitted = np.maximum(ratio, width / _RANGE_IN_IQR)
        temperature = float(window.config("temperature") or 0.0)
        for index in classes:
            wanted = round_to(temperature * fitted[index] / self.wanted_ratio, 1)
            prescription = None
            if 0.0 < wanted < temperature:
                prescription = Change("temperature", temperature, wanted)
            yield Evidence(
                {
                    "class_loss": losses[index],
                    "uninformative": levels[index],
                    "perfect": perfect[index],
                    "spread_ratio": ratio[index],
                    "spread": ratio[index] * taus[index],
                    "tau": taus[index],
                    "tau_wanted": wanted,
                },
                index,
                severity="info" if rises[index] else None,
                prescription=prescription,
            )


def _cooling(window: Window) -> bool:
    """Whether a schedule has lowered the temperature since the record before: its end is still to come."""
    values = window.series("temperature").values
    return bool(len(values) > 1 and values[-1] < values[-2] * (1.0 - 1e-6))


def _width(window: Window) -> Floats:
    """Temperatures between the lowest and the highest scores of the pool, their tails left out, [T, C]."""
    taus, positive, negative = (
        series.since(window.recent("tau_eff", RECENT).steps[0]).values
        for series in window.aligned("tau_eff", "pos_score_quantiles", "neg_score_quantiles")
    )
    highest = np.fmax(positive[..., Q99], negative[..., Q99])
    lowest = np.fmin(positive[..., _Q01], negative[..., _Q01])
    width: Floats = (highest - lowest) / np.maximum(taus, 1e-30)
    return width


def _perfect_loss(window: Window, width: Floats) -> Floats:
    """The loss of scores with all positives a width above all negatives, [C]."""
    counted = 1.0 / (1.0 + np.exp(np.minimum(width, 60.0)))
    if window.kind != "smooth_ap":
        return counted
    positives, negatives = mean(recent(window, "pool_pos_count")), mean(recent(window, "pool_neg_count"))
    # A positive counts half of the others, with which it is tied, and itself.
    ranked = 1.0 + 0.5 * positives
    result: Floats = 1.0 - ranked / (ranked + negatives * counted)
    return result
