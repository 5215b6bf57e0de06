"""A diagnosis as SARIF 2.1.0 (OASIS), which code-scanning services show."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from imbalance_doctor.findings import Diagnosis, Examined, Finding, Severity
from imbalance_doctor.render.json import plain
from imbalance_doctor.texts import clean

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_sarif(diagnosis: Diagnosis) -> str:
    """Open findings as results, the rules that were asked beside them."""
    asked: tuple[Finding | Examined, ...] = (*diagnosis.findings, *diagnosis.healthy, *diagnosis.skipped)
    names = dict(sorted((item.code, item.name) for item in asked))
    places = {code: index for index, code in enumerate(names)}
    driver = {
        "name": "imbalance-doctor",
        "version": version("imbalance-doctor"),
        "rules": [
            {
                "id": code,
                "name": name,
                "shortDescription": {"text": name.replace("-", " ")},
                "help": {"text": f"imbalance-doctor explain {code}"},
            }
            for code, name in names.items()
        ],
    }
    results = [_result(finding, places, diagnosis.source) for finding in diagnosis.open]
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(finding: Finding, places: dict[str, int], source: str) -> dict[str, Any]:
    text = f"{finding.symptom} Cause: {finding.cause} Remedy: {finding.remedy}"
    return {
        "ruleId": finding.code,
        "ruleIndex": places[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": clean(text)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": source.replace("\\", "/")}},
                "logicalLocations": [{"fullyQualifiedName": clean(finding.where)}],
            }
        ],
        # What identifies a fault from one run to the next.
        "partialFingerprints": {"fault/v1": clean(f"{finding.code} {finding.where}")},
        "properties": plain(
            {
                "step": finding.step,
                "evidence": finding.evidence,
                "prescription": finding.prescription,
                "explainedBy": finding.explained_by,
            }
        ),
    }
