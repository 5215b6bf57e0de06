"""A margin lets through what it should, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clinic.margin import SEEDS, hold, limit, on_each_seed, planted_on


def test_no_more_trials_are_made_than_it_takes() -> None:
    made = []

    def trials() -> Iterator[str]:
        for complaint in ("", "late", "", "late"):
            made.append(complaint)
            yield complaint

    hold(2, trials())
    assert made == ["", "late", ""]


def test_too_few_good_runs_fail_and_say_what_was_wrong() -> None:
    with pytest.raises(
        pytest.fail.Exception, match="expected 2 good runs, got 1 of 4: late; good; late; never"
    ):
        hold(2, ["late", "", "late", "never"])


@pytest.mark.parametrize(("trials", "rate"), [(10, 0.02), (60, 0.02), (170, 0.01)])
def test_runs_as_they_should_be_pass_the_limit_once_in_a_thousand_times(trials: int, rate: float) -> None:
    def passed(allowed: int) -> float:
        """One minus the sum of the binomial probabilities."""
        kept, term = 0.0, (1.0 - rate) ** trials
        for wrong in range(allowed + 1):
            kept += term
            term *= (trials - wrong) / (wrong + 1) * rate / (1.0 - rate)
        return 1.0 - kept

    allowed = limit(trials, rate)
    assert passed(allowed) <= 1e-3 < passed(allowed - 1)


def test_a_fault_is_planted_on_each_seed() -> None:
    case = planted_on(SEEDS[0])[0]
    assert [each.sick.seed for each in on_each_seed(case)] == list(SEEDS)
    assert {each.name for each in on_each_seed(case)} == {case.name}
