from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.render.exchange.json import SCHEMA, as_json

from .conftest import Case


def parse(text: str) -> Any:
    """As a strict parser reads it: NaN and Infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_report_says_what_the_diagnosis_says(many: Case) -> None:
    report = parse(as_json(many.diagnosis))
    assert report["schema"] == SCHEMA
    assert len(report["findings"]) == len(many.diagnosis.findings)
    assert report["worst"] == many.diagnosis.worst
    first, finding = report["findings"][0], many.diagnosis.findings[0]
    assert (first["code"], first["class_name"]) == (finding.code, finding.class_name)
    assert first["evidence"] == dict(finding.evidence)


def test_numbers_that_json_does_not_know_are_null(binary: Case) -> None:
    finding = replace(
        binary.diagnosis.findings[0],
        evidence={"a": math.nan, "b": math.inf, "c": np.float32(0.5), "d": 2},  # type: ignore[dict-item]
        prescription={"parameter": "class_weight", "from": None, "to": np.array([1.0, math.nan])},
    )
    found = parse(as_json(Diagnosis(findings=(finding,))))["findings"][0]
    assert found["evidence"] == {"a": None, "b": None, "c": 0.5, "d": 2}
    assert found["prescription"]["to"] == [1.0, None]


def test_it_is_ascii_so_that_no_pipe_garbles_it(binary: Case) -> None:
    finding = replace(binary.diagnosis.findings[0], symptom="θ jumps → 3 τ")
    text = as_json(Diagnosis(findings=(finding,)))
    assert text.isascii()
    assert parse(text)["findings"][0]["symptom"] == "θ jumps → 3 τ"


def test_an_empty_diagnosis_is_json() -> None:
    assert parse(as_json(Diagnosis()))["findings"] == []
