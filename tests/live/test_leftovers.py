"""What a doctor leaves on a loss when it is gone: nothing."""

import gc

import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, ImbalanceWarning
from losses import LossWarmupWrapper, SmoothAPLoss
from tests.live.loop import batches

LOSSES = {
    "plain": nn.BCEWithLogitsLoss,
    "of this package": lambda: SmoothAPLoss(1, queue_size=64),
    "wrapper": lambda: LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_steps=100),
}
every_loss = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)


def listeners(loss_fn):
    return sum(
        len(getattr(loss_fn, name, ()))
        for name in ("_forward_hooks", "_forward_pre_hooks", "_diagnostics_hooks")
    )


def cell(loss_fn, run_dir, steps=30):
    """A cell of a notebook whose author never closes a doctor."""
    doctor = Doctor(run_dir, on_finding="log")
    doctor.watch(loss_fn)
    for step, (x, y) in zip(range(steps), batches(64, 0.2, 0), strict=False):
        if isinstance(loss_fn, LossWarmupWrapper):
            loss_fn.on_train_batch_start(step)
        loss_fn(x[:, 0].clone().requires_grad_(), y.float()).backward()
        doctor.step()
    doctor.log_eval(torch.randn(50), torch.arange(50) % 2)
    str(doctor.diagnosis)
    return doctor


@pytest.fixture(params=["collected", "not collected"])
def collector(request):
    """With and without the garbage collector, which runs when it likes."""
    if request.param == "not collected":
        gc.disable()
    yield
    gc.enable()


@every_loss
@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.usefixtures("collector")
def test_a_doctor_that_is_gone_leaves_no_listener(make, in_memory, tmp_path):
    loss_fn = make()
    for steps in (0, 30):  # what comes next is due
        doctor = cell(loss_fn, None if in_memory else tmp_path, steps)
        assert listeners(loss_fn) > 0
        del doctor
        assert listeners(loss_fn) == 0


@every_loss
@pytest.mark.usefixtures("collector")
def test_a_cell_that_runs_again_has_one_listener(make, tmp_path):
    loss_fn, once = make(), make()
    alone = cell(once, None)
    for _ in range(4):
        doctor = cell(loss_fn, tmp_path)
        assert listeners(loss_fn) == listeners(once)
    assert len(doctor.run.steps()) == len(alone.run.steps())
    doctor.close()
    assert listeners(loss_fn) == 0


@every_loss
def test_a_doctor_that_a_traceback_holds_gives_way_to_the_next_one(make, tmp_path):
    loss_fn, held = make(), []
    for _ in range(3):
        held.append(cell(loss_fn, tmp_path))
    first, _, newest = held
    assert listeners(loss_fn) <= 2
    (note,) = [note for note in first.diagnosis.notes if "newer Doctor" in note]
    assert "no longer recorded" in note
    for doctor in held[:2]:
        with pytest.warns(ImbalanceWarning, match="a newer Doctor of this process writes"):
            doctor.close()  # which leaves the newest one alone
    assert listeners(loss_fn) > 0
    assert not [note for note in newest.diagnosis.notes if "newer Doctor" in note]
    newest.close()
    assert listeners(loss_fn) == 0


@every_loss
def test_doctors_of_different_runs_both_listen(make, tmp_path):
    loss_fn = make()
    with Doctor(tmp_path / "a", on_finding="log", every=1) as one, Doctor(None, on_finding="log") as other:
        for doctor in (one, other):
            doctor.watch(loss_fn)
        for step, (x, y) in zip(range(11), batches(64, 0.2, 0), strict=False):
            if isinstance(loss_fn, LossWarmupWrapper):
                loss_fn.on_train_batch_start(step)
            loss_fn(x[:, 0].clone().requires_grad_(), y.float()).backward()
            for doctor in (one, other):
                doctor.step()
        assert [len(doctor.run.steps()) for doctor in (one, other)] == [11, 2]


def test_a_closed_doctor_was_not_displaced(tmp_path):
    loss_fn = nn.BCEWithLogitsLoss()
    with cell(loss_fn, tmp_path) as first:
        pass
    with cell(loss_fn, tmp_path):
        assert not [note for note in first.diagnosis.notes if "newer Doctor" in note]
