"""The schema of a run log: what each kind of line holds. Data; `types` reads by it.

Kinds, events and fields that are not listed here are passed over: a later version may write them, and the
number in the header speaks of what must be understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imbalance_doctor.findings import Failed, Finding
from imbalance_doctor.log.layout import PER_CLASS
from imbalance_doctor.log.types import (
    Arrays,
    ByName,
    Either,
    Fields,
    ListOf,
    Made,
    MapOf,
    Nullable,
    OneOf,
    Real,
    SettingType,
    Share,
    Text,
    Whole,
)
from imbalance_doctor.losses import kinds
from imbalance_doctor.records import MAIN_LOSS, MOST_STEPS, WARMUP_LOSS

STEP = INDEX = Whole(0, MOST_STEPS)
COUNT = Whole(1, MOST_STEPS)
TEXT, SETTING, REAL = Text(), SettingType(), Real()
SETTINGS = MapOf(SETTING)
NAMES = Nullable(ListOf(TEXT))

#: A loss inside another one.
INNER = Nullable(Fields({"kind": TEXT}))

#: A watched loss. Of a warmup wrapper it is read which losses it holds.
LOSS = ByName(
    Fields({"name": TEXT, "kind": TEXT}, {"config": SETTINGS}),
    "kind",
    {kinds.WARMUP: Fields({}, {"config": Fields({}, {WARMUP_LOSS: INNER, MAIN_LOSS: INNER})})},
)

FINDING = Made(Finding.from_dict, "a finding")
FAILED = Made(Failed.from_dict, "a rule that failed")

#: The first line of a session.
HEADER = Fields(
    {"schema": COUNT},
    {
        "every": COUNT,
        "total_steps": Nullable(COUNT),
        "population_positive_rate": Nullable(Either(Share(), ListOf(Share(), least=1))),
        "class_names": Nullable(ListOf(Nullable(TEXT), least=1)),
        "target_metric": Nullable(TEXT),
        "rank": INDEX,
        "world_size": COUNT,
        "start_step": STEP,
        "started": TEXT,
        "versions": MapOf(TEXT),
        "rules": Fields({}, {"select": NAMES, "ignore": NAMES, "thresholds": Nullable(MapOf(SETTINGS))}),
    },
)
WATCH = Fields({"step": STEP, "loss": LOSS})
STATS = Arrays()
STEPPED = Fields({"step": STEP, "loss": TEXT, "stats": STATS}, {"metrics": MapOf(REAL)})
HISTOGRAM = Fields({"step": STEP, "loss": TEXT, "stats": STATS})
EVALUATION = Fields({"step": STEP, "metrics": Arrays(PER_CLASS)})
TREATED = Fields(
    {"step": STEP, "loss": LOSS, "code": TEXT, "parameter": TEXT, "before": SETTING, "after": SETTING}
)
FOUND = Fields({"finding": FINDING})
#: Of a rule that failed, it says so as data too.
NOTE = Fields({"text": TEXT}, {"failed": FAILED})
END = Fields({"step": STEP})

#: By kind; by kind and event where there are several.
LINES: Mapping[str, Fields | Mapping[str, Fields]] = {
    "run": {"watch": WATCH},
    "step": STEPPED,
    "histogram": HISTOGRAM,
    "eval": EVALUATION,
    "finding": {"opened": FOUND, "resolved": FOUND, "treated": TREATED},
    "note": NOTE,
    "end": END,
}


def is_header(item: Mapping[str, Any]) -> bool:
    """Whether a line begins a session."""
    return item.get("kind") == "run" and "schema" in item


def line_type(item: Mapping[str, Any]) -> Fields | None:
    """What a line holds; None for one of a later version.

    Raises:
        MismatchError: It does not say what it is.
    """
    kind = item["kind"]
    if type(kind) is not str:
        raise TEXT.refuse(kind).inside("kind")
    if is_header(item):
        return HEADER
    known = LINES.get(kind)
    if known is None or isinstance(known, Fields):
        return known
    event = item.get("event")
    if type(event) is not str:
        raise OneOf(tuple(known)).refuse(event).inside("event")
    return known.get(event)
