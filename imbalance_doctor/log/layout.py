"""Which arrays fit together in one record, as the catalogue of statistics says.

Asked before they are written and after they were read: the reader takes whatever the writer puts down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from imbalance_doctor.losses import catalogue
from imbalance_doctor.records import Array
from imbalance_doctor.statistics import STATISTICS

Shape: TypeAlias = tuple[int, ...]

#: The axes of each statistic.
AXES: Mapping[str, tuple[str, ...]] = {name: stat.axes for name, stat in STATISTICS.items()}

#: Axes of a metric of an evaluation.
PER_CLASS = ("class",)

#: Statistics that count what lies in each bin.
COUNTS = tuple(name for name, axes in AXES.items() if "bin" in axes)

#: Statistics that go into a line of their own (``"kind": "histogram"``), because they are large and rare.
HISTOGRAM_STATS = tuple(name for name, axes in AXES.items() if {"bin", "edge"} & {*axes})

#: Axes of an array that nobody here knows.
MOST_AXES = 2


@lru_cache(maxsize=256)
def misfits(
    names: tuple[str, ...], shapes: tuple[Shape, ...], axes: tuple[str, ...] | None
) -> dict[str, str]:
    """Arrays that cannot be in a record with those before them, with what was expected of each.

    The arrays of one record have as many classes as each other; its histograms have as many bins as each
    other, and one more edge.

    Args:
        names: What the arrays are called.
        shapes: Their shapes.
        axes: The axes that all of them have; None for those of the catalogue.
    """
    sizes = {"quantile": len(catalogue.QUANTILE_LEVELS)}
    found: dict[str, str] = {}
    for name, shape in zip(names, shapes, strict=True):
        known = AXES.get(name) if axes is None else axes
        if 0 in shape:
            found[name] = "numbers"
        elif known is None:
            if len(shape) > MOST_AXES:
                found[name] = f"numbers along at most {MOST_AXES} axes"
        elif len(known) != len(shape):
            found[name] = _wanted(known, sizes)
        else:
            counted = dict(map(_in_bins, known, shape))
            if all(size == sizes.get(axis, size) for axis, size in counted.items()):
                sizes |= counted
            else:
                found[name] = _wanted(known, sizes)
    return found


def _in_bins(axis: str, size: int) -> tuple[str, int]:
    """An axis and its size; edges are counted as the bins that they enclose."""
    return ("bin", size - 1) if axis == "edge" else (axis, size)


def _wanted(axes: tuple[str, ...], sizes: Mapping[str, int]) -> str:
    """What is expected of an array, in words.

    >>> _wanted(("class", "edge"), {"bin": 40})
    'numbers in an array of class x edge (41)'
    """
    known = {**sizes, **({"edge": sizes["bin"] + 1} if "bin" in sizes else {})}
    words = (f"{axis} ({known[axis]})" if axis in known else axis for axis in axes)
    return f"numbers in an array of {' x '.join(words)}" if axes else "one number"


def are_counts(arrays: Mapping[str, Array]) -> bool:
    """Whether what counts is finite and not negative."""
    counts = (arrays[name] for name in COUNTS if name in arrays)
    return all(float(each.min()) >= 0 and float(each.max()) < math.inf for each in counts)
