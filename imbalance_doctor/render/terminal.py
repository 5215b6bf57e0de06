"""A diagnosis on a terminal, in a pipe, or as plain text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from imbalance_doctor.findings import Diagnosis, Finding
from imbalance_doctor.render import expected, grouping
from imbalance_doctor.render.cleaned import cleaned
from imbalance_doctor.render.grouping import Group as Same
from imbalance_doctor.render.numbers import count, number, step

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}

#: Width of plain text where nobody says otherwise.
DEFAULT_WIDTH = 100
#: Text wider than this tires the eye; wider terminals stay empty to the right.
WIDEST = 110
#: Consoles narrower than this put labels on a line of their own.
NARROW = 50

#: What consoles get that cannot print the real thing; of one width, so that columns stay in line.
ASCII = {"→": ">", "×": "x", "−": "-", "─": "-", "≥": ">", "≤": "<", "≫": ">", "≪": "<", "τ": "t", "θ": "q"}

#: Findings of one code on several classes that get a line each; beyond, classes are listed in ranges.
FEW = 5


def diagnosis_view(diagnosis: Diagnosis) -> RenderableType:
    """The whole diagnosis: verdict, findings, and what was not examined."""
    return _Limited(_body(cleaned(diagnosis)))


def finding_view(finding: Finding) -> RenderableType:
    """One finding, for printing it when it opens."""
    shown = cleaned(Diagnosis(findings=(finding,))).findings
    return _Limited([_group(Same(shown), live=True)])


def as_text(diagnosis: Diagnosis, width: int = DEFAULT_WIDTH) -> str:
    """The diagnosis as plain text of at most `width` columns."""
    target = io.StringIO()
    console = Console(
        file=target, width=width, no_color=True, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(diagnosis_view(diagnosis))
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines())


class _Limited:
    """Renderables below each other, no wider than is good to read."""

    def __init__(self, parts: Sequence[RenderableType]) -> None:
        self.parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        limited = options.update(width=min(options.max_width, WIDEST))
        for part in self.parts:
            for segment in console.render(part, limited):
                yield Segment(_encodable(segment.text, options.encoding), segment.style, segment.control)


def _encodable(text: str, encoding: str) -> str:
    """Text that a console of this encoding can print."""
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        plain = "".join(ASCII.get(character, character) for character in text)
        return plain.encode(encoding, "replace").decode(encoding)


def _body(diagnosis: Diagnosis) -> list[RenderableType]:
    parts = grouping.chapters(diagnosis)
    worst = diagnosis.worst
    style = STYLES[worst] if worst else "bold green" if diagnosis.healthy else "bold"
    heading = Text("Diagnosis", style="bold")
    origin = grouping.origin(diagnosis)
    if origin:
        heading.append(f" of {origin}", style="not bold")
    body: list[RenderableType] = [heading, Text(grouping.verdict(diagnosis), style=style)]
    if examined := grouping.examined_line(diagnosis):
        body.append(Text(examined, style="dim"))
    if diagnosis.expected:
        body += [Text(""), _Expected(diagnosis)]
    body += [_group(group) for group in parts.causes]
    if parts.consequences:
        body += [_heading("Consequences of the findings above"), *map(_brief, parts.consequences)]
    if parts.resolved:
        body += [_heading("Resolved"), *map(_brief, parts.resolved)]
    if diagnosis.treatments:
        body += [_heading("Treated"), *(_item(Text(text)) for text in diagnosis.treatments)]
    if passing := expected.passing(diagnosis):
        body += [_heading("These settings pass together"), Text(passing, style="bold green")]
    if diagnosis.skipped:
        body += [_heading("Not examined (which is not the same as healthy)"), _skipped(diagnosis)]
    if diagnosis.healthy:
        names = grouping.rules_of(diagnosis.healthy)
        text = Text(f"{count(len(names), 'rule')} examined and found nothing", style="bold green")
        if not parts.causes:
            text.append(": " + ", ".join(names), style="not bold default")
        body += [Text(""), text]
    if diagnosis.notes:
        body += [Text(""), *(Text(f"Note: {note}", style="dim") for note in diagnosis.notes)]
    return body


def _heading(text: str) -> RenderableType:
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))


def _group(group: Same, *, live: bool = False) -> RenderableType:
    finding = group.first
    style = STYLES[finding.severity]
    title = Text.assemble((f"{finding.severity.upper()} ", style), (group.title, "bold"))
    rows: list[tuple[str, RenderableType]] = [
        ("where", Text(group.place())),
        ("symptom", Text(finding.symptom)),
        ("cause", Text(finding.cause)),
        ("remedy", Text(finding.remedy, style="bold" if not live else "")),
    ]
    if change := group.change():
        rows.append(("change", Text(change, style="bold green")))
    if finding.evidence:
        rows.append(("evidence", _evidence(finding)))
    if group.others:
        rows.append(("also on", _others(group)))
    return Group(Text(""), Rule(title, align="left", style="dim"), _Labelled(rows))


def _evidence(finding: Finding) -> Text:
    pairs = (f"{name}={number(value)}" for name, value in finding.evidence.items())
    return Text(", ".join(pairs), style="dim")


def _others(group: Same) -> RenderableType:
    if len(group.others) > FEW:
        return Text(f"{count(len(group.others), 'more class', 'more classes')}: {group.also()}")
    return Group(*(Text(f"class {grouping.class_label(f)}: {f.symptom}") for f in group.others))


def _brief(group: Same) -> RenderableType:
    finding = group.first
    text = Text.assemble((f"{finding.severity} ", STYLES[finding.severity]), (group.title, "bold"))
    if finding.status == "resolved":
        last = max(f.last_step for f in group.findings)
        place = f"{group.where()}; from step {step(min(f.step for f in group.findings))} to {step(last)}"
    else:
        place = f"{group.place()}; follows from {', '.join(finding.explained_by)}"
    text.append(f" ({place}): {finding.symptom}")
    return _item(text)


def _item(text: Text) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row("-", text)
    return grid


def _skipped(diagnosis: Diagnosis) -> RenderableType:
    rows: list[RenderableType] = []
    for group in grouping.skipped(diagnosis):
        text = Text.assemble((group.reason, "bold"))
        if group.losses:
            text.append(f" ({', '.join(group.losses)})")
        text.append(": " + ", ".join(group.rules))
        rows.append(_item(text))
    return Group(*rows)


class _Expected:
    """The numbers of a preflight: classes side by side, or below each other where there is no room."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.tables = expected.tables(diagnosis)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for place, content in enumerate(self.tables):
            if place:
                yield Text("")
            table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
            table.add_column(Text(content.title), header_style="bold", style="dim", overflow="fold")
            for column in content.columns:
                table.add_column(Text(column), justify="right", header_style="dim", overflow="fold")
            for row in content.rows:
                table.add_row(*map(Text, row))  # a string would be read as markup
            yield table


class _Labelled:
    """Rows of label and text: side by side, or below each other where there is no room."""

    def __init__(self, rows: Iterable[tuple[str, RenderableType]]) -> None:
        self.rows = list(rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < NARROW:
            for label, content in self.rows:
                yield Text(label, style="dim")
                yield Padding(content, (0, 0, 0, 2))
            return
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        table.add_column(style="dim", no_wrap=True, justify="right")
        table.add_column(ratio=1)
        for label, content in self.rows:
            table.add_row(label, content)
        yield table
