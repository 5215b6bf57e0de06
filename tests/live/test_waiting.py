"""Records of a plain loss wait for the next look, and nobody can tell, from the log or a finding."""

import gc
import json
import math
import os
import subprocess
import sys
import textwrap
import weakref
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, ImbalanceError, load_run
from imbalance_doctor.live.listening import plain_losses, watchers
from imbalance_doctor.rules.base import ANY, Evidence, Rule
from losses import PAUCAtBudgetLoss, SmoothAPLoss
from tests.live.loop import batches, train

LOSSES = {
    "bce": (nn.BCEWithLogitsLoss, 1),
    "bce, weighted": (lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([9.0])), 1),
    "bce, unreduced": (lambda: nn.BCEWithLogitsLoss(reduction="none"), 1),
    "cross-entropy": (nn.CrossEntropyLoss, 4),
    "cross-entropy, smoothed": (lambda: nn.CrossEntropyLoss(label_smoothing=0.1), 4),
}


def lines(path):
    """What a log says, without the moment at which it began."""
    said = [json.loads(line) for line in (path / "diagnostics-rank0.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "started"} for line in said]


def steps_on_disk(path):
    return [line["step"] for line in lines(path) if line["kind"] == "step"]


def steps(doctor, loss_fn, count, *, rows=64):
    """Training steps of a plain loss; returns the logits, so that a test can do something to them."""
    weight = torch.ones((), requires_grad=True)
    stream = batches(rows, 0.2, 0)
    for _ in range(count):
        x, y = next(stream)
        loss = loss_fn(weight * x[:, 0], y.float())
        loss.backward()
        yield loss, x, y
        doctor.step()


def run(doctor, loss_fn, count, **settings):
    for _ in steps(doctor, loss_fn, count, **settings):
        pass


@pytest.mark.parametrize(("make", "classes"), LOSSES.values(), ids=LOSSES)
def test_the_log_is_the_one_of_records_that_do_not_wait(make, classes, tmp_path, monkeypatch):
    for name, gap in (("waits", math.inf), ("at once", -1.0)):
        monkeypatch.setattr(watchers, "SHORT_GAP", gap)
        with Doctor(tmp_path / name, on_finding="log", total_steps=600) as doctor:
            loss_fn = make()
            doctor.watch(loss_fn)
            reduced = Reduced(loss_fn)
            train(doctor, reduced, steps=600, classes=classes)
            doctor.log_eval(torch.arange(8.0), torch.tensor([0, 1] * 4))
    waited = lines(tmp_path / "waits")
    assert len(steps_on_disk(tmp_path / "waits")) > 20
    assert waited == lines(tmp_path / "at once")


class Reduced(nn.Module):
    """The mean of a loss, for a loop that cannot do with less."""

    def __init__(self, loss_fn):
        super().__init__()
        self.loss_fn = loss_fn

    def forward(self, logits, targets):
        if isinstance(self.loss_fn, nn.BCEWithLogitsLoss):
            targets = targets[:, None].float()
        return self.loss_fn(logits, targets).mean()


def test_records_are_written_at_the_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    seen = {}
    with Doctor(tmp_path, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        for step, _ in enumerate(steps(doctor, loss_fn, 12)):
            if step:
                seen[step] = len(steps_on_disk(tmp_path))  # before the doctor hears that this step is over
    assert list(seen.values()) == [1, 1, 3, 3, 5, 5, 5, 5, 5, 10, 10]  # looks at the records 1, 3, 5, 10
    assert steps_on_disk(tmp_path) == list(range(12))


def test_where_steps_are_slow_nothing_waits(tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(watchers, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    with Doctor(tmp_path, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        for step, _ in enumerate(steps(doctor, loss_fn, 12)):
            if step:
                assert len(steps_on_disk(tmp_path)) == step


@pytest.mark.parametrize("where", ["loss", "logits"])
def test_what_is_not_finite_is_told_in_its_own_step(where, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        run(doctor, loss_fn, 6)
        logits, labels = torch.zeros(64, requires_grad=True), torch.zeros(64)
        if where == "loss":
            labels[0] = math.inf
            loss_fn(logits, labels)
        else:  # an infinite logit of the right sign: the loss is finite
            with torch.no_grad():
                logits[0] = -math.inf
            loss_fn(logits, labels)
        assert "IMB001" in [finding.code for finding in doctor.step()]


#: What a user may call between two steps, and the lines that it writes itself.
CALLS = {
    "run": (lambda doctor: doctor.run, []),
    "findings": (lambda doctor: doctor.findings, []),
    "diagnosis": (lambda doctor: doctor.diagnosis, []),
    "state_dict": (lambda doctor: doctor.state_dict(), []),
    "log_eval": (lambda doctor: doctor.log_eval(torch.arange(4.0), torch.tensor([0, 1, 0, 1])), ["eval"]),
    "watch": (lambda doctor: doctor.watch(SmoothAPLoss(1)), ["run"]),
    "close": (lambda doctor: doctor.close(), ["end"]),
    "close, incomplete": (lambda doctor: doctor.close(complete=False), []),
}


@pytest.mark.parametrize(("call", "writes"), CALLS.values(), ids=CALLS)
def test_whoever_reads_or_writes_comes_after_what_waits(call, writes, tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    doctor = Doctor(tmp_path, on_finding="log", every=1)
    doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
    run(doctor, loss_fn, 9)
    assert steps_on_disk(tmp_path) == [0, 1, 2, 3, 4]
    call(doctor)
    assert steps_on_disk(tmp_path) == list(range(9))
    said = lines(tmp_path)
    last = max(number for number, line in enumerate(said) if line["kind"] == "step")
    assert [line["kind"] for line in said[last + 1 :]] == writes
    doctor.close()


def test_a_treatment_comes_after_what_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    plain, sick = nn.BCEWithLogitsLoss(), PAUCAtBudgetLoss(1, beta=0.005, queue_size=64)
    with Doctor(tmp_path, on_finding="log", every=1) as doctor:
        doctor.watch(sick)
        train(doctor, sick, steps=50)
        finding = next(finding for finding in doctor.findings if finding.code == "IMB401")
        doctor.watch(plain)
        run(doctor, plain, 4)
        assert steps_on_disk(tmp_path)[-1] == 52  # its third record is a look
        doctor.treat(finding)
    order = [(line.get("event", line["kind"]), line.get("step")) for line in lines(tmp_path)]
    assert order[order.index(("treated", 53)) - 1] == ("step", 53)


def test_an_evaluation_finds_the_records_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    with Doctor(tmp_path, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        run(doctor, loss_fn, 8)
        doctor.log_eval(torch.arange(4.0), torch.tensor([0, 1, 0, 1]))
        run(doctor, loss_fn, 4)
    order = [line["step"] for line in lines(tmp_path) if line["kind"] in ("step", "eval")]
    assert order == [*range(8), 7, *range(8, 12)]


def test_a_loop_that_changes_its_tensors_in_place_changes_no_record(monkeypatch):
    def records(*, changes):
        torch.manual_seed(0)
        with Doctor(None, on_finding="log", every=1) as doctor:
            doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
            for _ in range(10):
                logits = torch.randn(64, requires_grad=True) * 1.0
                labels = (torch.rand(64) < 0.2).float()
                loss = loss_fn(logits, labels)
                loss.backward()
                if changes:
                    with torch.no_grad():
                        logits.zero_()
                        labels.fill_(1.0)
                        loss /= 4  # of a loop that accumulates gradients
                doctor.step()
            return doctor.run.steps()

    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    for changed, plain in zip(records(changes=True), records(changes=False), strict=True):
        assert changed.stats.keys() == plain.stats.keys()
        for name, value in plain.stats.items():
            np.testing.assert_array_equal(changed.stats[name], value, err_msg=name)


@pytest.mark.parametrize("most", [0, plain_losses.MOST_KEPT], ids=["large batch", "small batch"])
def test_a_large_batch_is_described_in_its_step_and_alike(most, monkeypatch):
    monkeypatch.setattr(plain_losses, "MOST_KEPT", most)
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        (watcher,) = doctor._watchers
        in_step = [isinstance(watcher._pending.main, dict) for _ in steps(doctor, loss_fn, 9)]
    assert in_step == [most == 0] * 9
    assert {"pos_grad_norm", "loss", "interval_loss"} <= doctor.run.steps()[4].stats.keys()


def test_a_nan_of_a_later_forward_of_the_step_does_not_wait(monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        run(doctor, loss_fn, 6)
        for label in (1.0, math.nan):
            loss_fn(torch.zeros(64, requires_grad=True), torch.full((64,), label))
        assert "IMB001" in [finding.code for finding in doctor.step()]


@dataclass(frozen=True)
class Alarm(Rule):
    """Finds an error in the second record, which is of counts alone."""

    code, name, severity = "MINE1", "alarm", "error"
    kinds, requires, min_records, at_once = ANY, ("loss",), 1, True
    symptom = cause = remedy = "a test"

    def examine(self, window):
        return [Evidence({})] if window.records == 2 else []


def test_an_error_is_raised_by_the_next_step_and_not_by_whoever_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    with Doctor(tmp_path, on_finding="raise", every=1, rules=[Alarm()]) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        run(doctor, loss_fn, 2)
        assert {finding["code"] for finding in doctor.state_dict()["findings"]} == {"MINE1"}
        doctor.watch(nn.BCEWithLogitsLoss())
        with pytest.raises(ImbalanceError, match="MINE1"):
            doctor.step()


def test_an_error_that_close_finds_is_raised_when_all_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    doctor = Doctor(tmp_path, on_finding="raise", every=1, rules=[Alarm()])
    doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
    run(doctor, loss_fn, 2)
    with pytest.raises(ImbalanceError, match="MINE1"):
        doctor.close()
    assert lines(tmp_path)[-1]["kind"] == "end"
    assert not loss_fn._forward_hooks


def test_records_of_several_losses_keep_the_order_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    first, second, ranking = nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(), SmoothAPLoss(1)
    called = []
    with Doctor(tmp_path, on_finding="log", every=1) as doctor:
        for name, loss_fn in (("a", first), ("b", second), ("c", ranking)):
            doctor.watch(loss_fn, name)
        for step, (x, y) in zip(range(20), batches(64, 0.2, 0), strict=False):
            logits = x[:, 0].clone().requires_grad_()
            for name, loss_fn, every in (("a", first, 1), ("b", second, 2), ("c", ranking, 3)):
                if step % every == 0:
                    loss_fn(logits, y if name == "c" else y.float())
                    called.append((step, name))
            doctor.step()
    assert [(record.step, record.loss) for record in load_run(tmp_path).steps()] == called


def test_a_forked_process_leaves_what_waits_to_its_parent(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    with Doctor(tmp_path, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
        run(doctor, loss_fn, 9)
        if (child := os.fork()) == 0:
            doctor.findings  # noqa: B018  # reads
            os._exit(0)
        os.waitpid(child, 0)
        assert steps_on_disk(tmp_path) == [0, 1, 2, 3, 4]
    assert steps_on_disk(tmp_path) == list(range(9))


def test_a_doctor_that_is_never_closed_takes_down_what_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    doctor = Doctor(tmp_path, on_finding="log", every=1)
    doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
    run(doctor, loss_fn, 9)
    del doctor
    gc.collect()
    assert steps_on_disk(tmp_path) == list(range(9))


def test_so_does_a_process_that_ends_and_one_that_is_killed_loses_no_more_than_that(tmp_path):
    script = """
        import os, signal, sys
        from torch import nn
        from imbalance_doctor import Doctor
        from imbalance_doctor.live.listening import watchers
        from tests.live.test_waiting import run
        watchers.SHORT_GAP = float("inf")
        doctor, loss_fn = Doctor(sys.argv[1], on_finding="log", every=1), nn.BCEWithLogitsLoss()
        doctor.watch(loss_fn)
        run(doctor, loss_fn, 9)
        if sys.argv[2] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    """
    for end, records in (("ended", 9), ("killed", 5)):
        subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path / end), end], check=False)
        assert steps_on_disk(tmp_path / end) == list(range(records))


def test_a_newer_doctor_finds_what_waited_in_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    older = Doctor(tmp_path, on_finding="log", every=1)
    older.watch(loss_fn := nn.BCEWithLogitsLoss())
    run(older, loss_fn, 9)
    with Doctor(tmp_path, on_finding="log", every=1) as newer:
        newer.watch(again := nn.BCEWithLogitsLoss())
        again(torch.zeros(64, requires_grad=True), torch.zeros(64))
        newer.step(9)
        assert [record.step for record in newer.run.steps()] == list(range(10))
    del older
    gc.collect()  # without a word


def test_a_doctor_that_its_loss_knows_is_collected(monkeypatch):
    monkeypatch.setattr(watchers, "SHORT_GAP", math.inf)
    loss_fn = nn.BCEWithLogitsLoss()
    loss_fn.doctor = Doctor(None, on_finding="log", every=1)
    loss_fn.doctor.watch(loss_fn)
    run(loss_fn.doctor, loss_fn, 5)
    alive = weakref.ref(loss_fn)
    del loss_fn
    gc.collect()
    assert alive() is None


def test_a_record_is_read_without_a_change_to_the_schedule():
    notes = []
    listening = watchers.Watchers(10, None, notes.append)
    watcher = listening.add(loss_fn := nn.CrossEntropyLoss(), None, 0)
    loss_fn(torch.randn(8, 1_000, requires_grad=True), torch.arange(8))
    ((draft,), _) = listening.take(0, 0, dict)
    before = dict(vars(watcher.schedule))
    record = draft.make()
    assert vars(watcher.schedule) == before
    assert not notes
    for _ in range(2):  # whoever was cut short does it again
        draft.follow(record)
        assert (watcher.schedule.every, watcher.schedule.due) == (50, 50)
    assert len(notes) == 1


def test_half_precision_without_autocast_is_recorded():
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0, dtype=torch.bfloat16)))
        logits = torch.randn(64, dtype=torch.bfloat16, requires_grad=True)
        loss_fn(logits, (torch.arange(64) % 2).bfloat16()).backward()
        doctor.step()
    (record,) = doctor.run.steps()
    assert {"pos_loss_share", "pos_grad_norm"} <= record.stats.keys()
    assert all(np.isfinite(value).all() for value in record.stats.values())
