"""How numbers are written for people, the same in every medium."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from imbalance_doctor.prescriptions import Change, Prescription, ResetQueue


def number(value: Any) -> str:
    """A number in three significant digits, whole ones in full, with thousands separators.

    Anything that is not a number is written as it is.

    >>> number(0.0123456), number(4096), number(1234.56), number(3.2e-9), number(float("nan"))
    ('0.0123', '4,096', '1,235', '3.2e-9', 'n/a')
    """
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(number(item) for item in value) + "]"
    try:
        x = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isnan(x):
        return "n/a"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    size = abs(x)
    if x.is_integer() and size < 1e9:
        text = f"{int(x):,}"
    elif size >= 1e9 or size < 1e-4:
        mantissa, exponent = f"{x:.2e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"{mantissa}e{int(exponent)}"
    elif size >= 1000:
        text = f"{x:,.0f}"
    else:
        text = f"{x:.3g}"
    return text.replace("-", "−") if text.startswith("-") and "e" not in text else text


def step(value: int) -> str:
    """A step number in full.

    >>> step(12345)
    '12,345'
    """
    return f"{value:,}"


def count(items: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> count(1, "class", "classes"), count(1200, "rule")
    ('1 class', '1,200 rules')
    """
    return f"{items:,} {noun if items == 1 else plural or noun + 's'}"


def ranges(indices: Iterable[int], most: int = 12) -> str:
    """Whole numbers as ranges; after `most` of them the rest is counted.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    >>> ranges([0, 2, 4, 6, 8], most=3)
    '0, 2, 4 and 2 more'
    """
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:most]]
    left = sum(b - a + 1 for a, b in runs[most:])
    return ", ".join(shown) + (f" and {left:,} more" if left else "")


def prescription(what: Prescription) -> str:
    """A prescription in words.

    >>> prescription(Change("queue_size", 1024, 4000))
    'queue_size: 1,024 → 4,000'
    >>> prescription(ResetQueue())
    'queue: reset'
    """
    match what:
        case ResetQueue():
            return f"{what.parameter}: {what.action}"
        case Change():
            return f"{what.parameter}: {number(what.before)} → {number(what.after)}"
