"""What holds for every rule, and every rule's cases."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import string
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args

import numpy as np
import pytest

from imbalance_doctor.examine.checkup import Checkup
from imbalance_doctor.findings import SEVERITIES, Severity, Skipped
from imbalance_doctor.records import RunInfo
from imbalance_doctor.rules import all_rules, find_rule, rule_page, rule_types
from imbalance_doctor.rules.base import ANY, Evidence, Rule
from imbalance_doctor.rules.gate import unready
from imbalance_doctor.statistics import STATISTICS
from tests.rules.cases import Case, counts

SECTIONS = ("Symptom", "Cause", "Remedy", "Evidence", "Known problems", "References")
RULES = [pytest.param(rule, id=rule.code) for rule in rule_types()]


def page_sections(rule: type[Rule]) -> dict[str, str]:
    """A rule's page, by section title; its one-line verdict is under the empty title.

    Empty where Python runs without docstrings (``-OO``).
    """
    sections: dict[str, str] = {}
    title, lines = "", list[str]()
    for line in (inspect.getdoc(rule) or "").splitlines():
        if line.startswith("## "):
            sections[title] = "\n".join(lines).strip()
            title, lines = line[3:].strip(), []
        else:
            lines.append(line)
    if rule.__doc__:
        sections[title] = "\n".join(lines).strip()
    return sections


def module_name(rule: type[Rule]) -> str:
    return rule.name.replace("-", "_")


def cases_of(rule: type[Rule]) -> list[Case]:
    return list(importlib.import_module(f"tests.rules.cases.{module_name(rule)}").CASES)


CASES = [
    pytest.param(rule, case, id=f"{rule.code}-{case.name.replace(' ', '-')}")
    for rule in rule_types()
    for case in cases_of(rule)
]


@pytest.mark.parametrize(("rule", "case"), CASES)
def test_case(rule: type[Rule], case: Case) -> None:
    window = case.window()
    held_up = unready(rule, window)
    assert held_up is None or held_up.cause in ("records", "evaluation"), held_up.reason
    verdict = rule().examine(window)
    if case.expect == "skipped" or isinstance(verdict, Skipped):
        assert isinstance(verdict, Skipped), list(verdict)
        assert case.expect in ("skipped", None)
        return
    evidence = list(verdict)
    if case.expect is None:
        assert evidence == []
        return
    assert [item.class_index for item in evidence] == list(case.classes)
    assert {item.severity or rule.severity for item in evidence} == {case.expect}
    if case.prescribes is not None:
        assert evidence[0].prescription is not None
        assert {**evidence[0].prescription, **case.prescribes} == dict(evidence[0].prescription)


POOLS = [
    pytest.param(kind, options, rate, declared, id=f"{kind}-{options}-{rate}-{declared}")
    for kind, settings in (
        ("smooth_ap", ({},)),
        ("recall_at_quantile", ({"quantile": 0.002}, {"quantile": 0.03})),
        ("pauc_at_budget", ({"beta": 0.002, "alpha": 0.0001}, {"beta": 0.02, "budget_basis": "population"})),
    )
    for options in settings
    for rate in (0.001, 0.02, 0.3)
    for declared in (None, 0.0005, 0.05)
]


@pytest.mark.parametrize(("kind", "options", "rate", "declared"), POOLS)
def test_no_prescription_shrinks_the_queue(
    kind: str, options: dict[str, float], rate: float, declared: float | None
) -> None:
    """Over pools of every size, with a cap and without, evenly filled and in stretches."""
    for queue in (0, 128, 4096):
        for cap in (None, 64, 1000):
            for every in (1, 5):  # records that hold all of the positives, one in so many
                rows = min(256 + queue, cap or 256 + queue)
                share = min(every * rate, 1.0)
                stats = counts(
                    positives=lambda n, r=rows, e=every, s=share: round(r * s) * (n % e == 0),
                    live=lambda n, e=every, s=share: round(256 * s) * (n % e == 0),
                    pool=rows, queue_fill=1.0, band_neg_count=rows * 0.002, iid_neg_count=rows * (1 - rate),
                    threshold=lambda n: float(n % 2), t_beta=lambda n: float(n % 2),
                    score_iqr=1.0, tau_eff=0.1,
                    per_class_loss=lambda n: 0.5 + 0.3 * (n % 2),
                )  # fmt: skip
                config = {"queue_size": queue, "max_pool_size": cap, **options}
                case = Case(
                    "", "sick", kind, stats, None, config, 40, run={"population_positive_rate": declared}
                )
                for code in POOL_RULES:
                    rule = find_rule(code)
                    if kind in rule.kinds:
                        _grows(rule, case)


#: Rules that read the size of the pool.
POOL_RULES = ("IMB002", "IMB003", "IMB203", "IMB204", "IMB303", "IMB304", "IMB401", "IMB407")


def _grows(rule: type[Rule], case: Case) -> None:
    window = case.window()
    verdict = rule().examine(window)
    for item in [] if isinstance(verdict, Skipped) else verdict:
        if "queue_size" in (item.remedy or rule.remedy):
            assert "queue_size" not in item.values or item.values["queue_size"] > case.config["queue_size"]
        change = item.prescription or {}
        if change.get("parameter") == "queue_size" and "to" in change:
            assert change["to"] > change["from"] == (case.config.get("queue_size") or 0)
        if change.get("parameter") == "max_pool_size" and change["to"] is not None:
            assert change["to"] > change["from"]


@pytest.mark.parametrize(("rule", "case"), [p for p in CASES if p.values[1].expect not in (None, "skipped")])
def test_no_case_shrinks_the_queue(rule: type[Rule], case: Case) -> None:
    _grows(rule, case)


@pytest.mark.parametrize(("rule", "case"), [p for p in CASES if p.values[1].sort == "sick"])
def test_a_sick_window_becomes_a_finding_that_reads_well(rule: type[Rule], case: Case) -> None:
    checkup = Checkup(RunInfo(every=case.every, **case.run), [rule()])
    history = case.history()
    checkup.history = history
    window = next(iter(history.windows()))
    found = checkup._examine(window, checkup._all)
    assert not checkup.failed
    assert found
    for text in (found[0].symptom, found[0].cause, found[0].remedy):
        setting = {"_", "="} & set(text.split()[0])  # settings are spelled as they are
        assert setting or text[0].isupper() or not text[0].isalpha()
        assert text.endswith(".")
        assert "nan" not in text.split()
        assert "{" not in text
        assert "  " not in text


#: Records of which one statistic is nan.
WHERE = {
    "all": lambda number, records: True,
    "every other": lambda number, records: bool(number % 2),
    "the newest": lambda number, records: number == records - 1,
}


def _without(value: Any, where: Callable[[int, int], bool], records: int) -> Callable[[int], Any]:
    """A statistic with nan in place of its numbers in some records."""

    def given(number: int) -> Any:
        was = value(number) if callable(value) else value
        if was is None or not where(number, records):
            return was
        shape = np.shape(was) or (1,)
        return np.full(shape, np.nan).tolist() if np.ndim(was) else math.nan

    return given


@pytest.mark.parametrize(("rule", "case"), [p for p in CASES if p.values[1].sort == "sick"])
def test_no_text_says_nan_whatever_statistic_is_nan(rule: type[Rule], case: Case) -> None:
    for name, value in case.stats.items():
        for where in WHERE.values():
            stats = {**case.stats, name: _without(value, where, case.records)}
            checkup = Checkup(RunInfo(every=case.every, **case.run), [rule()])
            checkup.history = replace(case, stats=stats).history()
            for window in checkup.history.windows():
                checkup._examine(window, checkup._all)
            assert not checkup.failed, name
            diagnosis = checkup.diagnosis()
            said = [
                text
                for finding in diagnosis.findings
                for text in (finding.symptom, finding.cause, finding.remedy)
            ]
            said += [item.skipped or "" for item in diagnosis.skipped]
            assert not [text for text in said if re.search(r"\b(nan|inf)\b", text)], name
            numbers = [number for finding in diagnosis.findings for number in finding.evidence.values()]
            assert all(map(math.isfinite, numbers)), name


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_sick_a_healthy_and_a_borderline_case(rule: type[Rule]) -> None:
    assert {case.sort for case in cases_of(rule)} == {"sick", "healthy", "borderline"}
    assert any(case.expect not in (None, "skipped") for case in cases_of(rule) if case.sort == "sick")


@pytest.mark.parametrize("rule", RULES)
def test_page_has_all_sections_in_order(rule: type[Rule]) -> None:
    sections = page_sections(rule)
    assert tuple(sections) == ("", *SECTIONS)
    assert all(text.strip() for text in sections.values())
    verdict_line = sections[""].strip()
    assert "\n" not in verdict_line
    assert verdict_line.endswith(".")


@pytest.mark.parametrize("rule", RULES)
def test_names_are_public_and_well_formed(rule: type[Rule]) -> None:
    assert re.fullmatch(r"IMB\d{3}", rule.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
    assert rule.__module__.rpartition(".")[2] == module_name(rule)
    assert rule.severity in get_args(Severity)
    assert rule.kinds <= ANY | {"warmup_wrapper"}
    assert find_rule(rule.code) is find_rule(rule.name) is rule
    assert rule.code not in rule.explained_by


@pytest.mark.parametrize("rule", RULES)
def test_fields_are_thresholds_with_a_reason_or_rules_that_it_builds_on(rule: type[Rule]) -> None:
    assert is_dataclass(rule)
    assert rule() == rule()
    thresholds = {each.name: each for each in rule.thresholds()}
    others = [f.name for f in fields(rule) if f.name not in thresholds]
    assert not [name for name in others if not isinstance(getattr(rule(), name), Rule)]
    for name, each in thresholds.items():
        assert isinstance(each.default, {"int": int, "float": float}[each.type]), name
        assert getattr(rule(), name) == each.default
        assert len(each.why.split()) > 5, name  # what it is, and why it is this number
        assert each.why.endswith("."), name
        assert "  " not in each.why, name
        assert "evidence" not in each.why.lower(), name  # the number is here, and not elsewhere


@pytest.mark.parametrize("rule", RULES)
def test_a_page_ends_with_the_thresholds(rule: type[Rule]) -> None:
    _, heading, listed = rule_page(rule).partition("\n## Thresholds\n")
    assert bool(heading) == bool(rule.thresholds())
    said = " ".join(listed.split())
    for each in rule.thresholds():
        assert f"- `{each.name}` = {each.default:g}: {each.why}" in said


@pytest.mark.parametrize("rule", RULES)
def test_required_statistics_are_in_the_catalogue(rule: type[Rule]) -> None:
    assert set(rule.requires) <= set(STATISTICS)


@pytest.mark.parametrize("rule", RULES)
def test_texts_are_templates(rule: type[Rule]) -> None:
    for template in (rule.symptom, rule.cause, rule.remedy):
        assert [*string.Formatter().parse(template)]
        assert template.endswith(".")


def test_explanations_name_rules_that_exist() -> None:
    codes = {rule.code for rule in rule_types()}
    missing = {
        (rule.code, other) for rule in rule_types() for other in rule.explained_by if other not in codes
    }
    assert not missing


def test_a_code_claimed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original = rule_types()[0]
    clone = type("Clone", (Rule,), {**_public(original), "__module__": original.__module__})
    rule_types.cache_clear()
    try:
        with pytest.raises(ImportError, match=original.code):
            rule_types()
    finally:
        clone.__module__ = __name__  # out of the catalogue again, for as long as the class lives
        rule_types.cache_clear()
    assert original in rule_types()


def _public(rule: type[Rule]) -> dict[str, object]:
    return {
        name: getattr(rule, name) for name in ("code", "name", "severity", "kinds", "requires", "examine")
    }


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="no-such-rule"):
        find_rule("no-such-rule")


def test_rules_are_ordered_by_code() -> None:
    codes = [rule.code for rule in all_rules()]
    assert codes == sorted(codes)
    assert SEVERITIES == ("info", "warning", "error")
    assert Evidence({}).class_index is None
