"""What several rules measure on the phases of a warmup wrapper and on validation curves."""

from __future__ import annotations

import math

import numpy as np

from imbalance_doctor.history import BLEND_PHASE, WARMUP_PHASE, Series, Window
from imbalance_doctor.rules.measures.pool import Bools, Floats


def class_mean(values: Floats) -> Floats:
    """The mean over classes of what is known, [T, C] to [T]; nan where nothing is."""
    if values.ndim == 1 or values.shape[1] == 1:
        return values.reshape(len(values))
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    result: Floats = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
    return result


def validation(window: Window, metric: str = "average_precision") -> Series:
    """A validation metric over the run, the mean over classes; evaluations that lack it are left out."""
    series = window.eval_series(metric)
    values = class_mean(series.values)
    known = np.isfinite(values)
    return series if not len(series) else Series(series.steps[known], values[known])


def lift(precision: Floats | float, rate: Floats | float) -> Floats:
    """Average precision on a scale where chance is 0 and perfection 1."""
    result: Floats = (np.asarray(precision) - rate) / np.maximum(1.0 - np.asarray(rate), 1e-9)
    return result


def chance(window: Window) -> float:
    """Average precision of random scores on the newest validation data, the mean over classes."""
    rates = validation(window, "positive_rate")
    return float(rates.values[-1]) if len(rates) else 0.0


def standard_error(window: Window, metric: float) -> float:
    """Of a mean average precision or AUROC on the newest validation data.

    That of a share of as many rows as there are positives: both are means over them.
    """
    positives = window.eval_series("positives").values
    if not len(positives):
        return 0.0
    counts = np.maximum(positives[-1].reshape(-1), 1.0)
    spread = max(metric * (1.0 - metric), 0.0)
    return math.sqrt(spread * float((1.0 / counts).sum())) / len(counts)


#: Average precision up to this multiple above the positive rate is chance (at a low rate).
CHANCE_ABOVE = 0.5
#: So is what lies within these standard errors of it,
CHANCE_ERRORS = 3.0
#: as long as AUROC is below this as well: rare classes are ranked well before their precision shows it.
CHANCE_AUROC = 0.6


def at_chance(window: Window, evaluations: int) -> Bools:
    """Classes that each of the newest evaluations ranks as random scores would, [C].

    Needs `average_precision`, `auroc`, `positive_rate` and `positives`; nobody where there are too few.
    """
    found = imprecise(window, evaluations)
    if found.any():
        found &= (window.eval_series("auroc").last(evaluations).values < CHANCE_AUROC).all(axis=0)
    return found


def imprecise(window: Window, evaluations: int, above: float = CHANCE_ABOVE) -> Bools:
    """Classes whose average precision is about that of random scores in each of the newest evaluations, [C].

    `above` is how far, in multiples of the positive rate (at a low rate), it may be above it.
    """
    precision = window.eval_series("average_precision").last(evaluations).values
    rates = window.eval_series("positive_rate").values[-1]
    if len(precision) < evaluations:
        return np.zeros(rates.shape, dtype=np.bool_)
    varies = rates * (1.0 - rates)
    errors = np.sqrt(varies / np.maximum(window.eval_series("positives").values[-1], 1.0))
    bound = rates + np.maximum(above * varies, CHANCE_ERRORS * errors)
    found: Bools = (precision <= bound).all(axis=0)
    return found


def switch_step(window: Window) -> int | None:
    """The first recorded step of the main loss after a warmup; None before it, or without a warmup."""
    phases = window.series("phase")
    if not len(phases) or phases.values[-1] == WARMUP_PHASE:
        return None
    warming = np.flatnonzero(phases.values == WARMUP_PHASE)
    if len(warming):
        return int(phases.steps[warming[-1] + 1])
    planned = window.config("warmup_steps")  # it was longer ago than the window reaches
    return int(planned) if planned else None


def blending(window: Window) -> bool:
    """Whether the weight of the main loss still moves."""
    phases = window.series("phase").values
    return bool(len(phases) and phases[-1] == BLEND_PHASE)
