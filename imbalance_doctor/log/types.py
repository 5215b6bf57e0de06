"""Types of values in a run log: what each takes, how that is called, and what a value is read as."""

from __future__ import annotations

import math
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np

from imbalance_doctor.log.format import MOST_LEVELS, MOST_TEXT
from imbalance_doctor.log.layout import COUNTS, Shape, are_counts, misfits
from imbalance_doctor.records import Array

#: Numbers that JSON has no word for, as they stand in a log; null is nan.
ENDLESS = {"inf": math.inf, "-inf": -math.inf}

_NUMBERS = frozenset({int, float, type(None)})

#: Shows what came in a few words, however large it is.
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60


class MismatchError(Exception):
    """A value is not what its place in a line takes.

    Args:
        expected: What it takes; without `got`, a sentence that says both.
        got: What came, in words.
    """

    def __init__(self, expected: str, got: str = "") -> None:
        super().__init__(expected, got)
        self.expected, self.got = expected, got
        #: The names that lead to the value, the innermost first.
        self.path: list[str] = []

    def inside(self, name: str) -> MismatchError:
        """The same, seen from what holds the value by this name."""
        self.path.append(name if len(name) <= _brief.maxstring else _brief.repr(name))
        return self

    def of(self, line: str) -> str:
        """What is wrong, in words, of a kind of line."""
        what = ".".join(reversed(self.path))
        if not self.got:
            return f"in {what} of a {_brief.repr(line)} line, {self.expected}"
        return f"expected {what} of a {_brief.repr(line)} line to be {self.expected}, got {self.got}"


class Type(ABC):
    """A type of values."""

    #: What it takes, in words.
    expected: str

    @abstractmethod
    def read(self, value: Any) -> Any:
        """What a value stands for.

        Raises:
            MismatchError: It is of another type.
        """

    def refuse(self, value: Any) -> MismatchError:
        """What to raise for a value that is not taken."""
        return MismatchError(self.expected, _brief.repr(value))


@dataclass(frozen=True)
class Whole(Type):
    """A whole number within bounds."""

    least: int
    most: int

    @property
    def expected(self) -> str:  # type: ignore[override]
        """What it takes, in words."""
        return f"a whole number from {self.least:,} to {self.most:,}"

    def read(self, value: Any) -> int:
        """The number."""
        if type(value) is not int or not self.least <= value <= self.most:
            raise self.refuse(value)
        return value


@dataclass(frozen=True)
class Real(Type):
    """A number; null where it is not known."""

    expected: str = "a number"

    def read(self, value: Any) -> float:
        """The number."""
        if value is None:
            return math.nan
        if type(value) is str and value in ENDLESS:
            return ENDLESS[value]
        if type(value) is float or (type(value) is int and is_countable(value)):
            return float(value)
        raise self.refuse(value)


@dataclass(frozen=True)
class Share(Type):
    """A number from 0 to 1."""

    expected: str = "a number from 0 to 1"

    def read(self, value: Any) -> float:
        """The number."""
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise self.refuse(value)
        return float(value)


@dataclass(frozen=True)
class Text(Type):
    """A text; halves of characters are replaced."""

    expected: str = f"a text of at most {MOST_TEXT:,} characters"

    def read(self, value: Any) -> str:
        """The text."""
        if type(value) is not str or len(value) > MOST_TEXT:
            raise self.refuse(value)
        return without_halves(value)


@dataclass(frozen=True)
class OneOf(Type):
    """One of a few texts."""

    texts: tuple[str, ...]

    @property
    def expected(self) -> str:  # type: ignore[override]
        """What it takes, in words."""
        return "one of " + ", ".join(map(repr, self.texts))

    def read(self, value: Any) -> str:
        """The text."""
        if type(value) is not str or value not in self.texts:
            raise self.refuse(value)
        return value


@dataclass(frozen=True)
class SettingType(Type):
    """A setting of a loss: true or false, null, a number, a text, or lists and objects of those."""

    expected: str = f"settings: numbers, texts, true, false or null, in at most {MOST_LEVELS} levels"

    def read(self, value: Any) -> Any:
        """The setting."""
        return self._read(value, 0)

    def _read(self, value: Any, level: int) -> Any:
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int:
            if not is_countable(value):
                raise MismatchError("a number that fits into a float", _brief.repr(value))
            return value
        if type(value) is str:
            return ENDLESS[value] if value in ENDLESS else _TEXT.read(value)
        if level == MOST_LEVELS:
            raise self.refuse(value)
        if type(value) is list:
            return [self._read(item, level + 1) for item in value]
        return {_TEXT.read(key): self._read(item, level + 1) for key, item in value.items()}


@dataclass(frozen=True)
class Nullable(Type):
    """A value of a type, or null."""

    of: Type

    @property
    def expected(self) -> str:  # type: ignore[override]
        """What it takes, in words."""
        return f"{self.of.expected}, or null"

    def read(self, value: Any) -> Any:
        """The value, or None."""
        if value is None:
            return None
        try:
            return self.of.read(value)
        except MismatchError as error:
            raise error if error.path else self.refuse(value) from None


@dataclass(frozen=True)
class ListOf(Type):
    """A list of values of a type."""

    of: Type
    least: int = 0

    @property
    def expected(self) -> str:  # type: ignore[override]
        """What it takes, in words."""
        return f"a list of at least {self.least}" if self.least else "a list"

    def read(self, value: Any) -> tuple[Any, ...]:
        """The values."""
        if type(value) is not list or len(value) < self.least:
            raise self.refuse(value)
        found = []
        try:
            for item in value:
                found.append(self.of.read(item))
        except MismatchError as error:
            raise error.inside(str(len(found))) from None
        return tuple(found)


@dataclass(frozen=True)
class Either(Type):
    """A value of one type, or a list of them."""

    one: Type
    many: ListOf

    @property
    def expected(self) -> str:  # type: ignore[override]
        """What it takes, in words."""
        return f"{self.one.expected}, or {self.many.expected}"

    def read(self, value: Any) -> Any:
        """The value or values."""
        return (self.many if type(value) is list else self.one).read(value)


@dataclass(frozen=True)
class MapOf(Type):
    """An object with names of any kind and values of one type."""

    of: Type
    expected: str = "an object"

    def read(self, value: Any) -> dict[str, Any]:
        """The values by name."""
        if type(value) is not dict:
            raise self.refuse(value)
        found = {}
        name = ""
        try:
            for name, item in value.items():
                found[_TEXT.read(name)] = self.of.read(item)
        except MismatchError as error:
            raise error.inside(name) from None
        return found


@dataclass(frozen=True)
class Fields(Type):
    """An object with named values; further ones, which a later version may write, are passed over."""

    required: Mapping[str, Type] = field(default_factory=dict)
    optional: Mapping[str, Type] = field(default_factory=dict)
    expected: str = "an object"

    def read(self, value: Any) -> dict[str, Any]:
        """The values by name; optional ones that are not there are left out."""
        if type(value) is not dict:
            raise self.refuse(value)
        found = {}
        name = ""
        try:
            for name, kind in self.required.items():
                if name not in value:
                    raise MismatchError(kind.expected, "nothing")
                found[name] = kind.read(value[name])
            for name, kind in self.optional.items():
                if name in value:
                    found[name] = kind.read(value[name])
        except MismatchError as error:
            raise error.inside(name) from None
        return found


@dataclass(frozen=True)
class Made(Type):
    """What a class makes of plain data, with checks of its own."""

    make: Callable[[object], Any]
    expected: str

    def read(self, value: Any) -> Any:
        """What was made."""
        try:
            return self.make(value)
        except ValueError as error:
            raise MismatchError(str(error)) from None


@dataclass(frozen=True)
class ByName(Type):
    """An object whose further fields depend on the text in one of them."""

    fields: Fields
    name: str
    more: Mapping[str, Fields]
    expected: str = "an object"

    def read(self, value: Any) -> dict[str, Any]:
        """The values by name."""
        found = self.fields.read(value)
        more = self.more.get(found[self.name])
        if more is not None:
            more.read(value)
        return found


@dataclass(frozen=True)
class Arrays(Type):
    """Arrays that belong to one record, and all have these axes, or those of the catalogue."""

    axes: tuple[str, ...] | None = None
    expected: str = "an object of numbers"

    def read(self, value: Any) -> dict[str, Array]:
        """The arrays by name."""
        if type(value) is not dict:
            raise self.refuse(value)
        with np.errstate(over="ignore"):  # beyond float32 is infinite
            found = self._at_once(value)
            if found is None:
                found = self._one_by_one(value)
                self.check(found)
        if not are_counts(found):
            raise MismatchError("counts: finite numbers from 0 on", "others").inside(" or ".join(COUNTS))
        return found

    def _at_once(self, value: dict[str, Any]) -> dict[str, Array] | None:
        """Arrays of plain numbers that fit into a record, which nearly all are; None for others.

        Most of the time that a log takes is spent here: making an array for each statistic takes half as long
        again as making one of which they are parts.
        """
        numbers: list[Any] = []
        shapes: list[Shape] = []
        for item in value.values():
            if type(item) is not list:
                numbers.append(item)
                shapes.append(())
            elif not item or type(item[0]) is not list:
                numbers += item
                shapes.append((len(item),))
            elif {*map(type, item)} == {list} and len({*map(len, item)}) == 1:
                for row in item:
                    numbers += row
                shapes.append((len(item), len(item[0])))
            else:
                return None
        parts = _parts(tuple(value), tuple(shapes), self.axes)
        if parts is None or not _NUMBERS.issuperset(map(type, numbers)):
            return None
        try:
            whole = np.array(numbers, np.float32)
        except OverflowError:
            return None
        return {
            name: whole[place] if len(shape) < 2 else whole[place].reshape(shape)
            for name, place, shape in parts
        }

    def _one_by_one(self, value: dict[str, Any]) -> dict[str, Array]:
        found = {}
        name = ""
        try:
            for name, item in value.items():
                found[without_halves(name)] = _array(item)
        except MismatchError as error:
            raise error.inside(name) from None
        return found

    def check(self, arrays: Mapping[str, Array]) -> None:
        """Whether the arrays can be in one record.

        Raises:
            MismatchError: They cannot.
        """
        wrong = misfits(tuple(arrays), tuple([array.shape for array in arrays.values()]), self.axes)
        for name, expected in wrong.items():
            shape = " x ".join(map(str, arrays[name].shape)) or "one"
            raise MismatchError(expected, f"{shape} number{'s' * (shape != 'one')}").inside(name)


_Place: TypeAlias = "slice | tuple[Any, ...]"

_TEXT, _NUMBER = Text(), Real()


@lru_cache(maxsize=64)
def _parts(
    names: tuple[str, ...], shapes: tuple[Shape, ...], axes: tuple[str, ...] | None
) -> list[tuple[str, _Place, Shape]] | None:
    """Where each array of a record is among all of its numbers; None where they do not fit together."""
    if misfits(names, shapes, axes) or not all(map(str.isascii, names)):
        return None
    ends = list(accumulate(map(math.prod, shapes)))
    return [
        (name, slice(end - math.prod(shape), end) if shape else (end - 1, ...), shape)
        for name, shape, end in zip(names, shapes, ends, strict=True)
    ]


def without_halves(text: str) -> str:
    """The text without halves of characters (lone surrogates), which no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def is_countable(number: int) -> bool:
    """Whether a whole number is one that a float can hold, so that it can be reckoned with."""
    return number.bit_length() < 1024


def _array(value: Any) -> Array:
    """Numbers in lists as an array.

    Raises:
        MismatchError: They are no numbers, or the lists are not equally long.
    """
    try:
        return np.array(_numbers(value), np.float32)
    except (OverflowError, ValueError):
        raise MismatchError("numbers in lists that are equally long", _brief.repr(value)) from None


def _numbers(value: Any) -> Any:
    """The same in numbers that an array takes."""
    return [_numbers(item) for item in value] if type(value) is list else _NUMBER.read(value)
