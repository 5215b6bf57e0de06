"""Sessions of one run: resumed, gone back to a checkpoint, evaluated after the end, numbered oddly."""

import numpy as np
import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, ImbalanceWarning, diagnose, load_run
from losses import LossWarmupWrapper, PAUCAtBudgetLoss, SmoothAPLoss
from tests.live.loop import batches, train


def sick_loss():
    return PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)


def evaluate(doctor, **settings):
    doctor.log_eval(torch.arange(8.0), torch.tensor([0, 1] * 4), **settings)


def steps_of(run):
    return [record.step for record in run.steps()]


# --- after the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("saved_at", "evaluated_at"), [(None, 299), (299, 299), (149, 149)])
def test_an_evaluation_of_a_finished_run_supersedes_nothing(saved_at, evaluated_at, tmp_path):
    states = {}
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn := sick_loss())
        train(doctor, loss_fn, steps=300, each_step=lambda step: states.update({step: doctor.state_dict()}))
    before = load_run(tmp_path)
    with Doctor(tmp_path, on_finding="log") as late:
        if saved_at is not None:
            late.load_state_dict(states[saved_at])  # the newest checkpoint, or the best one
        evaluate(late)
        evaluate(late, step=50)
    after = load_run(tmp_path)
    assert steps_of(after) == steps_of(before)
    assert [record.step for record in after.evaluations] == [evaluated_at, 50]
    assert {finding.code for finding in diagnose(after).findings} >= {"IMB401"}


def test_a_state_between_two_sessions_is_the_one_that_was_loaded():
    with Doctor(None, on_finding="log") as first:
        first.watch(loss_fn := sick_loss())
        train(first, loss_fn, steps=100)
        state = first.state_dict()
    second = Doctor(None, on_finding="log")
    second.load_state_dict(state)
    assert second.state_dict() == state


def test_a_closed_doctor_takes_a_state_without_a_word():
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(loss_fn := sick_loss())
        train(doctor, loss_fn, steps=100)
        state = doctor.state_dict()
    doctor.load_state_dict(state)  # a loop that ends by loading its best checkpoint
    assert len(steps_of(doctor.run)) == 10


# --- back to a checkpoint ---------------------------------------------------------------------------------


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("numbered", [True, False])
def test_a_run_that_goes_back_supersedes_what_it_had_from_there_on(logged, numbered, tmp_path):
    with Doctor(tmp_path if logged else None, on_finding="log") as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        train(doctor, loss_fn, steps=100)
        state = doctor.state_dict()
        train(doctor, loss_fn, steps=100, first_step=100)
        doctor.load_state_dict(state)
        assert doctor.state_dict()["step"] == 99
        if numbered:
            train(doctor, loss_fn, steps=50, first_step=100)
        else:
            for _, (x, y) in zip(range(50), batches(64, 0.05, 1), strict=False):
                loss_fn(x[:, 0].clone().requires_grad_(), y.float())
                doctor.step()
        live = doctor.findings
        run = doctor.run
    steps = steps_of(run)
    assert steps == sorted(set(steps))
    assert steps[-1] < 150
    assert {step for step in steps if step < 100} == set(range(0, 100, 10))
    assert [(f.code, f.step, f.status) for f in diagnose(run).findings] == [
        (f.code, f.step, f.status) for f in live
    ]


def test_a_state_that_is_loaded_and_not_gone_on_from_changes_nothing(tmp_path):
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        train(doctor, loss_fn, steps=100)
        state = doctor.state_dict()
        train(doctor, loss_fn, steps=100, first_step=100)
        doctor.load_state_dict(state)  # the best checkpoint, for a last evaluation
        evaluate(doctor)
    run = load_run(tmp_path)
    assert steps_of(run)[-1] >= 190
    assert [record.step for record in run.evaluations] == [199]


# --- numbers ----------------------------------------------------------------------------------------------


def test_steps_that_are_numbered_anew_in_each_epoch_are_counted_on():
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        train(doctor, loss_fn, steps=50)
        with pytest.warns(ImbalanceWarning, match="step 0 came after step 49.*must increase") as caught:
            for _ in range(3):
                train(doctor, loss_fn, steps=50)
        assert not doctor.diagnosis.notes
    assert len(caught) == 1
    assert steps_of(doctor.run) == list(range(0, 200, 10))


def test_numbers_may_be_numpys_and_may_leap():
    with Doctor(None, on_finding="log", every=np.int64(1)) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        for number in (np.int64(5), 6, torch.tensor(20), 21):
            loss_fn(torch.zeros(8, requires_grad=True), torch.ones(8))
            doctor.step(number)
    assert steps_of(doctor.run) == [5, 6, 20, 21]


def test_class_names_by_id_are_names_in_order():
    with Doctor(None, on_finding="log", class_names={1: "fraud", 0: "ok"}) as doctor:
        assert doctor.run.info.class_names == ("ok", "fraud")


# --- the wrapper ------------------------------------------------------------------------------------------


def test_a_resumed_wrapper_keeps_its_window_while_its_temperature_falls(tmp_path):
    saved, temperatures = None, []
    for first, steps in ((0, 300), (300, 20)):
        loss_fn = LossWarmupWrapper(
            nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_steps=10, temp_end=0.01, temp_decay_steps=500
        )
        if saved is not None:
            loss_fn.load_state_dict(saved)
        loss_fn.on_train_batch_start(first)
        temperatures.append(loss_fn.config()["main_loss"]["temperature"])
        with Doctor(tmp_path, on_finding="log") as doctor:
            doctor.watch(loss_fn)
            train(
                doctor,
                loss_fn,
                steps=steps,
                first_step=first,
                each_step=lambda step, loss_fn=loss_fn: loss_fn.on_train_batch_start(step + 1),
            )
            window = next(w for w in doctor._journal.checkup.history.windows() if w.kind == "smooth_ap")
        saved = loss_fn.state_dict()
    assert temperatures[1] < temperatures[0]
    assert window.records > 20
