"""How a likelihood loss weighs the positives of a class against its negatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.measures import Floats

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
    given: Any = window.config(SETTINGS.get(window.kind, ""))
    if given is None or given == -1:  # -1 is focal's "no alpha"
        return None
    weights = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if len(weights) not in (1, len(odds)):  # of another shape, such as one for each place of an image
        return None
    if window.kind == "sigmoid_focal":
        weights = weights / np.maximum(1.0 - weights, 1e-9)
    elif window.kind != "bce":
        rates = odds / (1.0 + odds)
        others = ((rates * weights).sum() - rates * weights) / np.maximum(rates.sum() - rates, 1e-9)
        weights = weights / np.maximum(others, 1e-12)
    relative: Floats = np.broadcast_to(weights, odds.shape)
    return relative
