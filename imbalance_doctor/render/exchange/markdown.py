"""A diagnosis as Markdown, for a pull request, an issue or a lab book."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.render import expected, grouping
from imbalance_doctor.render.cleaned import cleaned
from imbalance_doctor.render.grouping import Group
from imbalance_doctor.render.numbers import count, number

#: What is markup within a line, and what makes a list or a line of its first character.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>|~#$&]")
_BLOCK = re.compile(r"^(\s*\d*)([-+=.)])")


def as_markdown(diagnosis: Diagnosis) -> str:
    """The diagnosis as a page of GitHub's Markdown."""
    diagnosis = cleaned(diagnosis)
    parts = grouping.chapters(diagnosis)
    lines = [f"# Diagnosis: {_text(grouping.verdict(diagnosis))}", ""]
    lines += [
        f"{_text(line)}  " for line in (grouping.origin(diagnosis), grouping.examined_line(diagnosis)) if line
    ]
    for table in expected.tables(diagnosis):
        lines += _table(table)
    for group in parts.causes:
        lines += _finding(group)
    lines += _chapter("Consequences of the findings above", map(_brief, parts.consequences))
    if passing := expected.passing(diagnosis):
        lines += ["", "## These settings pass together", "", _code(passing)]
    lines += _chapter("Resolved", map(_brief, parts.resolved))
    lines += _chapter("Treated", map(_text, diagnosis.treatments))
    lines += _chapter("Not examined, which is not the same as healthy", _skipped(diagnosis))
    if diagnosis.healthy:
        names = grouping.rules_of(diagnosis.healthy)
        summary = f"{count(len(names), 'rule')} examined and found nothing"
        lines += ["", f"<details><summary>{summary}</summary>", "", _text(", ".join(names)), "", "</details>"]
    lines += _chapter("Notes", map(_text, diagnosis.notes))
    return "\n".join(lines) + "\n"


def _finding(group: Group) -> list[str]:
    first = group.first
    rows = [("where", group.place())]
    if group.others:
        rows.append(("also", group.also()))
    rows += [("symptom", first.symptom), ("cause", first.cause), ("remedy", first.remedy)]
    if change := group.change():
        rows.append(("change", change))
    evidence = ", ".join(f"{name}={number(value)}" for name, value in first.evidence.items())
    rows.append(("evidence", evidence))
    written = {"change": _code}
    cells = (f"| {name} | {written.get(name, _text)(text)} |" for name, text in rows if text)
    return ["", f"## {first.severity.upper()} {_text(group.title)}", "", "| | |", "|---|---|", *cells]


def _table(table: expected.Table) -> list[str]:
    """The numbers of a preflight, a quantity a row."""
    head, *rows = (" | ".join(map(_text, row)) for row in ((table.title, *table.columns), *table.rows))
    return ["", f"| {head} |", f"|{'---|' * (1 + len(table.columns))}", *(f"| {row} |" for row in rows)]


def _brief(group: Group) -> str:
    first = group.first
    after = f"; follows from {', '.join(first.explained_by)}" if first.explained_by else ""
    return (
        f"**{first.severity.upper()} {_text(group.title)}** ({_text(group.place() + after)}): "
        f"{_text(first.symptom)}"
    )


def _skipped(diagnosis: Diagnosis) -> Iterator[str]:
    for group in grouping.skipped(diagnosis):
        where = f" ({_text(', '.join(group.losses))})" if group.losses else ""
        yield f"**{_text(group.reason)}**{where}: {_text(', '.join(group.rules))}"


def _chapter(title: str, items: Iterable[str]) -> list[str]:
    listed = [f"- {item}" for item in items]
    return ["", f"## {title}", "", *listed] if listed else []


def _text(value: str) -> str:
    """Text in which nothing is markup."""
    return _BLOCK.sub(_escaped, _MARKUP.sub(r"\\\g<0>", value))


def _escaped(start: re.Match[str]) -> str:
    return f"{start[1]}\\{start[2]}"


def _code(value: str) -> str:
    """Text as code, unless a cell of a table cannot hold it so."""
    return _text(value) if re.search(r"[`|\\]", value) else f"`{value}`"
