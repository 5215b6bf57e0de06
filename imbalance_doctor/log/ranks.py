"""What the logs of several ranks say together: where ranks that should agree do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from imbalance_doctor.records import (
    LossInfo,
    Record,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
    as_array,
    goes_on,
)

#: Relative difference of losses that are the same sum on every rank. Ranks on unlike devices may add float32
#: numbers in another order, which shows in the sixth digit.
ROUNDING = 1e-3


_Key: TypeAlias = tuple[int, str]  # step, loss


class Comparison:
    """Compares what ranks have recorded while their logs grow: each record once.

    A rank is apart at a step where its loss or the size of its pool is another one. Where a rank has no
    record of a step nothing is said of it.

    Args:
        losses: The losses that were watched before the first record, by name.
    """

    def __init__(self, losses: Mapping[str, LossInfo] | None = None) -> None:
        self._given = dict(losses or {})
        self._begin(0)

    def _begin(self, others: int) -> None:
        self._losses = dict(self._given)
        self._records: list[Record] = []
        self._told: list[Record] = []
        #: Where rank 0's records of gathering losses stand in those two.
        self._places: dict[_Key, int] = {}
        self._others: list[Sequence[Record]] = [()] * others
        self._elsewhere: list[dict[_Key, StepRecord]] = [{} for _ in range(others)]

    def read_on(self, records: Sequence[Record], others: Sequence[Sequence[Record]]) -> list[Record]:
        """Rank 0's records, `ranks_apart` of gathering losses brought up to what the other logs show.

        Args:
            records: Those of rank 0; those that were given before are the first of them.
            others: Those of each other rank.
        """
        if len(others) != len(self._others) or not all(
            map(goes_on, (records, *others), (self._records, *self._others))
        ):
            self._begin(len(others))
        late = set()  # rank 0 had its record before
        for now, earlier, there in zip(others, self._others, self._elsewhere, strict=True):
            for record in now[len(earlier) :]:
                if isinstance(record, StepRecord):
                    there[record.step, record.loss] = record
                    late.add((record.step, record.loss))
        self._others = [list(now) for now in others]
        for key in late & self._places.keys():
            place = self._places[key]
            told = self._compare(self._records[place])
            if _ranks_apart(told) != _ranks_apart(self._told[place]):
                self._told[place] = told
        for record in records[len(self._records) :]:
            self._add(record)
        return list(self._told)

    def _add(self, record: Record) -> None:
        told = record
        if isinstance(record, (WatchRecord, TreatmentRecord)):
            self._losses[record.loss.name] = record.loss
        elif isinstance(record, StepRecord) and self._gathers(record.loss):
            self._places[record.step, record.loss] = len(self._records)
            told = self._compare(record)
        self._records.append(record)
        self._told.append(told)

    def _gathers(self, name: str) -> bool:
        return name in self._losses and self._losses[name].gathers

    def _compare(self, record: Record) -> Record:
        assert isinstance(record, StepRecord)
        there = [rank.get((record.step, record.loss)) for rank in self._elsewhere]
        seen = sum(_apart(record, other) for other in there if other is not None)
        if seen <= _ranks_apart(record):
            return record
        return replace(record, stats={**record.stats, "ranks_apart": as_array(float(seen))})


def _ranks_apart(record: Record) -> float:
    assert isinstance(record, StepRecord)
    return float(record.stats.get("ranks_apart", as_array(0.0)))


def _apart(one: StepRecord, other: StepRecord) -> bool:
    for name, tolerance in (("loss", ROUNDING), ("pool_size", 0.0)):
        a, b = (float(record.stats.get(name, as_array(math.nan))) for record in (one, other))
        if math.isfinite(a) and math.isfinite(b) and abs(a - b) > tolerance * max(abs(a), abs(b)):
            return True
    return False
