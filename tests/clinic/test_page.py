"""The page of the clinic: what it must name, and the figures that it is made of."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest

from imbalance_doctor.rules import find_rule, rule_types
from tests.clinic.__main__ import PAGE, main
from tests.clinic.baselines import imbalanced, plateaus, spikes
from tests.clinic.catalogue import bce, planted, smooth_ap
from tests.clinic.clinic import ClinicRun, train
from tests.clinic.families import HELD_OUT
from tests.clinic.remedies import BY_HAND, FROM_THE_START, NOT_APPLIED, UNDONE, attempts
from tests.clinic.score import Share, Trial, causes, spoken
from tests.clinic.symptoms import ROWS

CODES = {rule.code for rule in rule_types()}
#: A rule may be newer than the clinic's faults: it then waits for one, and is listed as not yet measured.
PLANTED = {case.code for case in planted(0)}


def test_the_page_names_every_planted_fault_and_how_it_was_made() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [code for code in sorted(PLANTED) if f"| {code} |" not in page] == []
    assert "python -m tests.clinic" in page
    assert "make docs PAGES=clinic" in page


def test_every_planted_fault_has_a_rule() -> None:
    assert PLANTED <= CODES


@pytest.mark.parametrize("code", sorted(CODES - PLANTED))
def test_a_rule_that_is_not_yet_measured_is_a_warning_at_most(code: str) -> None:
    rule = find_rule(code)
    cases = importlib.import_module(f"tests.rules.cases.{rule.name.replace('-', '_')}").CASES
    assert "error" not in {rule.severity, *(case.expect for case in cases)}


def test_held_out_families_see_every_fault() -> None:
    assert PLANTED - {case.code for case in planted(0, HELD_OUT)} == set()


def test_every_name_of_a_case_is_its_own() -> None:
    names = [case.name for case in (*planted(0), *planted(0, HELD_OUT))]
    assert len(names) == len(set(names))


def test_tables_name_rules_that_exist() -> None:
    assert set(BY_HAND) | set(UNDONE) | set(NOT_APPLIED) <= CODES
    assert {code for row in ROWS for code in row.codes} <= CODES
    assert len(ROWS) == 13
    assert {row.verdict for row in ROWS} == {"holds", "in part", "does not hold"}


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Wilson's interval as statsmodels.stats.proportion.proportion_confint(..., method="wilson") gives it.
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (95, 100, 0.8882, 0.9785)],
)
def test_intervals_are_wilsons(hits: int, trials: int, low: float, high: float) -> None:
    assert Share(hits, trials).interval == pytest.approx((low, high), abs=1e-3)


def test_nothing_has_no_share() -> None:
    assert math.isnan(Share(0, 0).value)
    assert str(Share(0, 0)) == "-"


def test_a_plateau_is_a_loss_that_gets_no_better_in_ten_steps() -> None:
    falling = [0.9**step for step in range(50)]
    assert not plateaus(falling)
    assert plateaus([*falling, *[falling[-1]] * 11])
    assert not plateaus(falling[:10])


def test_a_spike_is_a_loss_that_doubles() -> None:
    assert spikes([1.0] * 20 + [2.1])
    assert not spikes([1.0] * 20 + [1.9])


def test_a_ratio_above_ten_is_imbalanced() -> None:
    run = ClinicRun(bce())
    assert imbalanced(run.but(rate=0.05))
    assert not imbalanced(run.but(rate=0.1))
    assert imbalanced(run.but(rate=(0.8, 0.15, 0.05)))


def test_a_prescription_is_applied_from_the_start_and_mid_run() -> None:
    case = next(case for case in planted(1) if case.code == "IMB003")
    sick = train(case.sick)
    trial = Trial(case, sick, sick)
    assert trial.found
    assert trial.first
    assert trial.delay == sick.first_step("IMB003")
    tried = {attempt.when: attempt for attempt in attempts(trial)}
    fresh = tried[FROM_THE_START].run.loss(1)
    (prescription,) = {f.prescription["to"] for f in sick.opened if f.code == "IMB003" and f.prescription}
    assert fresh.config()["queue_size"] == prescription  # type: ignore[operator]
    treated = train(tried["mid-run"].run)
    assert [(t.code, t.parameter) for t in treated.treatments] == [("IMB003", "queue_size")]


def test_what_is_information_by_nature_counts_as_spoken() -> None:
    outcome = train(ClinicRun(smooth_ap(), rate=0.4, steps=60))
    assert spoken(outcome) == ["IMB205"]
    assert causes(outcome) == []


@pytest.mark.slow
def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clinic.md"
    main(["--first-seed", "1", "--seeds", "1", "--healthy", "3", "--codes", "IMB406", "--out", str(out)])
    page = out.read_text(encoding="utf-8")
    assert "| IMB406 | raw-logit-temperature | " in page
    assert "`temperature` as prescribed" in page
    captured = capsys.readouterr()
    assert "planted faults and twins: 10 of 10" in captured.out
    assert "3 ordinary runs" in captured.err
