"""A diagnosis as people may see it: every renderer for people begins here, so that none can forget a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from operator import is_
from typing import Any, TypeVar

from imbalance_doctor.findings import Diagnosis, Examined, Expected, Finding, Unjudged
from imbalance_doctor.texts import NAME, PARAGRAPH, Names, clean

T = TypeVar("T")

#: Fields that hold a name; the others hold sentences.
_NAMES = frozenset({"code", "name", "class_name"})


def cleaned(diagnosis: Diagnosis, losses: Iterable[str] = ()) -> Diagnosis:
    """The diagnosis with every text clean, and losses still told apart whose names look the same.

    Args:
        diagnosis: What to show.
        losses: Names of losses in the order in which they are numbered; others follow.
    """
    items: list[Finding | Examined | Unjudged | Expected] = [*diagnosis.findings, *diagnosis.healthy]
    items += [*diagnosis.skipped, *diagnosis.unjudged, *diagnosis.expected]
    return _cleaned(diagnosis, Names((*losses, *(item.loss for item in items))))


def _cleaned(value: T, losses: Mapping[str, str]) -> T:
    """The dataclass with clean fields; itself where nothing changes, as most of many thousand are."""
    changed = {}
    for field in fields(value):  # type: ignore[arg-type]
        old = getattr(value, field.name)
        if field.name == "loss":
            new = losses[old]
        else:
            new = _clean(old, NAME if field.name in _NAMES else PARAGRAPH, losses)
        if new is not old:
            changed[field.name] = new
    return replace(value, **changed) if changed else value  # type: ignore[type-var]


def _clean(value: Any, most: int, losses: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return clean(value, most)
    if is_dataclass(value) and not isinstance(value, type):
        return _cleaned(value, losses)
    if isinstance(value, Mapping):
        new = {clean(str(key), NAME): _clean(item, most, losses) for key, item in value.items()}
        same = all(map(is_, new, value)) and all(map(is_, new.values(), value.values()))
        return value if same else new
    if isinstance(value, (tuple, list)):
        items = tuple(_clean(item, most, losses) for item in value)
        return value if all(map(is_, items, value)) else items
    return value
