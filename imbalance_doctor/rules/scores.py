"""What several rules read from the distribution of the scores. Vectorised over classes, safe on nan."""

from __future__ import annotations

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.measures import Floats, mean
from losses.diagnostics import QUANTILE_LEVELS

LEVELS = np.array(QUANTILE_LEVELS)
LEAST, Q05, Q25, MEDIAN, Q75, Q95, Q99, MOST = (
    QUANTILE_LEVELS.index(level) for level in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
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


def distinct_rows(window: Window, kind: str, since: int, records: int) -> Floats:
    """Different rows of a kind ("pos" or "neg") that entered `records` pools from a step on, [C].

    A queue shows the same rows again and again: they are those of one pool, and what was live since.
    """
    live = mean(window.series(f"live_{kind}_count").since(since).values)
    pooled = mean(window.series(f"pool_{kind}_count").since(since).values)
    result: Floats = np.minimum(records * pooled, pooled + live * (window.step - since))
    return result
