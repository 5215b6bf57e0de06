"""What a training loop calls never ends it, whoever stands in the way; what is not ours passes."""

from __future__ import annotations

import copy
import importlib.util
import io
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch
from loop import train
from torch import nn

from imbalance_doctor import Doctor, ImbalanceError, ImbalanceWarning, diagnose, load_run
from imbalance_doctor.live.boundary import MOST_IN_A_ROW
from losses import PAUCAtBudgetLoss, SmoothAPLoss


def sick_loss() -> PAUCAtBudgetLoss:
    return PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)


def steps_of(doctor: Doctor) -> list[int]:
    return [record.step for record in doctor.run.steps()]


# --- saying something -------------------------------------------------------------------------------------


class Tee(io.TextIOBase):
    def write(self, text):
        raise RuntimeError("the tee's file is gone")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "latin-1": lambda: io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True),
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True),
    "closed": closed,
    "a tee whose file is gone": Tee,
    "none": lambda: None,
}


@pytest.fixture
def _plain_warnings(monkeypatch):
    """Warnings as Python shows them, and not as pytest collects them."""
    spec = importlib.util.find_spec("warnings")
    untouched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(untouched)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", untouched._showwarnmsg_impl)
        yield


@pytest.mark.usefixtures("_plain_warnings")
@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_that_cannot_take_a_warning_ends_nothing(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", STREAMS[stream]())
    doctor, loss_fn = Doctor(None, every=1), sick_loss()
    doctor.watch(loss_fn)
    assert train(doctor, loss_fn, steps=20)


@pytest.mark.usefixtures("_plain_warnings")
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_warning_is_shown_with_the_letters_that_there_are(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    doctor, loss_fn = Doctor(None, every=1), sick_loss()
    doctor.watch(loss_fn)
    found = train(doctor, loss_fn, steps=20)
    assert any(not finding.headline().isascii() for finding in found if finding.severity != "info")
    assert b"IMB401" in stream.buffer.getvalue()


def test_a_filter_that_makes_errors_of_warnings_ends_nothing(caplog):
    doctor, loss_fn = Doctor(None, every=1), sick_loss()
    doctor.watch(loss_fn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(doctor, loss_fn, steps=20)
    assert "IMB401" in caplog.text


def test_a_way_to_show_warnings_that_fails_ends_nothing(monkeypatch):
    def show(*arguments, **others):
        raise ZeroDivisionError

    doctor, loss_fn = Doctor(None, every=1), sick_loss()
    doctor.watch(loss_fn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show)
        assert train(doctor, loss_fn, steps=20)


def test_a_log_handler_that_fails_ends_nothing():
    class AwayHandler(logging.Handler):
        def emit(self, record):
            raise ConnectionError("the log server is away")

    logger, handler = logging.getLogger("imbalance_doctor"), AwayHandler()
    logger.addHandler(handler)
    try:
        doctor, loss_fn = Doctor(None, every=1, on_finding="log"), sick_loss()
        doctor.watch(loss_fn)
        assert train(doctor, loss_fn, steps=20)
    finally:
        logger.removeHandler(handler)


# --- arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step", [float("inf"), float("nan"), "ten", 2.5, -1, 10**30, torch.ones(2), len, [3], b"1"], ids=repr
)
def test_what_is_no_number_of_a_step_is_counted_on(step):
    doctor, loss_fn = Doctor(None, every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=5)
    with pytest.warns(ImbalanceWarning, match="expected the number of a step"):
        doctor.step(step)
    train(doctor, loss_fn, steps=5, first_step=6)
    assert steps_of(doctor) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    with pytest.warns(ImbalanceWarning) if doctor.findings == () else warnings.catch_warnings():
        doctor.log_eval(torch.randn(50), torch.rand(50) < 0.4, step=step)
    assert [record.step for record in doctor.run.evaluations] == [10]
    assert not any("failed" in note for note in doctor.diagnosis.notes)


@pytest.mark.parametrize("step", [7, 7.0, torch.tensor(7), torch.tensor([7]), True + 6])
def test_what_is_a_number_of_a_step_is_one(step):
    doctor, loss_fn = Doctor(None, every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    loss_fn(torch.randn(8, requires_grad=True), torch.ones(8)).backward()
    doctor.step(step)
    assert steps_of(doctor) == [7]


def test_a_metric_that_is_no_number_costs_itself_alone():
    doctor, loss_fn = Doctor(None, every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    loss_fn(torch.randn(8, requires_grad=True), torch.ones(8)).backward()
    with pytest.warns(ImbalanceWarning, match="metrics given to step to be numbers, got others for val_loss"):
        doctor.step(lr=0.1, val_loss=None)
    loss_fn(torch.randn(8, requires_grad=True), torch.ones(8)).backward()
    doctor.step(lr=0.1, val_loss=2.0)
    kept = [dict(record.metrics) for record in doctor.run.steps()]
    assert kept == [pytest.approx({"lr": 0.1}), pytest.approx({"lr": 0.1, "val_loss": 2.0})]


def test_a_directory_that_cannot_be_is_said_and_survived(tmp_path, monkeypatch):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for place in (tmp_path / "a" / "run", "runs/x", "runs/\0"):
        doctor, loss_fn = Doctor(place, every=1, on_finding="log"), sick_loss()
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match="the run log failed"):
            found = train(doctor, loss_fn, steps=20)
        assert {finding.code for finding in found} >= {"IMB003"}


def test_a_tensorboard_writer_need_not_know_whether_it_is_true():
    class Writer:
        def __bool__(self):
            raise TypeError("ambiguous")

        def __getattr__(self, name):
            return lambda *arguments, **others: written.append(name)

    written: list[str] = []
    doctor, loss_fn = Doctor(None, every=1, on_finding="log", tensorboard=Writer()), sick_loss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=5)
    doctor.close()
    assert "add_scalar" in written


# --- failures of our own ----------------------------------------------------------------------------------


def test_what_fails_once_costs_one_step(monkeypatch, tmp_path):
    doctor, loss_fn = Doctor(tmp_path / "run", every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=10)
    with monkeypatch.context() as patch, pytest.warns(ImbalanceWarning, match="step failed .*KeyError.*'x'"):
        patch.setattr(type(doctor._journal), "wait", lambda *_: {}["x"])
        train(doctor, loss_fn, steps=1, first_step=10)
    train(doctor, loss_fn, steps=10, first_step=11)
    doctor.close()
    assert steps_of(doctor) == [*range(10), *range(11, 21)]
    assert doctor.findings == diagnose(tmp_path / "run").findings
    assert any("step failed" in note for note in doctor.diagnosis.notes)


def test_what_is_refused_leaves_everything_as_it_was(tmp_path):
    doctor, loss_fn = Doctor(tmp_path / "run", every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=20)
    before = (tmp_path / "run" / "diagnostics-rank0.jsonl").read_bytes()
    finding = next(finding for finding in doctor.findings if finding.prescription is None)
    for refused in (lambda: doctor.treat(finding), lambda: doctor.watch(loss_fn)):
        with pytest.raises(ValueError, match=r"yourself|already"):
            refused()
        assert doctor.findings
    assert (tmp_path / "run" / "diagnostics-rank0.jsonl").read_bytes() == before


def test_what_fails_each_time_is_left_alone(monkeypatch):
    doctor, loss_fn = Doctor(None, every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=10)
    calls = []
    monkeypatch.setattr(type(doctor._watchers), "take", lambda *_: calls.append(1) or {}["x"])
    with pytest.warns(ImbalanceWarning) as told:
        train(doctor, loss_fn, steps=50, first_step=10)
    assert len(calls) == MOST_IN_A_ROW
    assert [str(each.message).split(";")[-1] for each in told] == [
        " the records of this step may be missing. Training goes on.",
        " nothing more is recorded. Training goes on.",
    ]
    assert not loss_fn._diagnostics_hooks
    assert doctor.findings


def test_an_error_that_was_asked_for_is_raised(tmp_path):
    doctor, loss_fn = Doctor(tmp_path / "run", every=1, on_finding="raise"), sick_loss()
    doctor.watch(loss_fn)
    with pytest.raises(ImbalanceError, match="IMB401"):
        train(doctor, loss_fn, steps=100)
    doctor.close(complete=False)
    assert doctor.findings == diagnose(tmp_path / "run").findings


# --- what is not ours -------------------------------------------------------------------------------------


class OverTimeError(Exception):
    pass


class Waiting:
    """A number of the device's, which takes long enough for somebody to lose patience."""

    def __init__(self, error):
        self.error = error

    def __float__(self):
        def handler(number, frame):
            raise self.error

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            time.sleep(5)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return 1.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, OverTimeError, TimeoutError, SystemExit, RuntimeError])
def test_an_interruption_passes_and_the_monitor_goes_on(error, tmp_path):
    doctor, loss_fn = Doctor(tmp_path / "run", every=10, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=20)
    loss_fn(torch.randn(64, requires_grad=True), torch.ones(64)).backward()
    with pytest.raises(error):
        doctor.step(20, grad_norm=Waiting(error))
    assert torch.is_grad_enabled()
    train(doctor, loss_fn, steps=100, first_step=21)
    doctor.close()
    assert steps_of(doctor)[:2] == [0, 10]
    assert len(steps_of(doctor)) >= 11
    assert not any("failed" in note for note in doctor.diagnosis.notes)
    assert doctor.findings == diagnose(tmp_path / "run").findings


def test_the_handler_of_a_signal_may_ask_in_the_middle_of_a_step(tmp_path):
    states = []

    class Preempted:
        def __float__(self):
            states.append(doctor.state_dict())
            doctor.close(complete=False)
            return 1.0

    doctor, loss_fn = Doctor(tmp_path / "run", every=5, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=10)
    loss_fn(torch.randn(64, requires_grad=True), torch.ones(64)).backward()
    doctor.step(10, preempted=Preempted())
    train(doctor, loss_fn, steps=10, first_step=11)
    assert states[0]["step"] == 10
    assert load_run(tmp_path / "run").steps()[-1].step <= 10


# --- threads, forks, copies -------------------------------------------------------------------------------


def test_threads_take_turns(tmp_path):
    doctor = Doctor(tmp_path / "run", every=1, on_finding="log")
    losses = [SmoothAPLoss(num_classes=1, queue_size=32), sick_loss(), nn.BCEWithLogitsLoss()]
    for loss_fn in losses:
        doctor.watch(loss_fn)
    errors = []

    def work(loss_fn):
        try:
            labels = (torch.rand(32) < 0.3).float()
            for _ in range(60):
                logits = torch.randn(32, requires_grad=True)
                loss_fn(logits, labels).backward()
                doctor.step(loss=0.1)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(loss_fn,)) for loss_fn in losses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    doctor.close()
    assert not errors
    assert not any("failed" in note for note in doctor.diagnosis.notes)
    run = load_run(tmp_path / "run")
    assert {record.loss for record in run.steps()} == {"smooth_ap", "pauc_at_budget", "BCEWithLogitsLoss"}
    assert doctor.findings == diagnose(run).findings


@pytest.mark.slow
def test_what_waits_is_on_disk_after_two_seconds_without_a_step(tmp_path):
    doctor, loss_fn = Doctor(tmp_path / "run", every=5, on_finding="log"), nn.BCEWithLogitsLoss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=60)
    time.sleep(2)
    assert [record.step for record in load_run(tmp_path / "run").steps()] == [*range(0, 60, 5)]


def test_a_doctor_that_is_gone_leaves_no_thread_behind(tmp_path):
    doctor, loss_fn = Doctor(tmp_path / "run", every=1, on_finding="log"), nn.BCEWithLogitsLoss()
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=3)
    ours = [thread for thread in threading.enumerate() if thread.name == "imbalance-doctor"]
    doctor.close()
    for thread in ours:
        thread.join(5)
        assert not thread.is_alive()


def _train_here(doctor, loss_fn, answers):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(doctor, loss_fn, steps=20, first_step=10)
        doctor.close()
    answers.put([str(each.message) for each in told])


@pytest.mark.parametrize("begun", [False, True])
def test_a_fork_is_the_run_or_says_that_it_is_not(begun, tmp_path):
    doctor, loss_fn = Doctor(tmp_path / "run", every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    if begun:
        train(doctor, loss_fn, steps=10)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_train_here, args=(doctor, loss_fn, answers))
    child.start()
    told = answers.get(timeout=60)
    child.join()
    steps = [record.step for record in load_run(tmp_path / "run").steps()]
    if begun:
        assert steps == [*range(10)]
        assert [text for text in told if "forked" in text] == told
        assert len(told) == 1
    else:
        assert steps == [*range(10, 30)]
        assert not told


class Model(nn.Module):
    def __init__(self, run_dir):
        super().__init__()
        self.net, self.loss_fn = nn.Linear(8, 1), sick_loss()
        self.doctor = Doctor(run_dir, every=1, on_finding="log")


def test_the_copy_of_a_model_that_holds_its_doctor_shares_it(tmp_path):
    model = Model(tmp_path / "run")
    model.doctor.watch(model.loss_fn)
    train(model.doctor, model.loss_fn, steps=5)
    average = copy.deepcopy(model)
    assert average.doctor is model.doctor is copy.copy(model.doctor)
    train(model.doctor, model.loss_fn, steps=5, first_step=5)
    assert steps_of(model.doctor) == [*range(10)]
    loaded = pickle.loads(pickle.dumps(model))
    with pytest.warns(ImbalanceWarning, match="records nothing"):
        loaded.doctor.step()
    assert loaded.doctor.step() == []
    assert steps_of(model.doctor) == [*range(10)]


def test_a_log_that_is_a_pipe_is_refused(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    os.mkfifo(run / "diagnostics-rank0.jsonl")
    doctor, loss_fn = Doctor(run, every=1, on_finding="log"), sick_loss()
    doctor.watch(loss_fn)
    with pytest.warns(ImbalanceWarning, match="the run log failed"):
        train(doctor, loss_fn, steps=5)
    assert Path(run / "diagnostics-rank0.jsonl").is_fifo()
