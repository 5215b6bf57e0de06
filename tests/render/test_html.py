from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.log.run import Run
from imbalance_doctor.records import RunInfo, StepRecord, WatchRecord
from imbalance_doctor.render import panels
from imbalance_doctor.render.page.html import MOST_CLASSES, as_page, page_data
from imbalance_doctor.statistics import STATISTICS

from .conftest import CLASSES, Case

PLOTLY_BYTES = 5_000_000
MEGABYTE = 1_000_000


def test_every_statistic_that_is_drawn_is_one_that_is_recorded() -> None:
    names = {key.split(".")[0] for key in panels.keys("loss")}
    assert names <= STATISTICS.keys()


def test_the_page_asks_nothing_of_the_network(binary: Case) -> None:
    page = as_page(binary.diagnosis, binary.run)
    assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)=["']?(https?:)?//""", page)


def test_user_text_cannot_leave_its_place(binary: Case) -> None:
    page = as_page(binary.diagnosis, binary.run)
    assert "<script>document.title" not in page
    assert "&lt;script&gt;document.title" in page
    assert "\\u003cscript>document.title" in page


def test_long_runs_stay_small(binary: Case) -> None:
    records = long_run(binary.run, 100_000)
    page = as_page(binary.diagnosis, replace(binary.run, records=records))
    assert len(page) < PLOTLY_BYTES + MEGABYTE


def long_run(run: Run, steps: int) -> list[StepRecord]:
    """The records of a run, over and over, one in ten steps."""
    originals = run.steps("pauc_at_budget")
    return [replace(originals[i % len(originals)], step=10 * i) for i in range(steps // 10)]


def test_many_classes_stay_small(many: Case) -> None:
    page = as_page(many.diagnosis, many.run)
    assert len(page) < PLOTLY_BYTES + 5 * MEGABYTE


def test_classes_beyond_the_limit_are_counted(many: Case) -> None:
    wide = [
        replace(r, stats={k: v.repeat(3, 0) if v.ndim else v for k, v in r.stats.items()})
        for r in many.run.steps()
    ]
    data = page_data(many.diagnosis, replace(many.run, records=wide))
    (loss,) = data["losses"]
    assert len(loss["classes"]) == MOST_CLASSES
    assert f"{3 * CLASSES} classes" in loss["left_out"]


def test_classes_with_findings_come_first(many: Case) -> None:
    (loss,) = page_data(many.diagnosis, many.run)["losses"]
    ranks = [{None: 0, "info": 1, "warning": 2, "error": 3}[c["worst"]] for c in loss["classes"]]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] > 0


def test_data_is_json_even_where_numbers_are_not(binary: Case) -> None:
    page = as_page(binary.diagnosis, binary.run)
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert data is not None

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(data.group(1), parse_constant=refuse)


# --- in a browser ---------------------------------------------------------------------------------------

Opener = Callable[..., Any]


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Opener]:
    """Opens a report from disk without a network; fails on anything that the console has to say."""
    complaints: list[str] = []
    contexts = []

    def opener(diagnosis: Diagnosis, run: Run, width: int = 1280) -> Any:
        path = tmp_path / "report.html"
        path.write_text(as_page(diagnosis, run), encoding="utf-8")
        context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:", "blob:"))
                else complaints.append(f"asked for {request.url}"))  # fmt: skip
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        page.wait_for_timeout(300)
        return page

    yield opener
    for context in contexts:
        context.close()
    assert complaints == []


DRAWN = """() => [...document.querySelectorAll('.plot')].map((plot) => ({
  id: plot.id,
  traces: plot.data.filter((t) => t.y.some((v) => v !== null)).length,
  paths: plot.querySelectorAll('.scatterlayer .trace path').length,
  titles: [...plot.querySelectorAll('.xtitle, [class^=x][class$=title]')].map((e) => e.textContent),
}))"""


def check_panels(page: Any) -> dict[str, Any]:
    drawn = {entry["id"]: entry for entry in page.evaluate(DRAWN)}
    for name, entry in drawn.items():
        assert entry["traces"] > 0, f"{name} has no data"
        assert entry["paths"] > 0, f"{name} shows nothing"
        assert any(entry["titles"]), f"{name} has no label on its x axis"
    return drawn


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 480])
def test_every_panel_shows_something_or_says_why_not(binary: Case, open_page: Opener, width: int) -> None:
    page = open_page(binary.diagnosis, binary.run, width)
    drawn = check_panels(page)
    expected = {"loss", "validation", "thresholds", "positives", "temperature", "band", "queue", "logged"}
    assert {f"panel-{name}" for name in expected | {"histograms", "timeline"}} <= drawn.keys()
    assert "Predicted probabilities: Only likelihood losses" in page.inner_text("#absent")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "taken"


INJECT = """() => {
  const script = document.createElement('script');
  script.textContent = "document.title = 'taken'";
  document.body.append(script);
  document.body.insertAdjacentHTML('beforeend', `<img src="data:," onerror="document.title = 'taken'">`);
}"""


@pytest.mark.browser
def test_no_script_but_the_pages_own_would_run(binary: Case, chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(as_page(binary.diagnosis, binary.run), encoding="utf-8")
    for policy in (True, False):  # without the policy they do run, so that this shows something
        context = chromium.new_context(offline=True, bypass_csp=not policy)
        page = context.new_page()
        page.goto(path.as_uri())
        page.evaluate(INJECT)
        page.wait_for_timeout(300)
        assert (page.title() == "taken") is not policy
        context.close()


def twins(binary: Case) -> Case:
    """The run with a second loss whose name looks the same."""
    other = "pauc_at_budget\u200d"
    again = [replace(r, loss=other) for r in binary.run.steps("pauc_at_budget")]
    findings = tuple(replace(f, loss=other) for f in binary.diagnosis.findings if f.loss == "pauc_at_budget")
    run = replace(binary.run, records=[*binary.run.records, *again])
    return Case(run, replace(binary.diagnosis, findings=findings))


@pytest.mark.browser
def test_a_button_shows_the_panels_of_its_own_loss(binary: Case, open_page: Opener) -> None:
    case = twins(binary)
    page = open_page(case.diagnosis, case.run)
    page.locator("button.show").first.click()
    assert page.locator("#choose-loss option:checked").inner_text().startswith("pauc_at_budget (2)")


@pytest.mark.browser
def test_findings_and_treatments_are_marked(binary: Case, open_page: Opener) -> None:
    page = open_page(binary.diagnosis, binary.run)
    layout = page.evaluate("document.getElementById('panel-loss').layout")
    marked = {shape["x0"] for shape in layout["shapes"]}
    wanted = {f.step for f in binary.diagnosis.findings if f.loss == "pauc_at_budget"}
    assert wanted | {t.step for t in binary.run.treatments} <= marked
    assert any("treated" in label["text"] for label in layout["annotations"])


@pytest.mark.browser
def test_another_loss_has_its_own_panels(binary: Case, open_page: Opener) -> None:
    page = open_page(binary.diagnosis, binary.run)
    page.select_option("#choose-loss", label="bce")
    drawn = check_panels(page)
    assert "panel-probabilities" in drawn
    assert "panel-band" not in drawn
    assert "This loss has no threshold" in page.inner_text("#grid")
    assert "This loss has no temperature." in page.inner_text("#absent")


@pytest.mark.browser
def test_a_hundred_classes_are_chosen_from(many: Case, open_page: Opener) -> None:
    page = open_page(many.diagnosis, many.run)
    assert "panel-overview" in check_panels(page)
    assert page.locator("#choose-class option").count() == CLASSES
    assert (
        page.evaluate("Math.max(...[...document.querySelectorAll('.plot')].map((p) => p.data.length))") < 20
    )
    page.select_option("#choose-class", index=CLASSES - 1)
    check_panels(page)
    finding = next(f for f in many.diagnosis.open if not f.explained_by and f.class_index is not None)
    page.locator("button.show").first.click()
    assert str(finding.class_index) in page.locator("#choose-class option:checked").inner_text()


@pytest.mark.browser
def test_a_run_without_records_says_so(open_page: Opener) -> None:
    page = open_page(Diagnosis(), Run(RunInfo(), []))
    assert "nothing to draw" in page.inner_text("#absent")
    assert "Nothing was examined" in page.inner_text("header")


@pytest.mark.browser
def test_a_loss_that_reports_little_is_drawn_as_far_as_it_goes(binary: Case, open_page: Opener) -> None:
    short = [r for r in binary.run.records if isinstance(r, WatchRecord)]
    short += [StepRecord(r.step, r.loss, {"loss": r.stats["loss"]}) for r in binary.run.steps("bce")]  # type: ignore[misc]
    page = open_page(Diagnosis(), Run(RunInfo(), [r for r in short if getattr(r, "loss", "") == "bce"]))
    assert set(check_panels(page)) == {"panel-loss"}
    assert page.locator("#absent li").count() >= 6
