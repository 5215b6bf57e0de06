"""Values of any kind as small plain ones, that a log can hold.

A setting of a loss may be anything: a matrix of 10,000 × 10,000, a parameter that has no shape yet, a mapping
that holds itself. What is small and plain is kept; of anything else, it is said what it is.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..interrupts import attempt

Plain: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"

#: Numbers that a setting may hold: a weight for each of the 21,841 classes of ImageNet, and some more.
MOST_NUMBERS = 1 << 15

#: Letters of a text: more than any name of a setting's choice has.
MOST_LETTERS = 200

#: Mappings inside each other: a wrapper holds the settings of its losses, which may hold one more.
MOST_LEVELS = 3

#: Bits of the integers that other readers of JSON take.
_INTEGER_BITS = 63

#: Kinds of NumPy's types that are numbers: bool, signed, unsigned, float.
_NUMBERS = "biuf"


def plain(value: object) -> Plain:
    """A value as it is if it is small and plain; otherwise a text that says its type and shape.

    Plain are numbers, those of NumPy and torch too, text, None, lists of them, and mappings of names to them.
    A tensor or an array of which at most one axis is longer than 1 is a list. Infinities and nan are text,
    as in the log. Nothing here raises, waits for other ranks, or copies what is large.
    """
    return _Reader().read(value, MOST_LEVELS)


def described(value: object) -> str:
    """The type of a value, and its shape if it has one."""
    kind = str(attempt(lambda: type(value).__name__) or "object")[:MOST_LETTERS]
    shape = attempt(_shape, value)
    return kind if shape is None else f"{kind} of shape {shape}"


def _shape(value: Any) -> list[int]:
    return [int(size) for size in tuple(value.shape)[:8]]  # more axes than any weight has


class _Reader:
    """Reads one value with all that it holds, up to a number of parts."""

    def __init__(self) -> None:
        self._left = MOST_NUMBERS

    def read(self, value: object, levels: int) -> Plain:
        found = attempt(self._read, value, levels)
        return described(value) if found is None and value is not None else found

    def _read(self, value: object, levels: int) -> Plain:
        """None where it is not small and plain."""
        if isinstance(value, Tensor):
            return self._list(_numbers_of(value, self._left))
        if isinstance(value, np.ndarray | np.generic):
            return self._list(_entries_of(value, self._left))
        if isinstance(value, Mapping):
            return self._mapping(value, levels) if levels and self._take(len(value)) else None
        if isinstance(value, list | tuple):
            return self._list(list(value)) if len(value) <= self._left else None
        return _scalar(value)

    def _list(self, values: Any) -> Plain:
        if not isinstance(values, list):
            return _scalar(values)
        if not self._take(len(values)):
            return None
        found = [_scalar(value) for value in values]
        # With anything else among them than numbers and text it is no setting.
        foreign = any(one is None and each is not None for one, each in zip(found, values, strict=True))
        return None if foreign else found

    def _mapping(self, values: Mapping[Any, Any], levels: int) -> Plain:
        return {
            str.__str__(name)[:MOST_LETTERS]: self.read(value, levels - 1)
            for name, value in islice(values.items(), len(values))
            if isinstance(name, str)
        }

    def _take(self, parts: int) -> bool:
        """Whether so many parts more may be held."""
        if parts > self._left:
            return False
        self._left -= parts
        return True


def _scalar(value: Any) -> bool | int | float | str | None:
    """A single value as a plain one; None where it is none."""
    if type(value) is float:  # first, because there may be thousands
        return value if math.isfinite(value) else str(value)
    if value is None or type(value) is bool:
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)[:MOST_LETTERS]
    if isinstance(value, int):
        whole = int.__int__(value)
        return whole if whole.bit_length() <= _INTEGER_BITS else None
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return None


def _numbers_of(tensor: Tensor, most: int) -> Any:
    """The numbers of a tensor in memory, if they are few and in one axis.

    One of a class of its own may do anything when it is read: wait for the other ranks, where it is spread
    over them.
    """
    if (
        type(tensor) not in (Tensor, nn.Parameter)
        or tensor.layout is not torch.strided
        or tensor.is_quantized
    ):
        return None
    if tensor.is_meta or tensor.is_complex() or not _is_short(tuple(tensor.shape), most):
        return None
    return _flat(tensor.detach().tolist())


def _entries_of(array: np.ndarray[Any, Any] | np.generic, most: int) -> Any:
    if array.dtype.kind not in _NUMBERS or not _is_short(array.shape, most):
        return None
    return _flat(array.tolist())


def _is_short(shape: tuple[int, ...], most: int) -> bool:
    return sum(size != 1 for size in shape) <= 1 and math.prod(shape) <= most


def _flat(values: Any) -> Any:
    """Nested lists of which at most one is longer than 1, as one list; a single number as it is."""
    while isinstance(values, list) and values and isinstance(values[0], list):
        values = [each[0] for each in values] if len(values) > 1 else values[0]
    return values
