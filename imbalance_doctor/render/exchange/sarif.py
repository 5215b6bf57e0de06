"""A diagnosis as SARIF 2.1.0 (OASIS), which code-scanning services show."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from imbalance_doctor.findings import Diagnosis, Examined, Finding, Severity
from imbalance_doctor.render.cleaned import cleaned
from imbalance_doctor.render.exchange.json import plain
from imbalance_doctor.texts import encodable, shortened

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_sarif(diagnosis: Diagnosis) -> str:
    """Open findings as results, the rules that were asked beside them."""
    uri = _uri(diagnosis.source)
    diagnosis = cleaned(diagnosis)
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
    results = [_result(finding, places, uri) for finding in diagnosis.open]
    notes = [{"level": "note", "message": {"text": note}} for note in diagnosis.notes]
    invocation = {"executionSuccessful": True, "toolExecutionNotifications": notes}
    run = {"tool": {"driver": driver}, "invocations": [invocation], "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(finding: Finding, places: dict[str, int], uri: str) -> dict[str, Any]:
    text = f"{finding.symptom} Cause: {finding.cause} Remedy: {finding.remedy}"
    return {
        "ruleId": finding.code,
        "ruleIndex": places[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": uri}},
                "logicalLocations": [{"fullyQualifiedName": finding.where}],
            }
        ],
        # What identifies a fault from one run to the next.
        "partialFingerprints": {"fault/v1": f"{finding.code} {finding.where}"},
        "properties": plain(
            {
                "step": finding.step,
                "evidence": finding.evidence,
                "prescription": finding.prescription,
                "explainedBy": finding.explained_by,
            }
        ),
    }


def _uri(source: str) -> str:
    """A path as a URI: ``file:`` where it is absolute, on Windows as well, else relative."""
    path = shortened(source).replace("\\", "/")
    if re.match("[A-Za-z]:/", path):
        return f"file:///{path[:2]}{_quoted(path[2:])}"
    if path.startswith("//"):  # a share of another machine, or just a slash too many
        return (
            f"file:{_quoted(path)}" if source.startswith("\\\\") else f"file:///{_quoted(path.lstrip('/'))}"
        )
    return f"file://{_quoted(path)}" if path.startswith("/") else _quoted(path)


def _quoted(path: str) -> str:
    try:
        return quote(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # halves of characters that no path has
        return quote(encodable(path))
