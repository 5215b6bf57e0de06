"""Some trials of each kind; ``python -m tests.promise`` makes many."""

from __future__ import annotations

import random

import pytest

from tests.promise import failures, interrupts, kills
from tests.promise.runs import LOSSES

#: Trials of a kind, by what they take: an interrupted run a third of a second, a killed one some seconds.
INTERRUPTS, FUNCTIONS, KILLS = 24, 30, 4


def told(results):
    return [fault for result in results for fault in result.faults]


def test_an_exception_from_outside_passes_and_leaves_the_monitor_whole():
    assert not told(interrupts.trials(INTERRUPTS, seed=random.randrange(10**6)))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_failure_in_any_function_of_ours_leaves_training_as_it_was(loss):
    assert not told([failures.trials_of(loss, FUNCTIONS // len(LOSSES), seed=random.randrange(10**6))])


@pytest.mark.slow
def test_what_was_due_two_seconds_before_a_kill_is_on_disk():
    assert not told(kills.trials(KILLS, seed=random.randrange(10**6)))


def test_the_trials_can_fail(monkeypatch):
    # The monitor as it would be if it went on from what an interruption has left half done.
    monkeypatch.setattr("imbalance_doctor.live.boundary.Turns._next", lambda self, refusals, work: work())
    assert any(told(interrupts.trials(3, seed=seed)) for seed in range(30))
