"""What users declare of their run and its classes, brought from whatever form it has into one."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from imbalance_doctor.records import RunInfo
from imbalance_doctor.scores.metrics import METRICS, as_numpy

#: Names in order, or by class id; a Series with whole numbers as its index has them by id.
ClassNames: TypeAlias = "Iterable[Any] | Mapping[Any, Any]"

#: One rate, or one for each class: numbers, an array, a tensor, a Series.
Rates: TypeAlias = "float | Iterable[Any]"

#: Ids from here on are taken for a mistake, such as a hash: the largest softmaxes, over the words of many
#: languages, have a few hundred thousand classes.
MOST_CLASSES = 1_000_000


def run_info(
    every: Any, total_steps: Any, rate: Rates | None, names: ClassNames | None, target_metric: str | None
) -> RunInfo:
    """What is declared of a run.

    Args:
        every: As in `Doctor`, and so are the others.
        total_steps: The same.
        rate: Its `population_positive_rate`.
        names: Its `class_names`.
        target_metric: The same.

    Raises:
        ValueError: One of them is out of range.
    """
    if target_metric is not None and target_metric not in METRICS:
        raise ValueError(f"expected target_metric to be one of {', '.join(METRICS)}, got {target_metric!r}")
    return RunInfo(
        every=_steps(every, "every"),
        total_steps=None if total_steps is None else _steps(total_steps, "total_steps"),
        population_positive_rate=None if rate is None else rates(rate, "population_positive_rate"),
        class_names=class_names(names),
        target_metric=target_metric,
    )


def _steps(value: Any, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"expected {name} to be a number of steps, at least 1, got {value!r}")
    return number


def class_names(given: ClassNames | None) -> tuple[str | None, ...] | None:
    """The name of each class, in the order of the ids; None for an id that has none.

    Args:
        given: Names in order, in any form that has one; or by class id, where ids may be text ("0", "1", as
            in a JSON file) and need not be in order or complete.

    Raises:
        ValueError: It is a text or a set, names come where ids should be (`label2id`), or an id is negative
            or comes twice.
    """
    if given is None:
        return None
    if isinstance(given, (str, bytes)):
        raise ValueError(f"expected class_names to be a list of names, got the text {given!r}")
    if isinstance(given, (set, frozenset)):
        raise ValueError(
            "expected class_names to be in the order of the class ids, got a set, which has no order"
        )
    if isinstance(given, Mapping):
        return _by_id(list(given.items()))
    if hasattr(given, "items") and getattr(getattr(given, "index", None), "dtype", None) == "int64":
        return _by_id(list(given.items()))  # a Series, whose default index is the order
    try:
        names = _listed(given)
    except TypeError:
        raise ValueError(f"expected class_names to be a list of names, got {given!r}") from None
    return tuple(None if name is None else str(name) for name in names) or None


def _by_id(items: list[tuple[Any, Any]]) -> tuple[str | None, ...] | None:
    names: dict[int, str | None] = {}
    for key, name in items:
        index = _id(key)
        if index is None:
            example = "" if _id(name) is None else f", such as {{{_id(name)}: {key!r}}}"
            raise ValueError(
                f"expected class_names to be names by class id, as in id2label, got the key {key!r}. "
                f"Give id2label in place of label2id{example}"
            )
        if isinstance(key, str) and _id(name) is not None and not isinstance(name, str):
            raise ValueError(
                f"expected class_names to be names by class id, as in id2label, got {{{key!r}: {name!r}}}, "
                f"which is a label2id. Give id2label, such as {{{_id(name)}: {key!r}}}"
            )
        if not 0 <= index < MOST_CLASSES:
            raise ValueError(
                f"expected class_names to have ids from 0 to {MOST_CLASSES - 1:,}, got {key!r}. "
                "Leave out ids that are not classes, such as an ignored id"
            )
        if index in names:
            raise ValueError(f"expected class_names to have each id once, got {index} twice")
        names[index] = None if name is None else str(name)
    # Of two classes there is one column, so that id 0 alone must not become the name of the other class.
    known = max(2, *(index + 1 for index in names)) if names else 0
    return tuple(names.get(index) for index in range(known)) or None


def _id(key: Any) -> int | None:
    """The class id that a key stands for."""
    try:
        if isinstance(key, str):
            return int(key)
        if isinstance(key, float):
            return int(key) if key.is_integer() else None
        return operator.index(key)
    except (TypeError, ValueError):
        return None


def rates(given: Rates, name: str) -> float | tuple[float, ...]:
    """Shares of positives, each between 0 and 1: one number where one was given, else one for each class.

    Args:
        given: The rates.
        name: What they are called, for the error.

    Raises:
        ValueError: One is no number or not between 0 and 1, or there is none.
    """
    try:
        one = not isinstance(given, (Mapping, str, bytes)) and getattr(given, "ndim", None) == 0
        if one or not isinstance(given, Iterable):
            values: tuple[float, ...] = (float(as_numpy(given)),)
            one = True
        else:
            values = tuple(float(as_numpy(value)) for value in _listed(given))
    except (TypeError, ValueError):
        values = ()
    if not values or not all(0 < value < 1 for value in values):
        raise ValueError(f"expected {name} to be between 0 and 1, got {given}")
    return values[0] if one else values


def _listed(given: Iterable[Any]) -> Sequence[Any]:
    """What has an order, as a list; of an array or a tensor, its one dimension."""
    if isinstance(given, (str, bytes, Mapping, set, frozenset)):
        raise TypeError
    if hasattr(given, "detach") or hasattr(given, "dtype"):
        flat = as_numpy(given)
        if flat.ndim != 1:
            raise TypeError
        return list(flat)
    return list(given)
