"""Formats that other programs read: Markdown, JUnit, SARIF, GitHub's workflow commands."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest

from imbalance_doctor.findings import Diagnosis, Examined, Failed
from imbalance_doctor.render.exchange.github import as_github
from imbalance_doctor.render.exchange.junit import as_junit
from imbalance_doctor.render.exchange.markdown import as_markdown
from imbalance_doctor.render.exchange.sarif import as_sarif
from imbalance_doctor.render.grouping import verdict

from .conftest import HOSTILE, Case


@pytest.fixture(params=["binary", "many"])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.getfixturevalue(request.param)
    return found


def test_markdown_has_every_open_fault_and_no_markup_of_the_users(case: Case) -> None:
    page = as_markdown(case.diagnosis)
    for finding in case.diagnosis.open:
        assert finding.code in page
    assert "<script>" not in page.replace("\\<", "")
    assert "\x1b" not in page
    for line in page.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3, line
    assert "Not examined, which is not the same as healthy" in page or not case.diagnosis.skipped


def test_junit_counts_what_it_holds(case: Case) -> None:
    suite = Xml.fromstring(as_junit(case.diagnosis))
    cases = suite.findall("testcase")
    assert int(suite.get("tests", "")) == len(cases)
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
    assert (
        int(suite.get("skipped", "")) == len(case.diagnosis.skipped) == len(suite.findall("testcase/skipped"))
    )
    failed = {element.get("name", "").split()[0] for element in cases if element.find("failure") is not None}
    assert failed == {f.code for f in case.diagnosis.open if f.severity != "info"}
    text = "".join(suite.itertext())
    for finding in case.diagnosis.open:  # every class, though a fault is one case
        assert finding.remedy.replace(HOSTILE, "")[:40] in text


def test_sarif_results_point_at_the_rules_that_were_asked(case: Case) -> None:
    log = json.loads(as_sarif(case.diagnosis))
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    asked = (*case.diagnosis.findings, *case.diagnosis.healthy, *case.diagnosis.skipped)
    assert [rule["id"] for rule in rules] == sorted({item.code for item in asked})
    assert len(run["results"]) == len(case.diagnosis.open)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    prints = [result["partialFingerprints"]["fault/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_github_commands_are_one_line_each_and_escaped(case: Case) -> None:
    lines = as_github(case.diagnosis).splitlines()
    commands = [line for line in lines if line.startswith("::")]
    assert len(commands) == len(lines) - 1
    for line in commands:
        match = re.fullmatch(r"::(error|warning|notice) title=([^:,]+)::(.+)", line)
        assert match, line
        assert not re.search(r"%(?!25|3A|2C|0A|0D)", line)


@pytest.mark.parametrize("render", [as_markdown, as_junit, as_sarif, as_github])
def test_an_empty_diagnosis_is_shown(render) -> None:  # type: ignore[no-untyped-def]
    assert render(Diagnosis()).strip()


def test_resolved_findings_fail_nothing(binary: Case) -> None:
    resolved = tuple(replace(f, status="resolved") for f in binary.diagnosis.findings)
    diagnosis = replace(binary.diagnosis, findings=resolved)
    assert Xml.fromstring(as_junit(diagnosis)).get("failures") == "0"
    assert json.loads(as_sarif(diagnosis))["runs"][0]["results"] == []
    assert "::" not in as_github(diagnosis)
    assert "## Resolved" in as_markdown(diagnosis)


def test_rules_that_failed_are_no_health_in_any_format() -> None:
    healthy = Diagnosis(healthy=(Examined("IMB001", "nonfinite-scores", "smooth_ap"),))
    failed = replace(healthy, failed=(Failed("IMB005", "KeyError: 'x'"),))
    assert verdict(failed) == f"{verdict(healthy)}; 1 rule failed and may hide more"
    for render in (as_markdown, as_github):
        assert "1 rule failed" in render(failed)
    suite = Xml.fromstring(as_junit(failed))
    assert suite.get("errors") == "1"
    assert [case.get("name") for case in suite if case.find("error") is not None] == ["IMB005"]
