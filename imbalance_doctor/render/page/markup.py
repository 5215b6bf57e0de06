"""Findings as HTML, shared by the page and by notebooks. All text of users and rules is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.render import expected, grouping
from imbalance_doctor.render.cleaned import cleaned
from imbalance_doctor.render.expected import Table
from imbalance_doctor.render.grouping import Group
from imbalance_doctor.render.numbers import count, number, prescription, step
from imbalance_doctor.texts import Names, clean

#: Classes of a fault that are listed one by one; beyond, the rest is counted.
MOST_CLASSES = 200


def asset(name: str) -> str:
    """A style sheet or script of this package."""
    return files("imbalance_doctor.render.page").joinpath(name).read_text(encoding="utf-8")


def text(value: str) -> str:
    """Text as HTML."""
    return escape(clean(value))


def findings_section(diagnosis: Diagnosis, losses: Sequence[str] = ()) -> str:
    """Verdict, findings, and what was not examined.

    Args:
        diagnosis: What to show.
        losses: Losses that the page has panels of: their findings get a button that shows them.
    """
    diagnosis = cleaned(diagnosis, losses)
    places = {name: place for place, name in enumerate(Names(losses).values())}
    parts = grouping.chapters(diagnosis)
    origin = grouping.origin(diagnosis)
    worst = diagnosis.worst or ""
    html = [
        f'<p class="quiet">{text(origin)}</p>' if origin else "",
        f'<p class="verdict {worst}">{text(grouping.verdict(diagnosis))}</p>',
        f'<p class="quiet">{text(grouping.examined_line(diagnosis))}</p>',
    ]
    html += [_expected(table) for table in expected.tables(diagnosis)]
    html += [_finding(group, places) for group in parts.causes]
    html += _chapter("Consequences of the findings above", map(_brief, parts.consequences))
    html += _chapter("Resolved", map(_brief, parts.resolved))
    html += _chapter("Treated", map(text, diagnosis.treatments))
    if passing := expected.passing(diagnosis):
        html.append(f"<h2>These settings pass together</h2><p><code>{text(passing)}</code></p>")
    html += _chapter("Not examined, which is not the same as healthy", _skipped(diagnosis))
    if diagnosis.healthy:
        names = grouping.rules_of(diagnosis.healthy)
        html.append(
            f"<details><summary>{count(len(names), 'rule')} examined and found nothing</summary>"
            f"<p>{text(', '.join(names))}</p></details>"
        )
    html += [f'<p class="quiet">Note: {text(note)}</p>' for note in diagnosis.notes]
    return "\n".join(part for part in html if part)


def _chapter(title: str, items: Iterable[str]) -> list[str]:
    lines = "".join(f"<li>{item}</li>" for item in items)
    return [f"<h2>{text(title)}</h2><ul>{lines}</ul>"] if lines else []


def _finding(group: Group, places: Mapping[str, int]) -> str:
    finding = group.first
    rows = [
        ("Where", "", text(group.place())),
        ("Symptom", "", text(finding.symptom)),
        ("Cause", "", text(finding.cause)),
        ("Remedy", "remedy", text(finding.remedy)),
    ]
    if change := group.change():
        rows.append(("Change", "", f"<code>{text(change)}</code>"))
    if finding.evidence:
        pairs = (f"<span><i>{text(k)}</i> {number(v)}</span>" for k, v in finding.evidence.items())
        rows.append(("Evidence", "evidence", "".join(pairs)))
    if group.others:
        rows.append(("Also on", "", _others(group)))
    if finding.loss in places:
        rows.append(("", "", _button(places[finding.loss], finding.class_index)))
    body = "".join(f'<dt>{label}</dt><dd class="{kind}">{content}</dd>' for label, kind, content in rows)
    return (
        f'<div class="finding {finding.severity}"><h3><span class="badge">{finding.severity}</span> '
        f"{text(group.title)}</h3><dl>{body}</dl></div>"
    )


def _button(place: int, class_index: int | None) -> str:
    data = f'data-loss="{place}"'
    if class_index is not None:
        data += f' data-class="{class_index}"'
    return f'<button type="button" class="show" {data}>Show in the panels</button>'


def _others(group: Group) -> str:
    listed = group.others[:MOST_CLASSES]
    rows = "".join(
        f"<tr><td>{text(grouping.class_label(f))}</td><td>{step(f.step)}</td><td>{text(f.symptom)}</td>"
        f"<td>{text(prescription(f.prescription)) if f.prescription else ''}</td></tr>"
        for f in listed
    )
    left = len(group.others) - len(listed)
    more = f"<p>and {count(left, 'more class', 'more classes')}</p>" if left else ""
    return (
        f"<details><summary>{count(len(group.others), 'more class', 'more classes')}</summary>"
        '<div class="table"><table><tr><th>Class</th><th>Since step</th><th>Symptom</th><th>Change</th></tr>'
        f"{rows}</table></div>{more}</details>"
    )


def _brief(group: Group) -> str:
    finding = group.first
    steps = [f.step for f in group.findings]
    if finding.status == "resolved":
        last = max(f.last_step for f in group.findings)
        place = f"{group.where()}; from step {step(min(steps))} to {step(last)}"
    else:
        place = f"{group.place()}; follows from {', '.join(finding.explained_by)}"
    return (
        f'<span class="badge {finding.severity}">{finding.severity}</span> <b>{text(group.title)}</b> '
        f"({text(place)}): {text(finding.symptom)}"
    )


def _expected(table: Table) -> str:
    head = "".join(f"<th>{text(column)}</th>" for column in (table.title, *table.columns))
    rows = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="table"><table><tr>{head}</tr>{rows}</table></div>'


def _skipped(diagnosis: Diagnosis) -> Iterable[str]:
    for group in grouping.skipped(diagnosis):
        losses = f" ({', '.join(group.losses)})" if group.losses else ""
        yield f"<b>{text(group.reason)}</b>{text(losses)}: {text(', '.join(group.rules))}"
