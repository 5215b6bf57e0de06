from __future__ import annotations

from html import escape
from html.parser import HTMLParser

import pytest

from imbalance_doctor.findings import Diagnosis, Examined
from imbalance_doctor.render.notebook import as_html

from .conftest import CLASSES, Case


class Balance(HTMLParser):
    """Fails on an end tag that closes nothing, and keeps what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def checked(html: str) -> Balance:
    parser = Balance()
    parser.feed(html)
    assert not parser.open
    assert "script" not in parser.seen
    return parser


def test_the_fragment_is_well_formed_and_runs_nothing(binary: Case) -> None:
    checked(as_html(binary.diagnosis))


def test_a_hundred_classes_are_folded(many: Case) -> None:
    html = as_html(many.diagnosis)
    checked(html)
    assert html.count('<div class="finding') < CLASSES / 4
    assert len(html) < 300_000


def test_user_text_is_escaped(binary: Case) -> None:
    html = as_html(binary.diagnosis)
    assert "<script>document" not in html
    assert escape("<script>document.title='taken'</script>") in html


@pytest.mark.parametrize(
    ("diagnosis", "expected"),
    [
        (Diagnosis(), "Nothing was examined"),
        (Diagnosis(healthy=(Examined("IMB001", "nonfinite-scores", "a"),)), "Nothing wrong"),
        (Diagnosis(skipped=(Examined("IMB001", "nonfinite-scores", "a", "no <b>"),)), "no &lt;b&gt;"),
    ],
)
def test_every_state_has_words(diagnosis: Diagnosis, expected: str) -> None:
    html = as_html(diagnosis)
    checked(html)
    assert expected in html


def test_jupyter_finds_it(binary: Case) -> None:
    assert binary.diagnosis._repr_html_() == as_html(binary.diagnosis)
