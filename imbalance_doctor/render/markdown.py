"""A diagnosis as Markdown, for a pull request, an issue or a lab book."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.render import grouping
from imbalance_doctor.render.grouping import Group
from imbalance_doctor.render.numbers import count, number
from imbalance_doctor.texts import clean


def as_markdown(diagnosis: Diagnosis) -> str:
    """The diagnosis as a page of GitHub's Markdown."""
    parts = grouping.chapters(diagnosis)
    lines = [f"# Diagnosis: {_text(grouping.verdict(diagnosis))}", ""]
    lines += [
        f"{_text(line)}  " for line in (grouping.origin(diagnosis), grouping.examined_line(diagnosis)) if line
    ]
    for group in parts.causes:
        lines += _finding(group)
    lines += _chapter("Consequences of the findings above", map(_brief, parts.consequences))
    lines += _chapter("Resolved", map(_brief, parts.resolved))
    lines += _chapter("Treated", map(_text, diagnosis.treatments))
    lines += _chapter("Not examined, which is not the same as healthy", _skipped(diagnosis))
    if diagnosis.healthy:
        names = grouping.rules_of(diagnosis.healthy)
        summary = f"{count(len(names), 'rule')} examined and found nothing"
        lines += ["", f"<details><summary>{summary}</summary>", "", ", ".join(names), "", "</details>"]
    lines += _chapter("Notes", map(_text, diagnosis.notes))
    return "\n".join(lines) + "\n"


def _finding(group: Group) -> list[str]:
    first = group.first
    rows = [("where", group.place())]
    if group.others:
        rows.append(("also", group.also()))
    rows += [("symptom", first.symptom), ("cause", first.cause), ("remedy", first.remedy)]
    if change := group.change():
        rows.append(("change", f"`{clean(change)}`"))
    evidence = ", ".join(f"{name}={number(value)}" for name, value in first.evidence.items())
    rows.append(("evidence", evidence))
    cells = (f"| {name} | {text if name == 'change' else _text(text)} |" for name, text in rows if text)
    return ["", f"## {first.severity.upper()} {group.title}", "", "| | |", "|---|---|", *cells]


def _brief(group: Group) -> str:
    first = group.first
    after = f"; follows from {', '.join(first.explained_by)}" if first.explained_by else ""
    return (
        f"**{first.severity.upper()} {group.title}** ({_text(group.place())}{after}): {_text(first.symptom)}"
    )


def _skipped(diagnosis: Diagnosis) -> Iterator[str]:
    for group in grouping.skipped(diagnosis):
        where = f" ({_text(', '.join(group.losses))})" if group.losses else ""
        yield f"**{_text(group.reason)}**{where}: {', '.join(group.rules)}"


def _chapter(title: str, items: Iterable[str]) -> list[str]:
    listed = [f"- {item}" for item in items]
    return ["", f"## {title}", "", *listed] if listed else []


def _text(value: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|~#$])", r"\\\1", clean(value))
