"""What others hand in, taken over as plain data: each value is what is expected, or refused in one sentence.

Nothing of theirs is kept: a text of a type of their own may answer otherwise the next time.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

C = TypeVar("C", bound=str)

#: Whole numbers that arrays hold, and that every reader of JSON does not choke on.
WHOLE = range(-(2**63), 2**63)

#: How deep and how large a setting may be: a number for each of a thousand classes, and no matrix of weights.
DEEPEST = 8
MOST_ITEMS = 1_000
#: Characters of a text that becomes a line of the log: ten pages, where ours have three lines.
LONGEST = 20_000

#: Characters of a refused value that are shown.
_SHOWN = 60


def text(value: object, name: str) -> str:
    """A text as it is.

    Raises:
        ValueError: It is none, or longer than a text for people is.
    """
    if not isinstance(value, str):
        raise _refused(name, "a text", value)
    plain = str.__str__(value)
    if len(plain) > LONGEST:
        raise ValueError(f"expected {name} to be at most {LONGEST:,} characters, got {len(plain):,}")
    return plain


def word(value: object, name: str) -> str:
    """A short name in one line, such as a code.

    Raises:
        ValueError: It is none.
    """
    if not is_word(value):
        raise _refused(name, "a short text in one line", value)
    return str.__str__(value)


def is_word(value: object) -> bool:
    """Whether something is a short name in one line."""
    return isinstance(value, str) and _in_one_line(str.__str__(value))


@lru_cache(maxsize=1_000)  # rules name their evidence alike each time
def _in_one_line(plain: str) -> bool:
    return 0 < len(plain) <= 100 and plain.isprintable()


def choice(value: object, name: str, choices: Sequence[C]) -> C:
    """One of a few texts.

    Raises:
        ValueError: It is another one, or none.
    """
    if isinstance(value, str):
        for each in choices:
            if str.__eq__(value, each):
                return each
    raise _refused(name, f"one of {', '.join(map(repr, choices))}", value)


def truth(value: object, name: str) -> bool:
    """True or false.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise _refused(name, "true or false", value)
    return bool(value)


def words(value: object, name: str) -> tuple[str, ...]:
    """Several short names, in any collection but one text.

    Raises:
        ValueError: They are not.
    """
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        raise _refused(name, "a tuple of texts", value)
    return tuple(word(each, f"each of {name}") for each in value)


def number(value: object, name: str) -> float:
    """A real number, of Python or one that NumPy or torch hold; it may be nan or infinite.

    Raises:
        ValueError: It is none, or larger than a float. What holds several numbers raises what it does.
    """
    if type(value) is float:
        return value
    exact = value if isinstance(value, numbers.Real) else getattr(value, "item", lambda: None)()
    if not isinstance(exact, numbers.Real):
        raise _refused(name, "a number", value)
    try:
        return float(exact)
    except OverflowError:
        raise _refused(name, "a number that a float can hold", value) from None


def finite(value: object, name: str) -> float:
    """A real number that is neither nan nor infinite.

    Raises:
        ValueError: It is none.
    """
    plain = number(value, name)
    if not math.isfinite(plain):
        raise _refused(name, "a finite number", value)
    return plain


def whole(value: object, name: str, within: range = WHOLE) -> int:
    """A whole number, of Python or of NumPy; True is none.

    Raises:
        ValueError: It is none, or out of range.
    """
    expected = "a whole number of 64 bits" if within is WHOLE else f"a whole number below {within.stop:,}"
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise _refused(name, expected, value)
    try:
        plain = operator.index(value)
    except TypeError:  # a tensor of two
        raise _refused(name, expected, value) from None
    if plain not in within:
        raise _refused(name, expected, plain)
    return plain


def setting(value: object, name: str) -> Any:
    """A small value that JSON can hold, copied: numbers, texts, None, and lists and mappings of them.

    Raises:
        ValueError: It is something else, or large, or goes in a circle.
    """
    return _copied(value, name, DEEPEST, [MOST_ITEMS])


def _copied(value: object, name: str, depth: int, room: list[int]) -> Any:
    room[0] -= 1
    if not depth or room[0] < 0:
        raise ValueError(f"expected {name} to be small, got a value that is deep, large, or contains itself")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, str):
        return text(value, name)
    if isinstance(value, (int, np.integer)):
        return whole(value, name)
    if isinstance(value, (float, np.floating)):
        return number(value, name)
    if isinstance(value, (dict, Mapping)):  # the common one first: to ask for any costs ten times as much
        return {
            word(key, f"each key of {name}"): _copied(each, name, depth - 1, room)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_copied(each, name, depth - 1, room) for each in value]
    raise _refused(name, "numbers, texts, None, or lists of them", value)


def shown(value: object) -> str:
    """A value in a message: as it is written where it is plain, otherwise its type alone."""
    if isinstance(value, str):
        plain = str.__str__(value)
        return repr(plain) if len(plain) <= _SHOWN else f"{plain[:_SHOWN]!r} and more"
    if type(value) is int and value.bit_length() > 3 * _SHOWN:  # too long to be read, or even to be written
        return f"one of {value.bit_length():,} bits"
    if value is None or type(value) in (bool, int, float):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"an object of type {type(value).__name__}"


def _refused(name: str, expected: str, value: object) -> ValueError:
    return ValueError(f"expected {name} to be {expected}, got {shown(value)}")


def value_of(text: str) -> Any:
    """A setting from its text, as a command line has it.

    >>> [value_of(text) for text in ("4_000", "0.05", "none", "true", "iqr", "1,2.5")]
    [4000, 0.05, None, True, 'iqr', [1.0, 2.5]]
    """
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return [float(part) for part in text.split(",")] if "," in text else text
