"""`watch`: a run is followed while another process, or this one, writes it."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imbalance_doctor import Doctor, diagnose, load_run
from imbalance_doctor.cli import main
from imbalance_doctor.examine.checkup import Checkup
from imbalance_doctor.examine.follow import follow
from imbalance_doctor.examine.selection import Choice
from imbalance_doctor.log import LogError
from losses import PAUCAtBudgetLoss
from tests.live.loop import train


def sick_loss():
    return PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)


def test_a_run_is_looked_at_whenever_it_has_grown_until_it_ends(tmp_path):
    run_dir, loss_fn = tmp_path / "run", sick_loss()
    doctor = Doctor(run_dir, on_finding="log")
    doctor.watch(loss_fn)
    waits = []

    def train_on(seconds):
        """What happens while the follower sleeps."""
        waits.append(seconds)
        if len(waits) in (2, 4):
            train(doctor, loss_fn, steps=60, first_step=30 * len(waits))
        if len(waits) == 6:
            doctor.close()

    looks = list(follow(run_dir, Choice(), interval=7.0, sleep=train_on))
    assert set(waits) == {7.0}
    assert looks[0].diagnosis is None
    assert [look.ended for look in looks] == [False, False, False, True]
    assert "IMB401" in {finding.code for finding in looks[-1].diagnosis.open}
    assert looks[-1].diagnosis.findings == diagnose(run_dir).findings


class Counted(Checkup):
    """A checkup that counts what all of them are fed."""

    fed = 0

    def feed(self, record):
        Counted.fed += 1
        return super().feed(record)


def test_each_record_is_examined_once_unless_a_session_supersedes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["imbalance_doctor.examine.diagnose"], "Checkup", Counted)
    monkeypatch.setattr(Counted, "fed", 0)
    run_dir, fed = tmp_path / "run", []

    def session(first, looks_between):
        loss_fn = sick_loss()
        with Doctor(run_dir, every=2, on_finding="log") as doctor:
            doctor.watch(loss_fn)
            for start in range(first, first + 40, 20):
                train(doctor, loss_fn, steps=20, first_step=start)
                looks_between()

    def look():
        diagnosis = next(looks).diagnosis
        assert diagnosis == replace(diagnose(run_dir), source=diagnosis.source)
        fed.append(Counted.fed - len(load_run(run_dir).records))  # those that `diagnose` was fed
        Counted.fed = 0

    looks = follow(run_dir, Choice(), interval=0.0, sleep=lambda seconds: None)
    session(0, look)
    records = len(load_run(run_dir).records)
    assert sum(fed) < records
    session(30, look)
    assert fed[2] > 10  # from the beginning
    assert fed[3] < 15


def test_a_log_that_is_replaced_is_followed_from_its_beginning(tmp_path):
    looks = follow(tmp_path / "run", Choice(), interval=0.0, sleep=lambda seconds: None)
    assert next(looks).diagnosis is None
    for run, steps in (("one", 60), ("two", 30)):
        loss_fn = sick_loss()
        doctor = Doctor(tmp_path / run, on_finding="log")
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=steps)
        doctor.diagnosis  # noqa: B018 - puts down what waits
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / run / "diagnostics-rank0.jsonl").rename(tmp_path / "run" / "diagnostics-rank0.jsonl")
        assert next(looks).diagnosis.findings == diagnose(tmp_path / "run").findings


def test_a_place_where_no_run_can_come_to_be_is_an_error(tmp_path):
    with pytest.raises(LogError, match="no such file or directory, and its parent does not exist either"):
        next(follow(tmp_path / "no" / "run", Choice(), interval=1.0))


@pytest.mark.slow
def test_the_command_follows_another_process_in_a_pipe(tmp_path):
    script = textwrap.dedent(
        f"""
        import time
        from imbalance_doctor import Doctor
        from tests.live.loop import train
        from losses import PAUCAtBudgetLoss
        loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)
        with Doctor({str(tmp_path / "run")!r}, on_finding="log") as doctor:
            doctor.watch(loss_fn)
            train(doctor, loss_fn, steps=200, each_step=lambda step: time.sleep(0.01))
        """
    )
    command = [sys.executable, "-m", "imbalance_doctor", "watch", str(tmp_path / "run"), "--interval", "0.2"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    lines = follower.communicate(timeout=60)[0].splitlines()
    assert follower.returncode == 0
    assert any(line.startswith("ERROR IMB401 empty-band") for line in lines)
    assert len(set(lines)) == len(lines)


def test_a_run_without_panels_gets_them_afterwards(tmp_path, capsys):
    loss_fn = sick_loss()
    with Doctor(tmp_path / "run", on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=150)
        doctor.log_eval([0.1, -0.2, 0.3], [1, 0, 1])
    assert main(["tensorboard", str(tmp_path / "run"), "--logdir", str(tmp_path / "tb" / "run")]) == 0
    assert "tensorboard --logdir" in capsys.readouterr().err
    events = EventAccumulator(str(tmp_path / "tb" / "run"))
    events.Reload()
    steps = [event.step for event in events.Scalars("pauc_at_budget 1 loss/loss")]
    assert steps == [record.step for record in load_run(tmp_path / "run").steps()]
    assert any("validation" in tag for tag in events.Tags()["scalars"])
    assert events.Tags()["tensors"]  # the findings, as text


@pytest.mark.parametrize("command", [["watch"], ["tensorboard", "--logdir", "tb"]])
def test_a_run_that_is_not_there_is_named(command, tmp_path, capsys):
    assert main([*command, str(tmp_path / "no" / "run")]) == 2
    assert "no such file or directory" in capsys.readouterr().err
