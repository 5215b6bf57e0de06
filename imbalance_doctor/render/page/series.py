"""The numbers behind the panels of a page: few enough to open quickly, however long the run.

A line of more records than `points` is cut into that many stretches; each becomes its mean and its range, so
that a spike of one record is still to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.losses import catalogue
from imbalance_doctor.records import Array
from imbalance_doctor.statistics import SCORE_HISTOGRAMS, STATISTICS

#: Places of the quantiles that are drawn, by the end of their key.
QUANTILES = {
    end: catalogue.QUANTILE_LEVELS.index(level) for end, level in (("q5", 0.05), ("q50", 0.5), ("q95", 0.95))
}

#: Histograms that are drawn for a class.
HISTOGRAMS = 6


@dataclass(frozen=True)
class Track:
    """One statistic over time: `steps` is [T], `values` is [T] or [T, C]."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def tracks(records: Iterable[tuple[int, Mapping[str, Array]]]) -> dict[str, Track]:
    """Statistics by name; quantiles become one statistic each, histograms are left out.

    Where the number of classes changed during the run, the newest number counts.
    """
    steps: dict[str, list[int]] = {}
    values: dict[str, list[Array]] = {}
    for step, stats in records:
        for name, value in flat(stats):
            if name in values and values[name][-1].shape != value.shape:
                steps[name], values[name] = [], []
            steps.setdefault(name, []).append(step)
            values.setdefault(name, []).append(value)
    return {
        name: Track(np.asarray(steps[name]), np.stack(values[name]).astype(np.float64)) for name in values
    }


def flat(stats: Mapping[str, Array]) -> Iterable[tuple[str, Array]]:
    """What lines are drawn of, by key: statistics with an axis at the most, and some of the quantiles."""
    for name, value in stats.items():
        if value.ndim < 2:
            yield name, value
        elif name in STATISTICS and STATISTICS[name].axes == ("class", "quantile"):
            for end, place in QUANTILES.items():
                yield f"{name}.{end}", value[:, place]


class Steps:
    """The x values of all lines, each list of them once."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = []
        self._known: dict[tuple[int, ...], int] = {}

    def index(self, steps: Sequence[int]) -> int:
        """The place of a list of steps."""
        key = tuple(int(step) for step in steps)
        if key not in self._known:
            self._known[key] = len(self.lists)
            self.lists.append(list(key))
        return self._known[key]


def lines(track: Track, points: int, steps: Steps) -> list[dict[str, Any] | None]:
    """A line for each column of the track; None for a column without a single number."""
    columns = track.values[:, None] if track.values.ndim == 1 else track.values
    if len(track.steps) <= points:
        x, mean, low, high = track.steps, columns, columns, columns
    else:
        x, mean, low, high = _thinned(track.steps, columns, points)
    everywhere = steps.index(x.tolist())
    found: list[dict[str, Any] | None] = []
    for c in range(columns.shape[1]):
        if not np.isfinite(mean[:, c]).any():
            found.append(None)
            continue
        y, lo, hi = rounded(mean[:, c]), rounded(low[:, c]), rounded(high[:, c])
        if len(set(y)) == 1 and lo == y == hi:
            found.append({"x": steps.index([x[0], x[-1]]), "y": [y[0], y[0]]})
        elif lo == y == hi:
            found.append({"x": everywhere, "y": y})
        else:
            found.append({"x": everywhere, "y": y, "lo": lo, "hi": hi})
    return found


def _thinned(steps: NDArray[np.int64], values: NDArray[np.float64], points: int) -> tuple[NDArray[Any], ...]:
    """Middle step, mean, lowest and highest of each stretch; NaN where a stretch holds no number."""
    starts = np.linspace(0, len(steps), points, endpoint=False).astype(np.int64)
    middles = (starts + np.append(starts[1:], len(steps))) // 2
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite, starts, axis=0, dtype=np.int64)
    with np.errstate(invalid="ignore"):
        mean = np.add.reduceat(np.where(finite, values, 0.0), starts, axis=0) / counts
    empty = counts == 0
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts, axis=0)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts, axis=0)
    return steps[middles], mean, np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def rounded(values: Iterable[float]) -> list[float | int | None]:
    """Numbers in four significant digits, short in JSON; None for what is not finite."""
    return [_short(value) for value in values]


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.4g}")


def histograms(records: Sequence[tuple[int, Mapping[str, Array]]], classes: Sequence[int]) -> list[list[Any]]:
    """For each class, its score histograms at `HISTOGRAMS` moments, evenly spread over the run."""
    pos, neg, edges = SCORE_HISTOGRAMS
    having = [(step, stats) for step, stats in records if all(name in stats for name in SCORE_HISTOGRAMS)]
    result: list[list[Any]] = []
    for c in classes:
        usable = [
            (step, stats[pos][c], stats[neg][c], stats[edges][c])
            for step, stats in having
            if c < len(stats[pos]) and np.isfinite(stats[edges][c]).all()
        ]
        usable = [entry for entry in usable if entry[1].sum() + entry[2].sum() > 0]
        picked = (
            sorted(set(np.linspace(0, len(usable) - 1, HISTOGRAMS).round().astype(int))) if usable else []
        )
        result.append([_histogram(*usable[i]) for i in picked])
    return result


def _histogram(step: int, positives: Array, negatives: Array, edges: Array) -> dict[str, Any]:
    factor = _coarser(float(positives.sum()), len(positives))
    return {
        "step": int(step),
        "pos": rounded(positives.reshape(-1, factor).sum(1)),
        "pos_edges": _edges(edges[::factor]),
        "neg": rounded(negatives),
        "neg_edges": _edges(edges),
    }


def _edges(edges: Array) -> list[float | int | None]:
    """All edges, or the outer two where the bins are equally wide."""
    widths = np.diff(edges)
    return rounded(edges[[0, -1]] if np.allclose(widths, widths.mean(), rtol=1e-3) else edges)


def _coarser(count: float, bins: int) -> int:
    """How many bins to merge: few scores in narrow bins are a row of spikes that dwarf everything else.

    The number of bins follows Rice's rule, 2 n^(1/3), which is meant for samples of unknown shape.
    """
    wanted = max(4.0, 2 * count ** (1 / 3))
    divisors = [factor for factor in (1, 2, 4, 5, 8, 10) if bins % factor == 0]
    return next((factor for factor in reversed(divisors) if bins / factor >= wanted), 1)
