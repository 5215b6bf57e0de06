"""No name speaks to a terminal, a page or a program, and ordinary ones come out as they were written.

A name more is a line in `hostile.py`, a renderer more a line in `RENDERERS`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imbalance_doctor.cli import main
from imbalance_doctor.cli.commands.watch import show_lines
from imbalance_doctor.examine.follow import Look
from imbalance_doctor.examine.project import Project
from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.log.run import Run
from imbalance_doctor.render import grouping
from imbalance_doctor.render.cleaned import cleaned
from imbalance_doctor.render.exchange.github import as_github
from imbalance_doctor.render.exchange.json import as_json
from imbalance_doctor.render.exchange.junit import as_junit
from imbalance_doctor.render.exchange.markdown import as_markdown
from imbalance_doctor.render.exchange.sarif import as_sarif
from imbalance_doctor.render.notebook import as_html
from imbalance_doctor.render.page.html import as_page
from imbalance_doctor.render.tensorboard.board import write_run
from imbalance_doctor.render.terminal import as_text, finding_view
from imbalance_doctor.texts import NAME, PARAGRAPH, Names, clean, clean_name, shortened

from .hostile import HOSTILE, ORDINARY, hostile_diagnosis, hostile_run, losses_shown

#: What no output has: control characters but for ends of lines, what reorders a line, halves of characters.
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
#: This diagnosis has some hundred places for a text, each of at most a paragraph.
MOST_CHARACTERS = 300 * PARAGRAPH


def on_a_terminal(diagnosis: Diagnosis, run: Run) -> str:
    target = io.StringIO()
    console = Console(file=target, force_terminal=True, color_system=None, width=80, legacy_windows=False)
    console.print(diagnosis)
    for finding in diagnosis.open:
        console.print(finding_view(finding))
    return target.getvalue()


def watched_in_a_pipe(diagnosis: Diagnosis, run: Run) -> str:
    with pytest.MonkeyPatch.context() as patch:
        target = io.StringIO()
        patch.setattr("sys.stdout", target)
        show_lines([Look(diagnosis, ended=True)], Path(), Project())
    text = target.getvalue()
    assert len(text.splitlines()) == len(diagnosis.findings)
    return text


def page(diagnosis: Diagnosis, run: Run) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plotly.offline.get_plotlyjs", lambda: "plotly")  # five megabytes that nobody names
        return as_page(diagnosis, run)


def warned(diagnosis: Diagnosis, run: Run) -> str:
    return "\n".join(str(each) for each in (*diagnosis.unjudged, *(f.headline() for f in diagnosis.findings)))


def check_text(text: str, diagnosis: Diagnosis) -> None:
    assert not re.search(r"^\s*(::|##\[)", text, re.MULTILINE)


def check_json(text: str, diagnosis: Diagnosis) -> None:
    assert text.isascii()
    found = json.loads(text, parse_constant=pytest.fail)
    json.dumps(found, ensure_ascii=False).encode()
    assert len(found["findings"]) == len(diagnosis.findings)


def check_markdown(text: str, diagnosis: Diagnosis) -> None:
    columns = 0
    for line in text.splitlines():
        if line.startswith("|"):
            bars = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))
            columns = columns or bars  # of the table's first line
            assert bars == columns, line
        else:
            columns = 0
        assert not re.match(r"\s*(>|=+$|([-*_] *){3,}$|\d+[.)])", line), line
        assert not re.match(r"- +([-+*]|\d+[.)])\s", line), line
    plain = re.sub(r"`[^`]*`", "", re.sub(r"\\[^\w\s]", "", text))
    assert set(re.findall(r"<[^ ]*?>", plain)) <= {"<details>", "</details>", "<summary>", "</summary>"}
    assert "](" not in plain


def check_xml(text: str, diagnosis: Diagnosis) -> None:
    suite = Xml.fromstring(text)
    assert {element.tag for element in suite.iter()} <= {
        "testsuite", "testcase", "failure", "skipped", "system-out",
    }  # fmt: skip
    assert int(suite.get("tests", "")) == len(suite.findall("testcase"))


def check_sarif(text: str, diagnosis: Diagnosis) -> None:
    check_places = re.compile(r"[A-Za-z0-9\-._~:/%]*")
    (run,) = json.loads(text, parse_constant=pytest.fail)["runs"]
    json.dumps(run, ensure_ascii=False).encode()
    assert len(run["results"]) == len(diagnosis.open)
    for result in run["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert check_places.fullmatch(uri)
        assert urlsplit(uri).scheme in ("", "file")
        assert not re.search(r"%(?![0-9A-F]{2})", uri)
    prints = [result["partialFingerprints"]["fault/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def check_github(text: str, diagnosis: Diagnosis) -> None:
    lines = text.splitlines()
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert len(commands) == len(lines) - 1 == len(grouping.grouped(cleaned(diagnosis).open))
    for line in commands:
        assert re.fullmatch(r"::(error|warning|notice) title=[^:,]+::.+", line)
        assert not re.search(r"%(?!25|3A|2C)", line)


class _Parser(HTMLParser):
    """Collects tags, attributes and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data


ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "rel", "href", "class", "id", "type", "aria-label",
    "data-loss", "data-class",
}  # fmt: skip


def check_html(text: str, diagnosis: Diagnosis) -> None:
    parser = _Parser()
    parser.feed(text)
    assert not {"img", "iframe", "a", "object", "svg"} & {*parser.tags}
    assert parser.attributes <= ATTRIBUTES
    assert "evil.example" not in "".join(re.findall(r'(?:src|href)="([^"]*)"', text))
    assert parser.tags.count("script") in (0, 3)
    if parser.scripts:
        data = json.loads(parser.scripts[0], parse_constant=pytest.fail)
        names = [loss["name"] for loss in data["losses"]]
        assert names == losses_shown(diagnosis)
        places = {int(place) for place in re.findall(r'data-loss="(\d+)"', text)}
        assert places <= {*range(len(names))}


Check = Callable[[str, Diagnosis], None]
RENDERERS: dict[str, tuple[Callable[[Diagnosis, Run], str], Check]] = {
    "terminal": (on_a_terminal, check_text),
    "text": (lambda diagnosis, run: as_text(diagnosis), check_text),
    "narrow text": (lambda diagnosis, run: as_text(diagnosis, 40), check_text),
    "watch": (watched_in_a_pipe, check_text),
    "warning": (warned, check_text),
    "json": (lambda diagnosis, run: as_json(diagnosis), check_json),
    "markdown": (lambda diagnosis, run: as_markdown(diagnosis), check_markdown),
    "junit": (lambda diagnosis, run: as_junit(diagnosis), check_xml),
    "sarif": (lambda diagnosis, run: as_sarif(diagnosis), check_sarif),
    "github": (lambda diagnosis, run: as_github(diagnosis), check_github),
    "notebook": (lambda diagnosis, run: as_html(diagnosis), check_html),
    "page": (page, check_html),
}


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_name_stays_a_name(kind: str, renderer: str) -> None:
    diagnosis, run = hostile_diagnosis(HOSTILE[kind]), hostile_run(HOSTILE[kind])
    render, check = RENDERERS[renderer]
    text = render(diagnosis, run)
    assert not (found := FORBIDDEN.search(text)), repr(text[max(0, found.start() - 40) : found.end() + 40])
    text.encode()
    assert len(re.sub(r"\\u[0-9a-f]{4}", "x", text)) < MOST_CHARACTERS
    check(text, diagnosis)


#: What escapes a format needs for ordinary letters, taken back.
PLAIN: dict[str, Callable[[str], str]] = {
    "json": lambda text: json.dumps(json.loads(text), ensure_ascii=False),
    "sarif": lambda text: json.dumps(json.loads(text), ensure_ascii=False),
    "junit": lambda text: "".join(Xml.fromstring(text).itertext()),
    "markdown": lambda text: re.sub(r"\\([^\w\s])", r"\1", text),
    "github": unquote,
    "notebook": lambda text: text.replace("&gt;", ">"),
    "page": lambda text: text.replace("&gt;", ">"),
}


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_name_comes_out_unchanged(kind: str, renderer: str) -> None:
    name = ORDINARY[kind]
    render, check = RENDERERS[renderer]
    text = render(hostile_diagnosis(name), hostile_run(name))
    check(text, hostile_diagnosis(name))
    assert name in PLAIN.get(renderer, lambda text: text)(text)


# --- TensorBoard ----------------------------------------------------------------------------------------


def read(path: Path) -> EventAccumulator:
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


@pytest.mark.parametrize("kind", HOSTILE)
def test_tags_are_clean_and_charts_draw_the_lines_of_their_own_loss(kind: str, tmp_path: Path) -> None:
    from tensorboard.plugins.custom_scalar import layout_pb2

    diagnosis, run = hostile_diagnosis(HOSTILE[kind]), hostile_run(HOSTILE[kind])
    write_run(run, diagnosis, tmp_path)
    events = read(tmp_path)
    tags = events.Tags()["scalars"]
    assert not any(FORBIDDEN.search(tag) or len(tag) > 3 * NAME for tag in tags)
    losses = [tag.removesuffix(" 1 loss/loss") for tag in tags if tag.endswith(" 1 loss/loss")]
    assert len(losses) == 2
    for loss in losses:
        counts = [tag for tag in tags if tag.startswith(f"{loss} 2 positives/pool_pos_count")]
        assert len(counts) == 5  # one for each class, though three of them have the same name
        assert [e.value for e in events.Scalars(counts[0])] == [1.0, 1.0]
    layout = layout_pb2.Layout()
    layout.ParseFromString(events.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0])
    charts = {c.title: list(c.chart) for c in layout.category}
    assert {f"{loss}: positives" for loss in losses} <= charts.keys()
    for loss in losses:
        for chart in charts[f"{loss}: positives"]:
            (pattern,) = chart.multiline.tag
            drawn = [tag for tag in tags if re.match(pattern, tag)]
            assert len(drawn) == 1
            assert drawn[0].startswith(f"{loss} 2 positives/")
    texts = [e.tensor_proto.string_val[0].decode() for e in events.Tensors("findings/all/text_summary")]
    assert not any(FORBIDDEN.search(text) for text in texts)
    for line in texts[-1].splitlines():
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 7, line


# --- errors ---------------------------------------------------------------------------------------------

ERRORS: dict[str, Callable[[str], list[str]]] = {
    "a run": lambda name: ["report", name],
    "a command": lambda name: [f"x{name}"],
    "a format": lambda name: ["report", ".", "--format", name],
    "a selector": lambda name: ["rules", "--select", f"x{name}"],
    "a rule": lambda name: ["explain", name],
    "a rate": lambda name: ["preflight", "--loss", "bce", "--batch-size", "8", "--positive-rate", name],
    "an option": lambda name: ["report", ".", f"--x{name}"],
    "a folder of events": lambda name: ["tensorboard", name, "--logdir", name],
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if HOSTILE[kind].strip()])
def test_an_error_is_one_clean_line(
    kind: str, error: str, capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(ERRORS[error](HOSTILE[kind])) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not FORBIDDEN.search(captured.err)
    assert "this is a bug" not in captured.err
    assert len(captured.err) < 2 * PARAGRAPH


# --- the cleaning itself --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_clean_stays(kind: str) -> None:
    once = clean(HOSTILE[kind])
    assert not FORBIDDEN.search(once)
    assert "\n" not in once
    assert clean(once) == once
    assert clean_name(clean_name(HOSTILE[kind])) == clean_name(HOSTILE[kind])


@given(
    st.text(
        st.sampled_from("\x1b[]0;m\x07\\\x9b\x9c\x9d\u200b\u200d:#set-outpugroup\U0001f3f4\U000e0067a\n ")
    )
)
def test_whatever_is_put_together_is_clean_at_once(text: str) -> None:
    once = clean(text)
    assert not FORBIDDEN.search(once)
    assert "\n" not in once
    assert "::group" not in once
    assert clean(once) == once


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_text_is_not_touched(kind: str) -> None:
    assert clean(ORDINARY[kind]) == ORDINARY[kind]


def test_sequences_go_as_a_whole() -> None:
    assert clean("a\x1b[1;31mb\x1b[0mc\x1b]8;;http://x\x1b\\d\x1b]8;;\x07e\x9b2Kf") == "abcdef"


@pytest.mark.parametrize("kind", ORDINARY)
def test_nothing_is_cut_within_a_letter(kind: str) -> None:
    letters = ORDINARY[kind].split()
    for most in range(3, 60):
        text = shortened(" ".join(letters * 10), most)
        assert len(text) <= most
        head, _, tail = text.partition("…")
        for half in (head.rsplit(" ", 1)[-1], tail.split(" ", 1)[0]):
            assert not half.startswith(("\u200d", "\u200c", "\ufe0f", "\u0323", "\U0001f3fd"))
            assert not half.endswith("\u200d")


def test_no_letter_has_signs_that_cover_a_page() -> None:
    assert clean("e" + "\u0301" * 500 + "x") == "e" + "\u0301" * 8 + "x"


def test_both_ends_of_a_long_name_are_kept() -> None:
    text = clean_name("lr=0.1," * 1000 + "seed=7")
    assert len(text) <= NAME
    assert text.startswith("lr=0.1")
    assert text.endswith("seed=7")


def test_names_that_look_the_same_are_numbered() -> None:
    names = Names(["a", "a\u200b", "a (2)", "a\x1b[m"])
    assert [*names.values()] == ["a", "a (2)", "a (2) (2)", "a (3)"]
    assert names["a\u200b"] == "a (2)"


def test_ten_megabytes_cost_what_a_page_costs() -> None:
    for text in ("x" * 10_000_000, "\x9d" * 10_000_000, "\x1b]" * 5_000_000, "::error" * 1_400_000):
        assert len(clean(text)) <= PARAGRAPH
