"""What a likelihood loss would be if every row got the same prediction."""

from __future__ import annotations

from typing import Any

import numpy as np

from imbalance_doctor.history import Series, Window
from imbalance_doctor.rules.base import LIKELIHOOD, SOFTMAX
from imbalance_doctor.rules.measures.pool import Floats
from imbalance_doctor.rules.measures.weights import SETTINGS, numbers_of


def constant_loss(window: Window) -> tuple[Series, Floats, Floats] | None:
    """The loss, what a constant prediction gets by it, and the rows of the rarer sides, [T] each.

    The constant is the rates of a record's rows, as the loss weighs them, predicted for each of them.

    At least its mean over records: focal gets nothing from a batch without positives. None where the loss,
    or its rows, are not known.
    """
    reduction = str(window.config("reduction", "mean"))
    if window.kind not in LIKELIHOOD or reduction not in ("mean", "sum"):
        return None
    if window.kind == "bce" and window.config("weight") is not None:  # a weight of each element
        return None
    # A batch whose targets are all ignored has counts and no loss.
    losses, positives, negatives = window.aligned("loss", "live_pos_count", "live_neg_count")
    if not len(losses):
        return None
    pos, neg = positives.values, negatives.values
    of_pos, of_neg = _weights(window.kind, window.config(SETTINGS[window.kind]), pos.shape[1])
    mass_pos, mass_neg = of_pos * pos.sum(axis=0), of_neg * neg.sum(axis=0)
    softmax = window.kind in SOFTMAX
    total = mass_pos.sum() if softmax else mass_pos + mass_neg
    likely = np.clip(mass_pos / np.maximum(total, 1e-12), 1e-7, 1.0 - 1e-7)
    gamma, smoothing = (float(window.config(name) or 0.0) for name in ("gamma", "label_smoothing"))
    likely = (1.0 - smoothing) * likely + smoothing / len(likely)
    elements = of_pos * pos * (1.0 - likely) ** gamma * -np.log(likely)
    if not softmax:
        elements = elements + of_neg * neg * likely**gamma * -np.log1p(-likely)
    constant = elements.sum(axis=1)
    if reduction == "mean":
        rows = pos if softmax else pos + neg
        constant = constant / np.maximum(
            (of_pos * rows if window.kind == "cross_entropy" else rows).sum(axis=1), 1e-12
        )
    result: Floats = np.maximum(constant, constant.mean())
    rare = np.where(pos.sum(axis=0) <= neg.sum(axis=0), pos, neg).sum(axis=1)
    return (losses, result, rare) if result.min() > 0.0 else None


def _weights(kind: str, given: Any, classes: int) -> tuple[Floats, Floats]:
    """What a positive and a negative of each class weigh, [C] each; 1 where nothing (that fits) is set."""
    ones = np.ones(classes)
    weights = numbers_of(given)
    if weights is None or len(weights) not in (1, classes):
        return ones, ones
    return weights * ones, (1.0 - weights) * ones if kind == "sigmoid_focal" else ones
