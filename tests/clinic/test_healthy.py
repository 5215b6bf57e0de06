"""Healthy trainings are left alone: the twins of planted faults, and ordinary runs."""

from __future__ import annotations

import pytest

from tests.clinic.catalogue import Planted
from tests.clinic.clinic import ClinicRun
from tests.clinic.healthy import binary_runs, multiclass_runs
from tests.clinic.margin import FAST_FAMILY, SEEDS, faults, hold, limit, on_each_seed, planted_on, watched
from tests.clinic.score import causes


def said(run: ClinicRun) -> str:
    """Codes at warning or above that nothing else explains."""
    return " ".join(causes(watched(run)))


@pytest.mark.parametrize("case", faults())
def test_no_healthy_twin_is_suspected_on_every_seed(case: Planted) -> None:
    hold(1, (said(each.healthy) for each in on_each_seed(case)))


#: Share of healthy runs with a finding at warning or above.
RATE = 0.02

TWINS = [(f"twin of {case.name}", case.healthy) for case in planted_on(SEEDS[0])]
ORDINARY = [*binary_runs(48, SEEDS[0]), *multiclass_runs(12, SEEDS[0])]
FAST = [*(twin for twin in TWINS if twin[1].family == FAST_FAMILY), *ORDINARY[::6]]
SLOW = [*(twin for twin in TWINS if twin[1].family != FAST_FAMILY), *ORDINARY]


@pytest.mark.parametrize("runs", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["fast", "slow"])
def test_few_healthy_runs_have_a_finding_at_warning_or_above(runs: list[tuple[str, ClinicRun]]) -> None:
    distinct = {run: name for name, run in runs}
    suspected = {name: codes for run, name in distinct.items() if (codes := said(run))}
    assert len(suspected) <= limit(len(distinct), RATE), suspected
