"""The remedy as data: a setting to change on the running loss, or something to do to it once.

A prescription reads as its JSON does: ``prescription["to"]`` is the value that it asks for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

from imbalance_doctor import plain


class _Readable(Mapping[str, Any]):
    """Answers by the keys of its JSON, in their order; equal to what has the same keys and values."""

    #: The attribute behind each key.
    _keys: ClassVar[Mapping[str, str]]

    def __getitem__(self, key: str) -> Any:
        return getattr(self, self._keys[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def to_dict(self) -> dict[str, Any]:
        """The prescription as plain data, ready for JSON."""
        return copy.deepcopy(dict(self))


@dataclass(frozen=True, eq=False)
class Change(_Readable):
    """Give a setting another value: ``{"parameter": "queue_size", "from": 1024, "to": 4000}``."""

    _keys = MappingProxyType({"parameter": "parameter", "from": "before", "to": "after"})

    parameter: str
    before: Any
    after: Any


@dataclass(frozen=True, eq=False)
class ResetQueue(_Readable):
    """Have the queue forget its rows, once: ``{"parameter": "queue", "action": "reset"}``."""

    _keys = MappingProxyType({"parameter": "parameter", "action": "action"})

    parameter: ClassVar[str] = "queue"
    action: ClassVar[str] = "reset"


Prescription: TypeAlias = Change | ResetQueue


def prescription_of(value: Mapping[str, Any], name: str = "prescription") -> Prescription:
    """The prescription that reads as these keys and values.

    Raises:
        ValueError: None does.
    """
    if isinstance(value, (Change, ResetQueue)):
        return value
    if value.keys() == Change._keys.keys():
        return Change(value["parameter"], value["from"], value["to"])
    if value == ResetQueue():
        return ResetQueue()
    raise ValueError(
        f"expected {name} to have the keys parameter, from and to, or to be {dict(ResetQueue())}, "
        f"got {str(dict(value))[:200]}"
    )


def plain_prescription(value: object, name: str) -> Prescription | None:
    """A prescription from anybody, with a copy of its values; None for None.

    Raises:
        ValueError: It is none, or holds what is no plain data.
    """
    if value is None:
        return None
    copied = plain.setting(value, name)
    if not isinstance(copied, dict):
        raise ValueError(f"expected {name} to be a mapping, got {plain.shown(value)}")
    found = prescription_of(copied, name)
    plain.word(found.parameter, f"the parameter of {name}")
    return found
