"""What the logs of several ranks say together: where ranks that should agree do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from imbalance_doctor.records import LossInfo, Record, StepRecord, as_array

#: Relative difference of losses that are the same sum on every rank. Ranks on unlike devices may add float32
#: numbers in another order, which shows in the sixth digit.
ROUNDING = 1e-3


def compared(
    records: Sequence[Record], others: Sequence[Sequence[Record]], losses: Mapping[str, LossInfo]
) -> list[Record]:
    """Rank 0's records, `ranks_apart` of gathering losses brought up to what the other ranks' logs show.

    A rank is apart at a step where its loss or the size of its pool is another one. Where a rank has no
    record of a step nothing is said of it.

    Args:
        records: Those of rank 0.
        others: Those of each other rank.
        losses: The watched losses by name.
    """
    elsewhere = [
        {(record.step, record.loss): record for record in rank if isinstance(record, StepRecord)}
        for rank in others
    ]

    def told(record: Record) -> Record:
        if not isinstance(record, StepRecord) or record.loss not in losses or not losses[record.loss].gathers:
            return record
        there = [rank.get((record.step, record.loss)) for rank in elsewhere]
        seen = sum(_apart(record, other) for other in there if other is not None)
        known = float(record.stats.get("ranks_apart", as_array(0.0)))
        if seen <= known:
            return record
        return replace(record, stats={**record.stats, "ranks_apart": as_array(float(seen))})

    return [told(record) for record in records]


def _apart(one: StepRecord, other: StepRecord) -> bool:
    for name, tolerance in (("loss", ROUNDING), ("pool_size", 0.0)):
        a, b = (float(record.stats.get(name, as_array(math.nan))) for record in (one, other))
        if math.isfinite(a) and math.isfinite(b) and abs(a - b) > tolerance * max(abs(a), abs(b)):
            return True
    return False
