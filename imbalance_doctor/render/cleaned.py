"""What people may see: every renderer for people and every sink begins here, so that none forgets a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from operator import is_
from typing import Any, TypeVar

from imbalance_doctor.findings import Diagnosis, Examined, Expected, Finding, Unjudged
from imbalance_doctor.records import EvalRecord, Record, RunInfo, StepRecord, TreatmentRecord, WatchRecord
from imbalance_doctor.texts import NAME, PARAGRAPH, Names, clean

T = TypeVar("T")

#: Fields that hold a name; the others hold sentences.
_NAMES = frozenset({"code", "name", "class_name", "class_names"})


def cleaned(diagnosis: Diagnosis, losses: Iterable[str] = ()) -> Diagnosis:
    """The diagnosis with every text clean, and losses still told apart whose names look the same.

    Args:
        diagnosis: What to show.
        losses: Names of losses in the order in which they are numbered; others follow.
    """
    items: list[Finding | Examined | Unjudged | Expected] = [*diagnosis.findings, *diagnosis.healthy]
    items += [*diagnosis.skipped, *diagnosis.unjudged, *diagnosis.expected]
    return _cleaned(diagnosis, Names((*losses, *(item.loss for item in items))))


class Cleaned:
    """What happens in a run, one after the other, with every text clean.

    Losses, statistics and metrics are still told apart whose names look the same, as long as it lasts.
    """

    def __init__(self) -> None:
        self._losses, self._series = Names(), Names()

    def info(self, info: RunInfo) -> RunInfo:
        """What is known of the run before its first step."""
        return _cleaned(info, self._losses)

    def record(self, record: Record) -> Record:
        """One record."""
        if isinstance(record, StepRecord):
            loss, stats = self._losses[record.loss], self._named(record.stats)
            return replace(record, loss=loss, stats=stats, metrics=self._named(record.metrics))
        if isinstance(record, EvalRecord):
            return replace(record, metrics=self._named(record.metrics))
        if isinstance(record, (WatchRecord, TreatmentRecord)):
            named = replace(record.loss, name=self._losses[record.loss.name])
            return _cleaned(replace(record, loss=named), self._losses)
        return record

    def finding(self, finding: Finding) -> Finding:
        """One finding."""
        return _cleaned(finding, self._losses)

    def _named(self, values: Mapping[str, T]) -> dict[str, T]:
        return {self._series[name]: value for name, value in values.items()}


def _cleaned(value: T, losses: Mapping[str, str]) -> T:
    """The dataclass with clean fields; itself where nothing changes, as most of many thousand are."""
    changed = {}
    for field in fields(value):  # type: ignore[arg-type]
        old = getattr(value, field.name)
        if field.name == "loss" and isinstance(old, str):
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
