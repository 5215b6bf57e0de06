from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from imbalance_doctor.cli import main
from imbalance_doctor.findings import Finding
from imbalance_doctor.live.doctor import Doctor
from imbalance_doctor.records import RunInfo, StepRecord, as_array
from imbalance_doctor.render.tensorboard.board import FULL_RATE, MOST_CLASSES, TensorBoardPanels

from .conftest import Case


def begun(target: Any, info: RunInfo | None = None) -> TensorBoardPanels:
    panels = TensorBoardPanels(target)
    panels.begin(info or RunInfo())
    return panels


def draw(case: Case, target: Any) -> None:
    panels = begun(target, case.run.info)
    for record in case.run.records:
        panels.record(record)
    for finding in case.run.live_findings:
        panels.finding(finding)
    panels.close()


def read(path: Path) -> EventAccumulator:
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
    events.Reload()
    return events


@pytest.fixture(scope="module")
def binary_logs(binary: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tensorboard") / "binary"
    draw(binary, path)
    return path


@pytest.fixture(scope="module")
def many_logs(many: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tensorboard") / "many"
    draw(many, path)
    return path


def test_scalars_are_the_recorded_ones(binary: Case, binary_logs: Path) -> None:
    events = read(binary_logs)
    for tag, name in (("1 loss/loss", "loss"), ("2 positives/pool_pos_count", "pool_pos_count")):
        read_back = [(e.step, e.value) for e in events.Scalars(f"pauc_at_budget {tag}")]
        recorded = [(r.step, float(np.ravel(r.stats[name])[0])) for r in binary.run.steps("pauc_at_budget")]
        assert read_back == [pytest.approx(pair) for pair in recorded]
    assert [e.step for e in events.Scalars("validation/average_precision")] == [29, 59, 89, 119]
    assert events.Scalars("bce 9 logged/learning_rate")[0].value == pytest.approx(0.01)


def test_histograms_hold_every_score(binary: Case, binary_logs: Path) -> None:
    events = read(binary_logs)
    recorded = [r for r in binary.run.steps("pauc_at_budget") if "neg_score_hist" in r.stats]
    shown = events.Histograms("pauc_at_budget 3 scores/negatives")
    assert [e.step for e in shown] == [r.step for r in recorded]
    for event, record in zip(shown, recorded, strict=True):
        histogram, edges = event.histogram_value, record.stats["score_hist_edges"][0]
        assert sum(histogram.bucket) == record.stats["neg_score_hist"].sum()
        assert edges[0] <= histogram.min <= histogram.max <= edges[-1]


def texts(events: EventAccumulator, tag: str) -> list[str]:
    return [e.tensor_proto.string_val[0].decode() for e in events.Tensors(f"{tag}/text_summary")]


def test_findings_are_texts(binary: Case, binary_logs: Path) -> None:
    events = read(binary_logs)
    finding = binary.run.live_findings[0]
    first = texts(events, f"findings/{finding.code} {finding.name}")[0]
    assert finding.cause in first
    assert "Remedy" in first
    table = texts(events, "findings/all")[-1]
    assert "| resolved |" in table
    assert all(f.code in table for f in binary.run.live_findings)
    assert events.Scalars("findings/open")[-1].value == len(binary.diagnosis.open)


def test_tags_are_bounded_and_what_is_left_out_is_said(many: Case, many_logs: Path) -> None:
    events = read(many_logs)
    tags = events.Tags()["scalars"]
    counts = [tag for tag in tags if tag.startswith("recall_at_quantile 2 positives/pool_pos_count")]
    assert len(counts) <= MOST_CLASSES + 3
    lowest = events.Scalars("recall_at_quantile 2 positives/pool_pos_count, lowest of all")
    recorded = [r.stats["pool_pos_count"].min() for r in many.run.steps()]
    assert [e.value for e in lowest] == recorded
    assert "100 classes" in texts(events, "about/classes")[0]


def test_classes_with_findings_get_lines(many: Case, tmp_path: Path) -> None:
    finding = replace(many.run.live_findings[0], class_index=50)
    steps = many.run.steps()
    panels = begun(tmp_path, many.run.info)
    panels.record(steps[0])
    panels.finding(finding)
    panels.record(steps[1])
    panels.close()
    tag = "recall_at_quantile 2 positives/pool_pos_count, 50 species 50"
    assert [e.step for e in read(tmp_path).Scalars(tag)] == [steps[1].step]


def test_long_runs_are_thinned(binary: Case, tmp_path: Path) -> None:
    record = StepRecord(0, "a", {"loss": np.float32(0.5).reshape(())})
    panels = begun(tmp_path, binary.run.info)
    for step in range(20 * FULL_RATE):
        panels.record(replace(record, step=step))
    panels.close()
    written = read(tmp_path).Scalars("a 1 loss/loss")
    assert [e.step for e in written[:FULL_RATE]] == list(range(FULL_RATE))
    assert len(written) < 4 * FULL_RATE
    assert written[-1].step > 19 * FULL_RATE


def test_a_loss_that_became_nan_shows_it(binary: Case, tmp_path: Path) -> None:
    panels = begun(tmp_path, binary.run.info)
    panels.record(StepRecord(0, "a", {"loss": np.float32(math.nan).reshape(())}))
    panels.close()
    assert math.isnan(read(tmp_path).Scalars("a 1 loss/loss")[0].value)


def test_the_users_writer_is_left_open(binary: Case, tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        draw(binary, writer)
        writer.add_scalar("mine", 1.0, 0)
    tags = read(tmp_path).Tags()["scalars"]
    assert "mine" in tags
    assert "pauc_at_budget 1 loss/loss" in tags


@pytest.mark.slow
def test_a_tensorboard_server_shows_them(
    binary: Case, binary_logs: Path, many_logs: Path, tmp_path: Path
) -> None:
    for logs in (binary_logs, many_logs):
        shutil.copytree(logs, tmp_path / logs.name)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=log, stderr=log)
    try:
        tags = wait_for(port, "scalars/tags", lambda answer: {"binary", "many"} <= answer.keys())
        assert "pauc_at_budget 1 loss/loss" in tags["binary"]
        points = get(port, "scalars/scalars", run="binary", tag="pauc_at_budget 2 positives/pool_pos_count")
        steps = [record.step for record in binary.run.steps("pauc_at_budget")]
        assert [int(step) for _, step, _ in points] == steps
        histograms = get(port, "histograms/histograms", run="binary", tag="bce 3 scores/positives")
        assert histograms
        assert get(port, "text/tags")["binary"]
        layout = get(port, "custom_scalars/layout")
        titles = {category["title"] for category in layout["category"]}
        assert {"pauc_at_budget: positives", "bce: positives", "validation"} <= titles
        charts = [chart for category in layout["category"] for chart in category["chart"]]
        for chart in charts:
            matched = [
                get(port, "custom_scalars/scalars", run=run, tag=chart["multiline"]["tag"][0])[
                    "tag_to_events"
                ]
                for run in ("binary", "many")
            ]
            assert any(matched), f"the chart {chart['title']} is empty"
    finally:
        server.terminate()
        server.wait(timeout=20)


def get(port: int, route: str, **query: str) -> Any:
    url = f"http://127.0.0.1:{port}/data/plugin/{route}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def wait_for(port: int, route: str, ready: Any) -> Any:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            answer = get(port, route)
            if ready(answer):
                return answer
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError("the server did not show the runs in time")


def test_a_class_count_that_shrinks_goes_on_being_drawn(tmp_path: Path) -> None:
    panels = begun(tmp_path)
    for step, classes in ((0, 3), (1, 1)):
        stats = {
            "pool_pos_count": as_array([5.0] * classes),
            "pos_score_hist": as_array(np.ones((classes, 4))),
            "score_hist_edges": as_array(np.tile(np.arange(5.0), (classes, 1))),
        }
        panels.record(StepRecord(step, "loss", stats))
    panels.close()


def one_finding(index: int) -> Finding:
    return Finding(
        "IMB003",
        "few-positives",
        "warning",
        f"loss {index}",
        0,
        None,
        1,
        1,
        "open",
        "s" * 300,
        "cause",
        "remedy",
    )


def written(losses: int, path: Path) -> int:
    """Bytes of a run with many losses, each with a finding."""
    stats = {"loss": as_array(0.5), "pool_pos_count": as_array([5.0]), "tau_eff": as_array([1.0])}
    panels = begun(path)
    for step in range(2):
        for index in range(losses):
            panels.record(StepRecord(step, f"loss {index}", stats))
    for index in range(losses):
        panels.finding(one_finding(index))
    panels.close()
    return sum(file.stat().st_size for file in path.iterdir())


def test_many_losses_take_as_much_more_as_they_are(tmp_path: Path) -> None:
    few, many = written(100, tmp_path / "few"), written(400, tmp_path / "many")
    assert many < 5 * few
    events = read(tmp_path / "many")
    table = texts(events, "findings/all")[-1]
    assert "and 350 more in the report" in table
    assert events.Scalars("findings/open")[-1].value == 400
    layout = events.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0]
    assert b"loss 399: positives" in layout


@pytest.fixture
def breaking() -> Iterator[Callable[[], None]]:
    """Lets files grow by no more than a few bytes from now on, as a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def train(tmp_path: Path, target: Any, broken: Callable[[], None]) -> list[str]:
    """What a run is warned of whose panels break in the middle."""
    loss_fn = nn.BCEWithLogitsLoss()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Doctor(None, every=1, tensorboard=target, on_finding="log") as doctor:
            doctor.watch(loss_fn)
            for step in range(6):
                if step == 3:
                    broken()
                loss_fn(torch.zeros(4, requires_grad=True), torch.ones(4)).backward()
                doctor.step()
            assert len(doctor.run.steps()) == 6
    return [str(each.message) for each in told]


def test_a_full_disk_is_one_warning(tmp_path: Path, breaking: Callable[[], None], capfd: Any) -> None:
    [told] = train(tmp_path, tmp_path / "logs", breaking)
    assert "TensorBoard failed (OSError: " in told
    assert "nothing more is sent there. Training goes on." in told
    assert capfd.readouterr().err == ""


def test_a_folder_that_vanishes_is_one_warning(tmp_path: Path, capfd: Any) -> None:
    [told] = train(tmp_path, tmp_path / "logs", lambda: shutil.rmtree(tmp_path / "logs"))
    assert "TensorBoard failed (FileNotFoundError: " in told
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("method", ["add_scalar", "add_custom_scalars", "flush"])
def test_a_writer_of_the_users_that_raises_is_one_warning(tmp_path: Path, method: str) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            def act(*_: Any, **__: Any) -> None:
                if name == method:
                    raise RuntimeError("away")

            return act

    [told] = train(tmp_path, Failing(), lambda: None)
    assert "TensorBoard failed (RuntimeError: away)" in told


def test_the_command_says_what_failed_in_one_line(
    binary: Case, tmp_path: Path, breaking: Callable[[], None], capsys: Any
) -> None:
    breaking()
    assert main(["tensorboard", binary.run.source, "--logdir", str(tmp_path / "logs")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "File too large" in told
    assert str(tmp_path / "logs") in told


def test_a_link_by_the_name_of_a_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    begun(tmp_path).close()
    [first] = tmp_path.iterdir()
    first.unlink()
    first.symlink_to(tmp_path / "precious")
    begun(tmp_path).close()
    assert not (tmp_path / "precious").exists()
    assert len([*tmp_path.iterdir()]) == 2


def test_a_later_session_hides_what_it_does_again(tmp_path: Path) -> None:
    for first, values in ((0, (1.0, 2.0, 3.0)), (1, (4.0,))):
        panels = begun(tmp_path, RunInfo(start_step=first))
        for step, value in enumerate(values, first):
            panels.record(StepRecord(step, "a", {"loss": as_array(value)}))
        panels.close()
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("a 1 loss/loss")] == [(0, 1.0), (1, 4.0)]


def test_what_was_drawn_can_be_seen_while_the_run_goes_on(tmp_path: Path) -> None:
    panels = begun(tmp_path)
    panels.record(StepRecord(0, "a", {"loss": as_array(1.0)}))
    assert [e.value for e in read(tmp_path).Scalars("a 1 loss/loss")] == [1.0]
    panels.close()
