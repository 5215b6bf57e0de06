from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from imbalance_doctor.findings import Diagnosis, Examined
from imbalance_doctor.render.terminal import as_text, diagnosis_view, finding_view
from imbalance_doctor.texts import clean

from .conftest import CLASSES, Case

WIDTHS = (40, 60, 80, 120, 200)


def words(text: str) -> str:
    """Text with any white space as one blank, so that wrapping does not matter."""
    return " ".join(text.split())


def sick(case: Case) -> Diagnosis:
    """The diagnosis with every finding still open."""
    return replace(case.diagnosis, findings=tuple(replace(f, status="open") for f in case.diagnosis.findings))


@pytest.mark.parametrize("width", WIDTHS)
def test_plain_text_fits_any_width_and_says_everything(binary: Case, width: int) -> None:
    diagnosis = sick(binary)
    text = as_text(diagnosis, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    for finding in diagnosis.open:
        assert f"{finding.code} {finding.name}" in words(text)
        assert words(clean(finding.symptom)) in words(text) or width < 50


def test_symptom_cause_and_remedy_of_a_finding_are_there(binary: Case) -> None:
    text = words(as_text(sick(binary), 200))
    finding = next(f for f in sick(binary).open if not f.explained_by)
    for part in (finding.symptom, finding.cause, finding.remedy):
        assert words(clean(part)) in text


def test_names_that_look_like_markup_are_printed_as_they_are(binary: Case) -> None:
    assert "[bold]fraud[/bold] <script>" in words(as_text(sick(binary), 200))


def test_a_hundred_classes_read_like_a_few(many: Case) -> None:
    open_findings = many.diagnosis.open
    assert len(open_findings) > CLASSES / 2, "the case has lost its point"
    text = as_text(many.diagnosis, 80)
    faults = {(f.code, f.loss, f.severity, f.status) for f in many.diagnosis.findings}
    # A fault takes up to 16 lines at this width, on however many classes; 20 more are head and foot.
    assert len(text.splitlines()) < 16 * len(faults) + 20 < len(many.diagnosis.findings) * 16
    assert "more classes" in text


def test_nothing_wrong_says_what_was_not_examined() -> None:
    diagnosis = Diagnosis(
        healthy=(Examined("IMB001", "nonfinite-scores", "a"),),
        skipped=(
            Examined("IMB701", "loss-without-metric", "a", "no validation average_precision"),
            Examined("IMB702", "class-never-improves", "a", "no validation average_precision"),
            Examined("IMB303", "unstable-threshold", "a", "3 of 20 records"),
        ),
    )
    text = words(as_text(diagnosis))
    assert "Nothing wrong in what was examined" in text
    assert "no validation average_precision: IMB701 loss-without-metric, IMB702 class-never-improves" in text
    assert "3 of 20 records: IMB303 unstable-threshold" in text


def test_nothing_examined_is_not_called_healthy() -> None:
    short = Diagnosis(skipped=(Examined("IMB303", "unstable-threshold", "a", "3 of 20 records"),))
    assert "Nothing could be examined" in as_text(short)
    assert "Nothing was examined" in as_text(Diagnosis())
    assert "Nothing wrong" not in as_text(short) + as_text(Diagnosis())


def test_a_reason_names_the_losses_only_where_they_differ() -> None:
    both = tuple(Examined("IMB303", "unstable-threshold", loss, "3 of 20 records") for loss in "ab")
    assert "(a, b)" not in as_text(Diagnosis(skipped=both))
    one = Diagnosis(skipped=both[:1], healthy=(replace(both[1], skipped=None),))
    assert "3 of 20 records (a):" in as_text(one)


def test_consequences_and_resolved_findings_stand_behind_their_causes(binary: Case) -> None:
    first = replace(binary.diagnosis.findings[0], status="open", explained_by=())
    diagnosis = Diagnosis(
        findings=(
            first,
            replace(first, code="IMB999", name="of-the-first", explained_by=(first.code,)),
            replace(first, code="IMB998", name="long-gone", status="resolved"),
        )
    )
    text = as_text(diagnosis)
    places = [text.index(part) for part in (first.code, "Consequences", "IMB999", "Resolved", "IMB998")]
    assert places == sorted(places)
    assert f"follows from {first.code}" in words(text)


def test_classes_that_need_different_changes_show_their_range(many: Case) -> None:
    first = replace(many.diagnosis.findings[0], status="open", explained_by=())
    changes = [{"parameter": "queue_size", "from": 64, "to": to} for to in (500, 400, 9000)]
    group = tuple(replace(first, class_index=i, prescription=change) for i, change in enumerate(changes))
    text = words(as_text(Diagnosis(findings=group)))
    assert "queue_size: 64 → 500 (400 to 9,000 over the classes)" in text


def test_a_console_that_knows_ascii_alone_gets_ascii(binary: Case) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    Console(file=file, width=80).print(diagnosis_view(sick(binary)))
    file.flush()


def test_colour_is_for_terminals(binary: Case) -> None:
    terminal, pipe = io.StringIO(), io.StringIO()
    Console(file=terminal, force_terminal=True, color_system="standard").print(
        diagnosis_view(binary.diagnosis)
    )
    Console(file=pipe, force_terminal=False).print(diagnosis_view(binary.diagnosis))
    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[" not in pipe.getvalue()


def test_one_finding_is_shown_live(binary: Case) -> None:
    finding = binary.diagnosis.findings[0]
    file = io.StringIO()
    Console(file=file, width=80).print(finding_view(finding))
    assert finding.code in file.getvalue()
    assert words(clean(finding.remedy)) in words(file.getvalue())


def test_printing_a_diagnosis_prints_this_text(binary: Case) -> None:
    assert str(binary.diagnosis) == as_text(binary.diagnosis)
