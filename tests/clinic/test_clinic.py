"""Real trainings: planted faults are found in time, and their healthy twins are left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clinic.catalogue import Planted, planted
from tests.clinic.clinic import ClinicRun, train
from tests.clinic.healthy import binary_runs, multiclass_runs
from tests.clinic.score import causes

#: No threshold was set by looking at runs of this seed.
SEED = 41

#: One family of each fault runs every time, the others with the slow tests.
FAST_FAMILY = "gaussian"


def cases() -> Iterator[object]:
    for case in planted(SEED):
        marks = [] if case.sick.family == FAST_FAMILY else [pytest.mark.slow]
        yield pytest.param(case, id=case.name, marks=marks)


def runs() -> Iterator[object]:
    for number, (name, run) in enumerate([*binary_runs(48, SEED), *multiclass_runs(12, SEED)]):
        marks = [] if number % 6 == 0 else [pytest.mark.slow]
        yield pytest.param(run, id=name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize("case", list(cases()))
def test_a_planted_fault_is_found_in_time_and_its_twin_is_healthy(case: Planted) -> None:
    sick = train(case.sick)
    first = sick.first_step(case.code)
    assert first is not None, f"found only {sick.codes('info')}"
    assert first <= case.by
    assert not {*causes(sick)} - {case.code, *case.also}
    assert sick.afterwards == sick.diagnosis.findings
    healthy = train(case.healthy)
    assert causes(healthy) == []
    assert healthy.afterwards == healthy.diagnosis.findings


@pytest.mark.parametrize("run", list(runs()))
def test_an_ordinary_run_has_no_finding_at_warning_or_above(run: ClinicRun) -> None:
    outcome = train(run)
    assert causes(outcome) == [], [finding.headline() for finding in outcome.diagnosis.findings]
    assert outcome.afterwards == outcome.diagnosis.findings
