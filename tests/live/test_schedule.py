"""Which steps leave a record, and what a record holds."""

import numpy as np
import pytest

from imbalance_doctor.examine.checkup import is_look
from imbalance_doctor.live.listening.schedule import CLOSE_RECORDS, Schedule
from losses.diagnostics.listening import Detail


def plan(steps, every=10, total_steps=None, start=0):
    """The steps that leave a record, and the detail of each."""
    schedule, taken = Schedule(every, total_steps, start), {}
    while schedule.due < steps:
        taken[schedule.due] = schedule.detail
        schedule.recorded(schedule.due)
    return taken


def test_records_are_close_at_first_and_then_grow_apart_with_the_run():
    steps = list(plan(200_000))
    gaps = np.diff(steps)
    assert steps[:20] == list(range(0, 200, 10))
    assert (np.diff(gaps) >= 0).all()
    assert gaps[-1] == 200
    # Never by more than a fifth of the run so far, nor by more than twenty times `every`.
    assert (gaps <= np.clip(0.2 * np.array(steps[1:]), 10, 200)).all()


@pytest.mark.parametrize(("steps", "most"), [(2_000, 70), (20_000, 205), (100_000, 610), (1_000_000, 5_200)])
def test_a_run_has_a_bounded_number_of_records(steps, most):
    assert len(plan(steps)) <= most


def test_whoever_asks_for_every_step_gets_every_step():
    assert list(plan(3_000, every=1)) == list(range(3_000))


def test_scores_are_taken_when_the_rules_are_asked():
    details = list(plan(20_000, total_steps=20_000).values())
    scored = [number for number, detail in enumerate(details, start=1) if detail >= Detail.SCORES]
    assert scored == [number for number in range(1, len(details) + 1) if is_look(number)]
    assert scored[:6] == [1, 3, 5, 10, 15, 20]


@pytest.mark.parametrize("total", [None, 300, 5_000, 100_000])
def test_histograms_are_in_the_first_record_and_never_too_many(total):
    details = list(plan(total or 20_000, total_steps=total).values())
    assert details[0] is Detail.HISTOGRAMS
    assert 3 <= details.count(Detail.HISTOGRAMS) <= 41


def test_a_restart_brings_close_records_back():
    schedule = Schedule(10, None)
    for _ in range(300):
        schedule.recorded(schedule.due)
    before = schedule.due
    schedule.restart(before - 155)
    assert schedule.due == before - 150
    assert schedule.detail >= Detail.SCORES
    schedule.recorded(schedule.due)
    assert schedule.due == before - 140


def test_many_classes_make_records_rarer():
    schedule = Schedule(10, None)
    schedule.recorded(schedule.due)
    assert not schedule.widen(200)
    assert schedule.widen(1_000)
    assert schedule.due == 50
    schedule.recorded(schedule.due)
    assert schedule.due == 100


def test_a_loss_that_is_watched_late_is_recorded_on_the_same_grid():
    assert list(plan(40, start=13)) == [20, 30]


@pytest.mark.parametrize(("every", "period"), [(10, 3), (10, 7), (10, 10), (1, 4)])
def test_a_loss_of_every_kth_step_is_met_in_the_next_of_its_steps(every, period):
    for phase in range(period):
        schedule, taken = Schedule(every, None), []
        for step in range(20 * (every + period)):
            if step != schedule.due:
                continue
            if step % period == phase:
                taken.append(step)
                schedule.recorded(schedule.due)
            else:
                schedule.passed(schedule.due)
        gaps = np.diff(taken)[: CLOSE_RECORDS - 1]
        assert len(gaps) > 10
        assert gaps.max() < every + period


def test_a_loss_that_is_never_called_is_not_asked_in_every_step():
    schedule, asked = Schedule(10, None), 0
    for step in range(1000):
        if step == schedule.due:
            asked += 1
            schedule.passed(schedule.due)
    assert asked < 110
