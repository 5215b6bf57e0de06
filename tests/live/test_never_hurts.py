"""Whatever goes wrong in or around the monitor, training goes on, and one warning says what is lost."""

import contextlib
import json
import multiprocessing
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, ImbalanceWarning, diagnose, load_run
from imbalance_doctor.live.announce import announcer
from imbalance_doctor.records import StepRecord
from imbalance_doctor.rules.base import ANY, Evidence, Rule
from losses import PAUCAtBudgetLoss, SigmoidFocalLoss, SmoothAPLoss
from tests.live.loop import batches, train


def sick_loss():
    """A band of 0.5 % of negatives, looked for in a pool of 128 rows: it is empty."""
    return PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)


def healthy_loss():
    return SmoothAPLoss(num_classes=1, queue_size=1024, temperature=0.1)


# --- the place of the log -----------------------------------------------------------------------------


def test_a_full_disk_costs_one_warning_and_the_log(tmp_path):
    # /dev/full answers every write with "no space left on device".
    (tmp_path / "diagnostics-rank0.jsonl").symlink_to("/dev/full")
    loss_fn = sick_loss()
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match=r"the run log failed \(OSError: .*No space left") as caught:
            found = train(doctor, loss_fn, steps=200)
    assert len(caught) == 1
    assert "IMB401" in {f.code for f in found}  # the rest goes on
    assert any("run log failed" in note for note in doctor.diagnosis.notes)


def test_a_place_that_cannot_be_written_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("")
    loss_fn = healthy_loss()
    with Doctor(tmp_path / "file" / "run", on_finding="log") as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match="the run log failed") as caught:
            train(doctor, loss_fn, steps=50)
    assert len(caught) == 1


def test_a_directory_that_vanishes_does_no_harm(tmp_path):
    loss_fn = healthy_loss()
    run_dir = tmp_path / "run"
    with Doctor(run_dir, on_finding="log") as doctor:
        doctor.watch(loss_fn)

        def vanish(step):
            if step == 20:
                (run_dir / "diagnostics-rank0.jsonl").unlink()
                run_dir.rmdir()

        with pytest.warns(ImbalanceWarning, match="the log was deleted") as caught:
            train(doctor, loss_fn, steps=50, each_step=vanish)
    assert len(caught) == 1
    assert not run_dir.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_keeps_what_was_written_and_nothing_half_written(small_disk):
    loss_fn = sick_loss()
    with Doctor(small_disk, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match=r"the run log failed .*Training goes on") as caught:
            found = train(doctor, loss_fn, steps=400)
    assert len(caught) == 1
    assert "IMB401" in {finding.code for finding in found}
    log = (small_disk / "diagnostics-rank0.jsonl").read_bytes()
    assert log.endswith(b"\n")
    assert len(log) > 50_000
    run = load_run(small_disk)
    assert not run.notes
    assert [record.step for record in run.steps()] == list(range(len(run.steps())))
    assert "IMB401" in {finding.code for finding in diagnose(run).findings}


def test_a_directory_that_cannot_be_written_to_costs_one_warning(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    loss_fn = sick_loss()
    with Doctor(small_disk, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match=r"the run log failed .*Read-only file system") as caught:
            found = train(doctor, loss_fn, steps=100)
    assert len(caught) == 1
    assert "IMB401" in {finding.code for finding in found}


def test_two_processes_on_one_directory_do_not_mix(tmp_path):
    script = textwrap.dedent(
        f"""
        import sys
        from imbalance_doctor import Doctor
        from tests.live.loop import train
        from losses import SmoothAPLoss
        loss_fn = SmoothAPLoss(1)
        doctor = Doctor({str(tmp_path)!r}, on_finding="log")
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=25)
        print("ready", flush=True)
        sys.stdin.readline()
        doctor.close()
        """
    )
    first = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "ready\n"
    before = (tmp_path / "diagnostics-rank0.jsonl").read_bytes()
    loss_fn = sick_loss()
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match="another process writes to .*a directory of its own"):
            found = train(doctor, loss_fn, steps=100)
    assert "IMB401" in {finding.code for finding in found}
    assert (tmp_path / "diagnostics-rank0.jsonl").read_bytes() == before
    first.communicate("\n")
    assert [record.step for record in load_run(tmp_path).steps()] == [0, 10, 20]
    with Doctor(tmp_path, on_finding="log") as doctor:  # the lock went with the process
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=20, first_step=30)
    assert [record.step for record in load_run(tmp_path).steps()] == [0, 10, 20, 30, 40]


def test_a_newer_doctor_of_the_same_process_takes_the_log_over(tmp_path):
    older, newer, loss_fn = Doctor(tmp_path), Doctor(tmp_path), healthy_loss()
    older.watch(loss_fn)
    train(older, loss_fn, steps=15)
    older_loss, loss_fn = loss_fn, healthy_loss()
    newer.watch(loss_fn)
    train(newer, loss_fn, steps=15, first_step=20)
    with pytest.warns(ImbalanceWarning, match="a newer Doctor of this process writes to"):
        train(older, older_loss, steps=15, first_step=15)
    newer.close()
    older.close()
    assert [record.step for record in load_run(tmp_path).steps()] == [0, 10, 20, 30]


# --- what runs inside ---------------------------------------------------------------------------------


def test_a_callback_that_raises_costs_one_warning():
    def callback(finding):
        raise RuntimeError("no network")

    loss_fn = sick_loss()
    with Doctor(None, on_finding=callback) as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match="no network") as caught:
            found = train(doctor, loss_fn, steps=200)
    assert len(caught) == 1
    assert found


def test_input_that_does_not_fit_costs_one_evaluation_or_one_metric():
    loss_fn = healthy_loss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=1)
        with pytest.warns(ImbalanceWarning, match="log_eval failed .*at least one row"):
            doctor.log_eval([], [])
        doctor.log_eval(torch.randn(50), torch.rand(50) < 0.5)
        assert len(doctor.run.evaluations) == 1
        with pytest.warns(ImbalanceWarning, match="metrics given to step to be numbers, got others for lr"):
            doctor.step(lr="high")
        train(doctor, loss_fn, steps=2, first_step=2)


def test_a_closed_doctor_is_silent(tmp_path):
    doctor = Doctor(tmp_path / "run")
    doctor.close()
    doctor.close()
    assert doctor.step() == []
    doctor.log_eval(torch.randn(5), torch.ones(5))
    assert not (tmp_path / "run").exists()


def test_a_rule_of_the_users_that_raises_costs_one_warning_and_that_rule(tmp_path):
    @dataclass(frozen=True)
    class Mine(Rule):
        code, name, severity = "MINE1", "mine", "warning"
        kinds, requires, min_records = ANY, (), 1
        symptom = "{no_such_value}"
        cause = remedy = ""

        def examine(self, window):
            yield Evidence({})

    loss_fn = sick_loss()
    with Doctor(tmp_path, on_finding="log", rules=[Mine()], select=["MINE1", "IMB401"]) as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(
            ImbalanceWarning, match=r"rule MINE1 failed \(KeyError: 'no_such_value'\)"
        ) as caught:
            found = train(doctor, loss_fn, steps=200)
    assert len(caught) == 1
    assert [f.code for f in found] == ["IMB401"]
    assert [f.code for f in diagnose(tmp_path).findings] == ["IMB401"]  # which does not have the rule


def test_a_loss_called_in_its_own_way_costs_one_warning():
    class Odd(nn.Module):
        def forward(self, everything):
            return everything["logits"].mean()

    loss_fn = Odd()
    with Doctor(None, every=1) as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(
            ImbalanceWarning, match=r"called with \(logits, targets\) tensors, got \['dict'\]"
        ) as caught:
            for _ in range(5):
                loss_fn({"logits": torch.randn(4, requires_grad=True)})
                doctor.step()
    assert len(caught) == 1


def test_a_loss_that_cannot_be_read_costs_itself_alone():
    class Own(nn.Module):
        def forward(self, batch):
            return batch["logits"].square().mean()

    own, focal = Own(), SigmoidFocalLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(own)
        doctor.watch(focal)
        with pytest.warns(ImbalanceWarning, match="the statistics of 'Own' failed.*it is no longer recorded"):
            for _, (x, y) in zip(range(4), batches(64, 0.2, 0), strict=False):
                logits = x[:, 0].clone().requires_grad_()
                (own({"logits": logits}) + focal(logits, y.float())).backward()
                doctor.step()
        (note,) = doctor.diagnosis.notes
    assert [(record.step, record.loss) for record in doctor.run.steps()] == [
        (step, "sigmoid_focal") for step in range(4)
    ]
    assert "the statistics of 'Own' failed" in note


def test_a_transformed_call_is_no_training_step_and_later_ones_are():
    """Gradients of single rows: inside `vmap` nobody may look at a value."""
    loss_fn = nn.BCEWithLogitsLoss()

    def of_row(weight, x, y):
        return loss_fn(x @ weight, y)

    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=1)
        x, y = next(batches(64, 0.2, 0))
        torch.func.vmap(torch.func.grad(of_row), (None, 0, 0))(torch.zeros(8), x, y.float())
        doctor.step()
        assert len(doctor.run.steps()) == 1
        loss_fn(torch.zeros(8, requires_grad=True), torch.ones(8)).backward()
        doctor.step()
    assert len(doctor.run.steps()) == 2
    assert not doctor.diagnosis.notes


def test_a_loss_that_is_called_in_transforms_alone_is_told_of():
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match=r"was called only .* inside torch\.func"):
            for _ in range(30):
                torch.func.grad(loss_fn)(torch.zeros(8), torch.ones(8))
                doctor.step()


def test_nan_everywhere_is_a_finding_and_no_failure(tmp_path):
    loss_fn = healthy_loss()
    with Doctor(tmp_path, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        for _ in range(5):
            loss_fn(torch.full((32, 1), float("nan"), requires_grad=True), torch.randint(2, (32,)))
            doctor.step()
    assert "IMB001" in {f.code for f in doctor.findings}
    assert "IMB001" in {f.code for f in diagnose(tmp_path).findings}


def test_an_error_in_the_loop_leaves_a_log_without_an_end(tmp_path):
    loss_fn = healthy_loss()

    def stop(step):
        if step == 35:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=50, each_step=stop)
    assert [record.step for record in load_run(tmp_path).records if isinstance(record, StepRecord)] == [
        0,
        10,
        20,
        30,
    ]
    kinds = [
        json.loads(line)["kind"] for line in (tmp_path / "diagnostics-rank0.jsonl").read_text().splitlines()
    ]
    assert "end" not in kinds


def test_a_class_count_that_changes_does_no_harm(tmp_path):
    loss_fn = nn.CrossEntropyLoss()
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=60, classes=4)
        train(doctor, loss_fn, steps=60, classes=6, first_step=60)
        live = doctor.findings
    assert not doctor.diagnosis.notes
    run = load_run(tmp_path)
    assert [len(record.stats["pool_pos_count"]) for record in run.steps()] == [4] * 6 + [6] * 6
    assert run.stats.groupby("step")["class"].nunique().tolist() == [4] * 6 + [6] * 6
    assert diagnose(run).findings == live


class _Rows(torch.utils.data.Dataset):
    """Rows from a worker that was forked while the doctor was watching, and that calls it."""

    def __init__(self, doctor, loss_fn):
        self.doctor, self.loss_fn = doctor, loss_fn

    def __len__(self):
        return 40

    def __getitem__(self, index):
        x, y = torch.randn(8, 8), torch.randint(2, (8,))
        self.loss_fn(x[:, :1].requires_grad_(), y)
        found = self.doctor.step()
        assert found == []
        return x, y


def test_a_forked_data_loader_neither_writes_nor_keeps_the_lock(tmp_path):
    loss_fn, model = healthy_loss(), nn.Linear(8, 1)
    doctor = Doctor(tmp_path, on_finding="log", every=1)
    doctor.watch(loss_fn)
    train(doctor, loss_fn, steps=1)
    loader = torch.utils.data.DataLoader(
        _Rows(doctor, loss_fn),
        num_workers=2,
        batch_size=None,
        multiprocessing_context=multiprocessing.get_context("fork"),
    )
    for x, y in loader:
        loss_fn(model(x), y).backward()
        doctor.step()
    doctor.close()
    run = load_run(tmp_path)
    assert [record.step for record in run.steps()] == list(range(41))
    assert run.info.start_step == 0


@pytest.mark.slow
def test_ctrl_c_ends_the_run_and_leaves_a_log_that_resumes(tmp_path):
    script = textwrap.dedent(
        f"""
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        from imbalance_doctor import Doctor
        from tests.live.loop import train
        from losses import PAUCAtBudgetLoss
        loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)
        with Doctor({str(tmp_path)!r}, on_finding="log", every=1) as doctor:
            doctor.watch(loss_fn)
            train(doctor, loss_fn, steps=10_000_000)
        """
    )
    log = tmp_path / "diagnostics-rank0.jsonl"
    for _ in range(2):
        lines = 30 + (log.read_bytes().count(b'"step"') if log.exists() else 0)
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (
            log.exists() and log.read_bytes().count(b'"step"') > lines
        ):
            time.sleep(0.05)
        errors = ""
        for _ in range(10):  # torch swallows one that comes in the wrong moment, watched or not
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, errors = process.communicate(timeout=5)
                break
        else:
            process.kill()
        assert process.returncode != 0
        assert "KeyboardInterrupt" in errors
        assert "during handling" not in errors.lower()
        assert log.read_bytes().endswith(b"\n")
        assert "IMB401" in {finding.code for finding in diagnose(tmp_path).findings}


@pytest.mark.slow
def test_a_killed_run_leaves_a_log_that_report_reads(tmp_path):
    script = textwrap.dedent(
        f"""
        from imbalance_doctor import Doctor
        from tests.live.loop import train
        from losses import PAUCAtBudgetLoss
        loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)
        doctor = Doctor({str(tmp_path)!r}, on_finding="log")
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=10_000_000)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    log = tmp_path / "diagnostics-rank0.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b'"step"') > 30):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = subprocess.run(
        [sys.executable, "-m", "imbalance_doctor", "report", str(tmp_path)], capture_output=True, text=True
    )
    assert report.returncode == 1
    assert "IMB401" in report.stdout
    assert report.stderr == ""


def test_what_calls_back_can_be_sent_to_another_process():
    """A callback of Lightning goes to the processes that it spawns."""
    pickle.loads(pickle.dumps(announcer(print)))([])
