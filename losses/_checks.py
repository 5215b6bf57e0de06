"""Checks of settings and inputs, and warnings that point at the caller.

Every error says what came, what was expected and what to do about it.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

_OWN_FRAMES = (str(Path(__file__).parent), str(Path(torch.__file__).parent))


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_integer(name: str, value: object, *, least: int) -> None:
    """Raise `ValueError` unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise `ValueError` unless `value` is a finite number inside the given bounds."""
    bounds = [
        f"{sign} {bound}"
        for sign, bound in ((">", above), (">=", least), ("<=", most), ("<", below))
        if bound is not None
    ]
    expected = " and ".join(["a finite number", *bounds])
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if good:
        assert isinstance(value, int | float)
        good = (
            (above is None or value > above)
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (below is None or value < below)
        )
    if not good:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def require(condition: Tensor, message: Callable[[], str]) -> None:
    """Raise `ValueError` where a 0-dim bool tensor is false.

    On the CPU the look is free. A device is not waited for: there, and inside a compiled graph, the check
    runs on the device as an assertion, as torch's own indexing checks do.
    """
    if torch.compiler.is_compiling() or condition.device.type != "cpu":
        torch._assert_async(condition, "invalid input to a loss: run this batch on the CPU for the details")
    elif not bool(condition):
        raise ValueError(message())


def warn(message: str) -> None:
    """Issue a `UserWarning` that points at the first caller outside this package and torch."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_OWN_FRAMES):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
