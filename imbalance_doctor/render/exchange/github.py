"""A diagnosis as GitHub workflow commands: annotations on the run of a workflow."""

from __future__ import annotations

from imbalance_doctor.findings import Diagnosis, Severity
from imbalance_doctor.render import grouping
from imbalance_doctor.render.cleaned import cleaned

_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def as_github(diagnosis: Diagnosis) -> str:
    """The verdict and the notes, then one command a line for each open fault, once for all of its classes."""
    diagnosis = cleaned(diagnosis)
    lines = ["; ".join((grouping.verdict(diagnosis), *diagnosis.notes))]
    for group in grouping.grouped(diagnosis.open):
        first = group.first
        text = f"{first.symptom} Cause: {first.cause} Remedy: {first.remedy}"
        title = f"{group.title} ({group.place()})"
        lines.append(f"::{_COMMANDS[first.severity]} title={_property(title)}::{_data(text)}")
    return "\n".join(lines) + "\n"


def _data(text: str) -> str:
    return text.replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
