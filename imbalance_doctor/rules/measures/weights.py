"""How a likelihood loss weighs the positives of a class against its negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import threshold
from imbalance_doctor.rules.measures.pool import RECENT, Bools, Floats, population_rates, recent

#: Factor from which a weight, or the odds of a sampler's batches over those of the population, corrects for
#: something: less is the error of a rate. IMB012 finds classes that both correct, IMB015 those that one does.
CORRECTS = 2.0

#: The setting that weighs positives, in each kind of loss that has one.
SETTINGS = {
    "sigmoid_focal": "alpha", "softmax_focal": "alpha", "bce": "pos_weight", "cross_entropy": "weight",
}  # fmt: skip


def odds_of(window: Window) -> Floats:
    """Positives for each negative among the live rows of the window, [C]."""
    positives = window.series("live_pos_count").values.sum(axis=0)
    odds: Floats = positives / np.maximum(window.series("live_neg_count").values.sum(axis=0), 1.0)
    return odds


def positive_weight(window: Window, odds: Floats) -> Floats | None:
    """What a positive of each class weighs against one of its negatives, [C]; None where nothing is set."""
    given = _setting(window, SETTINGS.get(window.kind, ""), odds)
    if window.kind == "sigmoid_focal":
        if given is None and window.config("pos_weight") is None:
            return None
        alphas = 1.0 if given is None else given / np.maximum(1.0 - given, 1e-9)
        return alphas * pos_factor(window, odds)
    if given is not None and window.kind != "bce":
        rates = odds / (1.0 + odds)
        others = ((rates * given).sum() - rates * given) / np.maximum(rates.sum() - rates, 1e-9)
        given = given / np.maximum(others, 1e-12)
    return given


def pos_factor(window: Window, odds: Floats) -> Floats:
    """The `pos_weight` of a sigmoid focal loss, [C]; 1 where it has none."""
    given = _setting(window, "pos_weight", odds)
    return np.ones_like(odds) if given is None else given


def numbers_of(given: Any) -> Floats | None:
    """The weights that a setting holds, in a list; None where it is not set, or described in words."""
    if given is None or given == -1:  # -1 is focal's "no alpha"
        return None
    try:
        weights: Floats = np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError):
        return None
    return weights


def _setting(window: Window, name: str, odds: Floats) -> Floats | None:
    """A weight of each class, [C]; None where it is not set, or of another shape than the classes."""
    weights = numbers_of(window.config(name))
    if weights is None or len(weights) not in (1, len(odds)):  # such as one for each place of an image
        return None
    each: Floats = np.broadcast_to(weights, odds.shape)
    return each


@dataclass(frozen=True)
class Correction:
    """What weights and a sampler make of the rates of the classes, [C] each.

    Attributes:
        weight: What a positive weighs against a negative; 1 where nothing is set.
        odds: Positives for each negative in the batches.
        sampled: Those odds over the odds of the population; nan where it is not known.
        total: What all positives weigh against all negatives: 1 is balance.
    """

    weight: Floats
    odds: Floats
    sampled: Floats
    total: Floats

    @property
    def twice(self) -> Bools:
        """Whether sampler and weights correct, each for itself."""
        both: Bools = (self.weight >= CORRECTS) & (self.sampled >= CORRECTS)
        return both


@dataclass(frozen=True)
class Overweight:
    """What the rules on positives that weigh too much share; the runs are those of IMB015's page."""

    much: float = threshold(
        5.0,
        "What all positives weigh over all negatives, from which it is reported: at 5, a third and more of "
        "the precision at balance is gone, and up to .10 of AP.",
    )
    far: float = threshold(
        30.0,
        "The same from which it is a warning: at 30 and more, where `flagged` holds too, AP was .18 to .41 "
        "below that of balance on digits and make_classification, and .03 to .16 on Gaussian data.",
    )
    flagged: float = threshold(
        0.25,
        "Share of the negatives that the default decision calls positive, for a warning: classes that "
        "hardly separate have .25 at balance already.",
    )
    positives: float = threshold(
        5.0,
        "Positives by which the rate must be known: its standard error is 45 % then, far less than a factor "
        "of `much`.",
    )

    def overweight(self, window: Window, found: Correction) -> Bools:
        """Classes whose positives weigh much more than their negatives, at a rate that is known, [C]."""
        live = window.series("live_pos_count").values.sum(axis=0)
        over: Bools = (found.total >= self.much) & (live >= self.positives)
        return over

    def is_far(self, total: float, alarms: float) -> bool:
        """Whether that has gone far, and the default decision shows it."""
        return total >= self.far and alarms >= self.flagged


def flagged_percent(alarms: float) -> dict[str, float]:
    """False alarms as evidence, where they are known."""
    return {"flagged_percent": 100.0 * alarms} if np.isfinite(alarms) else {}


def correction(window: Window) -> Correction:
    """How the classes of a likelihood loss are corrected; needs `live_pos_count` and `live_neg_count`."""
    odds = odds_of(window)
    given = positive_weight(window, odds)
    weight = np.ones_like(odds) if given is None else given
    rates = population_rates(window, len(odds))
    return Correction(weight, odds, odds * (1.0 - rates) / rates, weight * odds)


def false_positive_rates(window: Window, evaluations: int = 2) -> Floats:
    """Share of the negatives that the default decision calls positive, [C]; nan where nothing tells it yet.

    The smallest of the newest evaluations, or else that of the recent records once there are enough of them.
    """
    classes = len(odds_of(window))
    metrics = ("recall_at_default", "precision_at_default", "positives", "rows")
    series = [window.eval_series(name).last(evaluations).values for name in metrics]
    if len(series[0]) == evaluations and series[0].shape[1:] == (classes,):
        recall, precision, positives, rows = series
        wrong = np.nan_to_num(recall * positives * (1.0 / np.maximum(precision, 1e-9) - 1.0))
        validated: Floats = (wrong / np.maximum(rows - positives, 1.0)).min(axis=0)
        return validated
    if window.records < RECENT or not window.has("predicted_pos_count"):
        return np.full(classes, np.nan)
    names = ("predicted_pos_count", "true_pos_count", "live_neg_count")
    predicted, found, negatives = (recent(window, name).sum(axis=0) for name in names)
    trained: Floats = (predicted - found) / np.maximum(negatives, 1.0)
    return trained
