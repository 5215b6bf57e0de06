"""Where records and findings go besides the log: in order, in a thread of its own, and nobody's risk."""

import copy
import gc
import os
import pickle
import re
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, ImbalanceWarning, load_run
from imbalance_doctor.live import delivery
from imbalance_doctor.records import EndRecord, EvalRecord, RunInfo, StepRecord, TreatmentRecord, WatchRecord
from losses import PAUCAtBudgetLoss
from tests.live.loop import train
from tests.render.hostile import HOSTILE


def sick_loss():
    """A band of 0.5 % of negatives, looked for in a pool of 128 rows: it is empty."""
    return PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)


class Toy:
    """Keeps what it is called with."""

    def __init__(self):
        self.calls = []
        self.threads = set()

    def begin(self, info):
        self.note("begin", info)

    def record(self, record):
        self.note("record", record)

    def finding(self, finding):
        self.note("finding", finding)

    def close(self):
        self.note("close", None)

    def note(self, call, given):
        self.threads.add(threading.current_thread())
        self.calls.append((call, given))

    def given(self, call, kind=object):
        return [given for name, given in self.calls if name == call and isinstance(given, kind)]

    @property
    def order(self):
        return [name for name, _ in self.calls]


def watched(sinks, run_dir=None, steps=100, first_step=0, **settings):
    """A run with a fault, closed."""
    with Doctor(run_dir, on_finding="log", sinks=sinks, **settings) as doctor:
        doctor.watch(loss_fn := sick_loss(), "pauc")
        train(doctor, loss_fn, steps=steps, first_step=first_step)
    return doctor


# --- what a sink is given ---------------------------------------------------------------------------------


def test_a_sink_is_given_a_run_in_its_order(tmp_path):
    toy = Toy()
    with Doctor(tmp_path, every=1, on_finding="log", sinks=[toy]) as doctor:
        doctor.watch(loss_fn := sick_loss(), "pauc")
        found = train(doctor, loss_fn, steps=20)
        doctor.log_eval(torch.arange(8.0), torch.tensor([0, 1] * 4))
        treatment = doctor.treat(next(finding for finding in found if finding.code == "IMB401"))
        train(doctor, loss_fn, steps=2, first_step=20)
    assert toy.order[:2] == ["begin", "record"]
    assert toy.order[-1] == "close"
    assert toy.order.count("begin") == toy.order.count("close") == 1
    (info,) = toy.given("begin")
    assert isinstance(info, RunInfo)
    assert info.start_step == 0
    kinds = list(dict.fromkeys(type(record) for record in toy.given("record")))
    assert kinds == [WatchRecord, StepRecord, EvalRecord, TreatmentRecord, EndRecord]
    assert [record.step for record in toy.given("record", StepRecord)] == list(range(22))
    assert toy.given("record", TreatmentRecord) == [treatment]
    # A finding comes after the record that has shown it.
    first = toy.given("finding")[0]
    before = toy.calls[: toy.calls.index(("finding", first))]
    assert before[-1][1].step == first.step
    assert toy.given("finding")[: len(found)] == found


def test_a_resumed_run_begins_where_it_goes_on_and_tells_nothing_twice(tmp_path):
    first, second = Toy(), Toy()
    watched([first], tmp_path)
    watched([second], tmp_path, first_step=100)
    assert [info.start_step for info in (*first.given("begin"), *second.given("begin"))] == [0, 100]
    assert "IMB401" in [finding.code for finding in first.given("finding")]
    assert "IMB401" not in [finding.code for finding in second.given("finding")]
    assert min(record.step for record in second.given("record")) == 100


def test_a_run_that_goes_back_begins_once_more_and_closes_once():
    toy = Toy()
    with Doctor(None, on_finding="log", sinks=[toy]) as doctor:
        doctor.watch(loss_fn := sick_loss())
        train(doctor, loss_fn, steps=50)
        state = doctor.state_dict()
        train(doctor, loss_fn, steps=50, first_step=50)
        doctor.load_state_dict(state)
        train(doctor, loss_fn, steps=50, first_step=50)
    assert [info.start_step for info in toy.given("begin")] == [0, 50]
    assert toy.order.count("close") == 1
    again = toy.order.index("begin", 1)
    assert next(record.step for _, record in toy.calls[again:] if isinstance(record, StepRecord)) == 50


def test_a_sink_of_a_callback_is_used_by_one_run_after_the_other():
    toy = Toy()
    for _ in range(2):
        watched([toy], steps=20)
    order = [name for name in toy.order if name not in ("record", "finding")]
    assert order == ["begin", "close", "begin", "close"]


@pytest.mark.parametrize("kind", ["colour", "newline", "surrogate"])
def test_names_come_clean_and_are_still_told_apart(kind):
    toy, name = Toy(), HOSTILE[kind]
    with Doctor(None, every=1, on_finding="log", sinks=[toy], class_names=["ok", name]) as doctor:
        for each in (name, f"{name}\u200b"):
            doctor.watch(loss_fn := sick_loss(), each)
            train(doctor, loss_fn, steps=20, first_step=20 * (each != name))
    losses = {record.loss.name for record in toy.given("record", WatchRecord)}
    assert len(losses) == 2
    assert {record.loss for record in toy.given("record", StepRecord)} == losses
    assert {finding.loss for finding in toy.given("finding")} <= losses
    shown = [*losses, *toy.given("begin")[0].class_names]
    shown += [finding.class_name for finding in toy.given("finding") if finding.class_name]
    assert all(text.isprintable() and len(text) <= 210 for text in shown)


def test_the_example_of_the_page_works(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "monitor.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "sinks=" in code)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    with names["doctor"] as doctor:
        doctor.watch(loss_fn := sick_loss(), "pauc")
        with pytest.warns(ImbalanceWarning):
            train(doctor, loss_fn, steps=50)
    assert "IMB401" in capsys.readouterr().out
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == [f"{step},pauc" for step in range(0, 50, 10)]


# --- its thread -------------------------------------------------------------------------------------------


def test_all_calls_come_from_one_thread_that_is_not_the_loops_and_ends():
    toy = Toy()
    watched([toy])
    (thread,) = toy.threads
    assert thread is not threading.current_thread()
    thread.join(5)
    assert not thread.is_alive()


class Slow(Toy):
    """Takes nothing before it may."""

    def __init__(self):
        super().__init__()
        self.may = threading.Event()

    def note(self, call, given):
        self.may.wait(60)
        super().note(call, given)


def test_a_sink_that_hangs_delays_neither_the_run_nor_its_log_nor_another_sink(tmp_path):
    slow, toy = Slow(), Toy()
    doctor = Doctor(tmp_path, every=1, on_finding="log", sinks=[slow, toy])
    doctor.watch(loss_fn := sick_loss(), "pauc")
    found = train(doctor, loss_fn, steps=30)
    assert "IMB401" in [finding.code for finding in found]
    assert [record.step for record in load_run(tmp_path).steps()] == list(range(30))
    assert not slow.calls
    slow.may.set()
    doctor.close()  # waits for it
    assert [call[0] for call in slow.calls] == toy.order
    assert slow.order[-1] == "close"
    assert not doctor.diagnosis.notes


def test_the_end_of_a_run_waits_for_a_sink_no_longer_than_its_patience(monkeypatch):
    monkeypatch.setattr(delivery, "PATIENCE", 0.1)
    monkeypatch.setattr("imbalance_doctor.live.journal.PATIENCE", 0.1)
    slow, toy = Slow(), Toy()
    with pytest.warns(ImbalanceWarning, match="Slow failed .*had not finished") as told:
        doctor = watched([slow, toy])
    assert len(told) == 1
    assert toy.order[-1] == "close"
    assert any("Slow failed" in note for note in doctor.diagnosis.notes)
    slow.may.set()


def test_where_a_sink_is_far_behind_step_records_are_left_out_and_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(delivery, "MOST_WAITING", 10)
    slow = Slow()
    doctor = Doctor(tmp_path, every=1, on_finding="log", sinks=[slow])
    doctor.watch(loss_fn := sick_loss())
    with pytest.warns(ImbalanceWarning, match="Slow is slower than the run") as told:
        found = train(doctor, loss_fn, steps=40)
    assert len(told) == 1
    slow.may.set()
    while len(slow.calls) < 10:
        time.sleep(0.01)
    train(doctor, loss_fn, steps=5, first_step=40)
    doctor.close()
    steps = [record.step for record in slow.given("record", StepRecord)]
    assert steps[:5] == list(range(5))
    assert len(steps) < 45
    assert steps[-1] >= 40
    assert slow.given("finding")[: len(found)] == found  # of these none is left out
    assert any(f"{45 - len(steps)} records were not sent to it" in note for note in doctor.diagnosis.notes)
    assert len(load_run(tmp_path).steps()) == 45


def test_a_sink_may_ask_its_doctor():
    class Curious(Toy):
        def note(self, call, given):
            super().note(call, len(doctor.diagnosis.findings))

    curious = Curious()
    with Doctor(None, on_finding="log", sinks=[curious]) as doctor:
        doctor.watch(loss_fn := sick_loss())
        train(doctor, loss_fn, steps=100)
    assert curious.calls[-1][0] == "close"
    assert curious.calls[-1][1] > 0
    assert not doctor.diagnosis.notes


# --- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["begin", "record", "finding", "close"])
def test_a_sink_that_raises_costs_one_warning_and_itself_alone(method, tmp_path):
    class Failing(Toy):
        def note(self, call, given):
            super().note(call, given)
            if call == method:
                raise RuntimeError("away")

    failing, toy = Failing(), Toy()
    with pytest.warns(ImbalanceWarning, match=r"Failing failed \(RuntimeError: away\); nothing more") as told:
        doctor = watched([failing, toy], tmp_path)
    assert len(told) == 1
    assert failing.order.count(method) == 1
    assert failing.order[-1] == method
    assert toy.order[-1] == "close"
    assert any("Failing failed: RuntimeError: away" in note for note in doctor.diagnosis.notes)
    assert "IMB401" in [finding.code for finding in doctor.findings]
    assert not load_run(tmp_path).notes


def test_a_sink_is_called_by_its_name():
    class Failing(Toy):
        name = "the pager"

        def begin(self, info):
            raise RuntimeError("away")

    with pytest.warns(ImbalanceWarning, match="the pager failed"):
        watched([Failing()])


def test_two_sinks_are_given_the_same():
    one, other = Toy(), Toy()
    watched([one, other])
    assert one.order == other.order
    assert one.given("finding") == other.given("finding")
    assert one.threads != other.threads


class Lacking:
    def begin(self, info):
        pass

    def record(self, record):
        pass

    def finding(self):
        pass


@pytest.mark.parametrize(
    ("sinks", "message"),
    [
        (
            [Toy(), Lacking()],
            r"a sink to have .*, got Lacking without finding\(finding\), close\(\)",
        ),
        ([Toy], "expected a sink, got the class Toy: give an instance of it"),
        ([None], "got NoneType without begin"),
        (Toy(), "expected sinks to be a list of sinks, got Toy"),
        ("tensorboard", "expected sinks to be a list of sinks, got str"),
    ],
    ids=["lacks methods", "a class", "None", "no list", "a text"],
)
def test_what_is_no_sink_is_an_error_at_once(sinks, message):
    with pytest.raises(TypeError, match=message):
        Doctor(None, sinks=sinks)


# --- closing, forks, copies -------------------------------------------------------------------------------


def test_a_sink_is_closed_once():
    toy = Toy()
    doctor = watched([toy])
    doctor.close()
    del doctor
    gc.collect()
    assert toy.order.count("close") == 1


def test_a_run_without_a_step_begins_nothing_and_closes_nothing():
    toy = Toy()
    with Doctor(None, sinks=[toy]) as doctor:
        doctor.watch(sick_loss())
    assert not toy.calls


def test_a_doctor_that_is_never_closed_closes_its_sinks():
    toy = Toy()
    doctor = Doctor(None, on_finding="log", sinks=[toy])
    doctor.watch(loss_fn := nn.BCEWithLogitsLoss())
    train(doctor, loss_fn, steps=20)
    del doctor
    gc.collect()
    assert toy.order[-1] == "close"


def test_a_forked_process_uses_none(tmp_path):
    class Written(Toy):
        def note(self, call, given):
            with (tmp_path / "calls").open("a") as file:
                file.write(f"{os.getpid() == parent} {call}\n")

    parent = os.getpid()
    doctor = Doctor(tmp_path / "run", every=1, on_finding="log", sinks=[Written()])
    doctor.watch(loss_fn := sick_loss())
    train(doctor, loss_fn, steps=20)
    finding = doctor.findings[0]
    if (child := os.fork()) == 0:
        try:
            train(doctor, loss_fn, steps=5, first_step=20)
            doctor.log_eval(torch.arange(8.0), torch.tensor([0, 1] * 4))
            doctor.treat(finding)
            doctor.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    doctor.close()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert {line.split()[0] for line in calls} == {"True"}
    assert calls[-1] == "True close"
    assert len(load_run(tmp_path / "run").steps()) == 20


def test_a_copied_doctor_shares_them_and_a_saved_one_has_none():
    toy = Toy()
    doctor = Doctor(None, on_finding="log", sinks=[toy])
    doctor.watch(loss_fn := sick_loss())
    train(doctor, loss_fn, steps=20)
    assert copy.deepcopy(doctor) is doctor
    loaded = pickle.loads(pickle.dumps(doctor))
    with pytest.warns(ImbalanceWarning, match="records nothing"):
        loaded.step()
    loaded.close()
    doctor.close()
    assert toy.order.count("begin") == toy.order.count("close") == 1


def test_rank_0_alone_has_sinks(monkeypatch):
    monkeypatch.setattr("imbalance_doctor.live.journal._process", lambda: (1, 2))
    toy = Toy()
    watched([toy])
    assert not toy.calls
