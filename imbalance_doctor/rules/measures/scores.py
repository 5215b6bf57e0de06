"""What several rules read from the distribution of the scores. Vectorised over classes, safe on nan."""

from __future__ import annotations

import numpy as np

from imbalance_doctor.history import Series, Window
from imbalance_doctor.losses import catalogue
from imbalance_doctor.rules.measures.pool import Floats, held, mean

LEVELS = np.array(catalogue.QUANTILE_LEVELS)
LEAST, Q05, Q25, MEDIAN, Q75, Q95, Q99, MOST = (
    catalogue.QUANTILE_LEVELS.index(level) for level in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
)


def share_below(quantiles: Floats, value: Floats) -> Floats:
    """Share of a distribution that lies below a value, interpolated in its quantiles. [..., Q] to [...]."""
    place = (quantiles < value[..., None]).sum(axis=-1).clip(1, len(LEVELS) - 1)
    low, high = (np.take_along_axis(quantiles, (place + i)[..., None], -1)[..., 0] for i in (-1, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.nan_to_num((value - low) / (high - low)).clip(0.0, 1.0)
    share = LEVELS[place - 1] + part * (LEVELS[place] - LEVELS[place - 1])
    known = np.isfinite(value) & np.isfinite(quantiles).all(axis=-1)
    result: Floats = np.where(known, share, np.nan)
    return result


def fresh_rows(window: Window, kind: str, series: Series) -> Floats:
    """Rows of a kind ("pos" or "neg") that each look at the scores adds to those before it, [T, C].

    A batch's are all new. A queue shows the same rows again and again: what was live since the look before
    is new. Weights by which looks are averaged, and whose sum is the number of different rows.
    """
    pooled = held(window, f"pool_{kind}_count", series.steps)
    live = mean(window.series(f"live_{kind}_count").values)
    since = np.diff(series.steps, prepend=series.steps[:1])
    result: Floats = np.minimum(pooled, live * since[:, None])
    result[:1] = pooled[:1]  # nothing that is averaged comes before the first
    return result


def weighted(values: Floats, rows: Floats) -> Floats:
    """The mean over looks, each with the weight of its rows; nan where there are none. [T, C] to [C]."""
    rows = np.where(np.isfinite(values), rows, 0.0)
    total = rows.sum(axis=0)
    result: Floats = np.where(
        total > 0.0, (np.nan_to_num(values) * rows).sum(axis=0) / total.clip(1e-9), np.nan
    )
    return result


def trend(values: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """What a value gained from the first look to the last, by its regression on their order, [C] each.

    And how many rows, half of them at the first look and half at the last, would tell it as well: of values
    that vary by s from row to row, the gain has a standard error of 2 s / sqrt(rows).
    """
    rows = np.where(np.isfinite(values), rows, 0.0)
    order = np.arange(len(values), dtype=np.float64)[:, None]
    off = order - weighted(np.broadcast_to(order, values.shape), rows)
    spread = (rows * off * off).sum(axis=0)
    span = float(len(values) - 1)
    slope = np.nan_to_num(rows * off * np.nan_to_num(values)).sum(axis=0) / np.maximum(spread, 1e-9)
    return span * slope, np.nan_to_num(4.0 * spread / max(span * span, 1.0))


def auroc_error(positives: Floats, negatives: Floats) -> Floats:
    """The standard error of the AUROC of a random order; one that is not random has no larger one."""
    error: Floats = np.sqrt((1.0 / np.maximum(positives, 0.01) + 1.0 / np.maximum(negatives, 0.01)) / 12.0)
    return error
