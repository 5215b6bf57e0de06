"""What a finding prescribes is done to the running loss, and can be taken back."""

import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, diagnose, load_run
from imbalance_doctor.findings import Finding
from imbalance_doctor.live.treatment import apply, revert
from imbalance_doctor.prescriptions import Change, ResetQueue
from imbalance_doctor.records import LossInfo, TreatmentRecord
from losses import LossWarmupWrapper, PAUCAtBudgetLoss, RecallAtQuantileLoss, SigmoidFocalLoss, SmoothAPLoss
from tests.live.loop import train


def finding(prescription):
    return Finding(
        "IMB000", "fault", "warning", "loss", 0, None, 7, 7, "open", "s", "c", "the remedy.", {}, prescription
    )


def prescribed(parameter, before, after):
    return finding(Change(parameter, before, after))


def treated(loss_fn, sick):
    """Apply, and keep on record as a doctor does."""
    before, after = apply(sick, loss_fn)
    return TreatmentRecord(
        7, LossInfo("loss", "kind"), sick.code, sick.prescription["parameter"], before, after
    )


def fed(loss_fn, batches=3):
    for _ in range(batches):
        loss_fn(torch.randn(64, 1, requires_grad=True), (torch.rand(64) < 0.2).long())
    return loss_fn


def wrapper(**schedule):
    return LossWarmupWrapper(nn.BCEWithLogitsLoss(), PAUCAtBudgetLoss(1), **schedule)


#: Loss, setting, its value before, and the value prescribed.
SETTINGS = [
    (lambda: SmoothAPLoss(1), "temperature", 0.01, 0.1),
    (lambda: SmoothAPLoss(1), "tau_scale", None, "iqr"),
    (lambda: SmoothAPLoss(1), "queue_size", 1024, 4000),
    (lambda: SmoothAPLoss(1), "max_pool_size", None, 512),
    (lambda: RecallAtQuantileLoss(1, gather_distributed=False), "gather_distributed", False, None),
    (lambda: PAUCAtBudgetLoss(1), "pos_numerator", "pool", "live"),
    (lambda: SigmoidFocalLoss(gamma=5), "gamma", 5.0, 2.0),
    (lambda: wrapper(), "temp_decay_steps", 10_000, 50_000),
    (lambda: wrapper(), "final_main_weight", 1.0, 0.5),
    (lambda: wrapper(), "queue_size", 1024, 4000),
    (lambda: wrapper(), "pos_numerator", "pool", "live"),
]


@pytest.mark.parametrize(("make", "parameter", "before", "after"), SETTINGS, ids=[s[1] for s in SETTINGS])
def test_a_setting_is_changed_and_given_back(make, parameter, before, after):
    loss_fn = make()
    config = loss_fn.config()
    record = treated(loss_fn, prescribed(parameter, before, after))
    assert (record.before, record.after) == (before, after)
    assert apply(prescribed(parameter, before, after), loss_fn) is None
    assert revert(record, loss_fn) == (after, before)
    assert loss_fn.config() == config


def test_a_queue_that_grows_keeps_its_rows():
    loss_fn = fed(SmoothAPLoss(1, queue_size=128))
    rows = loss_fn.queue.scores.sort(0).values
    record = treated(loss_fn, prescribed("queue_size", 128, 512))
    kept = loss_fn.queue.scores[loss_fn.queue.born >= 0].sort(0).values
    torch.testing.assert_close(kept, rows)
    revert(record, loss_fn)
    torch.testing.assert_close(loss_fn.queue.scores.sort(0).values, rows)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_queue_is_reset_once_and_not_filled_again(wrapped):
    inner = fed(PAUCAtBudgetLoss(1, queue_size=1024))
    loss_fn = LossWarmupWrapper(nn.BCEWithLogitsLoss(), inner) if wrapped else inner
    record = treated(loss_fn, finding(ResetQueue()))
    assert (record.parameter, record.before, record.after) == ("queue", 3 * 64, 0)
    assert float(inner.queue.fill()) == 0
    assert apply(finding(ResetQueue()), loss_fn) is None
    with pytest.raises(ValueError, match=r"a queue reset \(IMB000\) cannot be undone; its 192 rows are gone"):
        revert(record, loss_fn)


def test_a_wrappers_falling_temperature_is_held_and_falls_again():
    loss_fn, untreated = (wrapper(temp_start=0.1, temp_end=0.01, temp_decay_steps=100) for _ in range(2))
    for step in (0, 30):
        loss_fn.on_train_batch_start(step)
    record = treated(loss_fn, prescribed("temperature", 0.1, 0.5))
    assert (record.before, record.after) == ([0.1, 0.01], 0.5)
    loss_fn.on_train_batch_start(50)
    assert loss_fn.current_temperature == 0.5
    assert revert(record, loss_fn) == (0.5, [0.1, 0.01])
    untreated.on_train_batch_start(0)
    for step in (50, 70, 100, 200):
        loss_fn.on_train_batch_start(step)
        untreated.on_train_batch_start(step)
        assert loss_fn.current_temperature == pytest.approx(untreated.current_temperature)
    assert loss_fn.config() == untreated.config()


def test_what_has_changed_since_is_not_taken_back():
    loss_fn = SmoothAPLoss(1)
    record = treated(loss_fn, prescribed("queue_size", 1024, 4000))
    loss_fn.reconfigure(queue_size=8000)
    with pytest.raises(ValueError, match="cannot undo IMB000: it set queue_size to 4000, but it is now 8000"):
        revert(record, loss_fn)


@pytest.mark.parametrize(
    ("loss_fn", "prescription", "message"),
    [
        (
            SmoothAPLoss(1),
            None,
            "IMB000 fault has no automatic treatment; apply the remedy yourself. the remedy",
        ),
        (nn.BCEWithLogitsLoss(), ResetQueue(), "BCEWithLogitsLoss is not a loss of this package"),
        (SigmoidFocalLoss(), ResetQueue(), "a loss with a queue to reset, got SigmoidFocalLoss"),
        (SmoothAPLoss(1), {"parameter": "queue", "action": "burn"}, "'action': 'burn'"),
        (
            RecallAtQuantileLoss(1),
            {"parameter": "quantile", "from": 0.005, "to": 0.1},
            "can change during training.*, got 'quantile'.*apply the remedy yourself. the remedy",
        ),
    ],
)
def test_what_cannot_be_done_says_what_to_do_by_hand(loss_fn, prescription, message):
    with pytest.raises(ValueError, match=message):
        apply(finding(prescription), loss_fn)


def test_a_doctor_treats_undoes_logs_and_reports_both(tmp_path):
    loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)
    with Doctor(tmp_path, on_finding="log", select=["IMB401"]) as doctor:
        doctor.watch(loss_fn)
        (sick,) = train(doctor, loss_fn, steps=100)
        done = doctor.treat(sick)
        assert loss_fn.queue_size == done.after == sick.prescription["to"]
        undone = doctor.undo(done)
        assert (undone.before, undone.after) == (done.after, done.before)
        assert loss_fn.queue_size == 64
        with pytest.raises(ValueError, match="queue_size to 4200, but it is now 64"):
            doctor.undo(done)
        assert doctor.undo(undone).after == done.after  # and again
        live = doctor.diagnosis
    assert load_run(tmp_path).treatments[:2] == [done, undone]
    assert diagnose(tmp_path).treatments == live.treatments
    assert f"pauc_at_budget: {done}" in str(live)
    with pytest.raises(ValueError, match="closed"):
        doctor.undo(undone)


def test_right_after_a_treatment_no_rule_is_asked_about_records_that_are_not_there(tmp_path):
    loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=100)
        doctor.treat(next(each for each in doctor.findings if each.code == "IMB401"))
        assert doctor.diagnosis.failed == ()
        assert diagnose(tmp_path).failed == ()
