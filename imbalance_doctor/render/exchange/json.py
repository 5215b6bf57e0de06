"""A diagnosis as JSON that any parser reads: numbers that JSON does not know are null.

Texts are data here: they stay what they are, but for halves of characters, which strict parsers refuse, and
for the middle of what is too long.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.texts import encodable, shortened

#: Version of the report's layout.
#: 1: the first one.
SCHEMA = 1


def as_json(diagnosis: Diagnosis, *, indent: int | None = 2) -> str:
    """The diagnosis as one JSON object, in ASCII, so that no pipe can garble it."""
    report = {"schema": SCHEMA, **diagnosis.to_dict()}
    return json.dumps(plain(report), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """The value in JSON's own types; NaN and infinity as None, anything unknown as text."""
    if isinstance(value, Mapping):
        return {_text(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else _text(str(value))


def _text(value: str) -> str:
    return encodable(shortened(value))
