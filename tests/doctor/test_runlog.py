"""The run log: what is written is read back bit for bit; what cannot be read is named."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imbalance_doctor import LogError, load_run, runlog
from imbalance_doctor.records import (
    EndRecord,
    EvalRecord,
    LossInfo,
    RunInfo,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
    as_array,
)
from imbalance_doctor.runlog import LogWriter, encode, header, log_path, read_log

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=5),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


def write(path, *records, info=None):
    writer = LogWriter(path)
    writer.write(header(info or RunInfo()))
    for record in records:
        writer.write(*encode(record))
    writer.close()
    return path


def steps(log):
    return [record.step for record in log.records if isinstance(record, StepRecord)]


def loss_at(step):
    return StepRecord(step, "ap", {"loss": as_array(step / 3)})


@settings(deadline=None, derandomize=True, max_examples=200)
@given(stats=st.dictionaries(st.sampled_from(["loss", "score_iqr", "pos_score_hist"]), arrays, min_size=1))
def test_numbers_survive_the_log_bit_for_bit(tmp_path_factory, stats):
    path = write(tmp_path_factory.mktemp("run") / "log.jsonl", StepRecord(7, "ap", stats))
    (record,) = read_log(path).records
    assert record.stats.keys() == stats.keys()
    for name, value in stats.items():
        np.testing.assert_array_equal(record.stats[name], value)
        assert record.stats[name].dtype == np.float32


def test_every_kind_of_record_survives(tmp_path):
    loss = LossInfo("ap", "smooth_ap", {"queue_size": 64, "quantile": 0.01, "tau_scale": None})
    records = [
        WatchRecord(0, loss),
        StepRecord(0, "ap", {"loss": as_array(0.5)}, {"lr": np.float32(1e-3)}),
        EvalRecord(0, {"auroc": as_array([0.5, np.nan])}),
        TreatmentRecord(1, loss, "IMB401", "queue_size", 64, 4096),
        EndRecord(1),
    ]
    log = read_log(write(tmp_path / "log.jsonl", *records))
    assert [type(record) for record in log.records] == [type(record) for record in records]
    assert log.records[0] == records[0]
    assert log.records[3] == records[3]
    np.testing.assert_array_equal(log.records[2].metrics["auroc"], [0.5, np.nan])


def test_each_line_is_standard_json(tmp_path):
    path = write(
        tmp_path / "log.jsonl", StepRecord(0, "ap", {"loss": as_array([np.nan, np.inf, -np.inf, 3, 0.125])})
    )

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert lines[1]["stats"]["loss"] == [None, "inf", "-inf", 3, 0.125]


def test_a_resumed_run_supersedes_steps_from_its_first_on(tmp_path):
    path = tmp_path / "diagnostics-rank0.jsonl"
    write(path, loss_at(0), loss_at(10), loss_at(20), EndRecord(20))
    write(path, loss_at(10), loss_at(30), info=RunInfo(start_step=10))
    run = load_run(tmp_path)
    assert [record.step for record in run.steps()] == [0, 10, 30]
    assert any("2 sessions" in note for note in run.notes)


def test_a_torn_last_line_is_skipped_and_counted_and_the_next_session_starts_clean(tmp_path):
    path = write(tmp_path / "log.jsonl", loss_at(0), loss_at(10))
    path.write_bytes(path.read_bytes()[:-9])
    log = read_log(path)
    assert steps(log) == [0]
    assert log.torn_lines == 1
    write(path, loss_at(10), info=RunInfo(start_step=10))
    log = read_log(path)
    assert steps(log) == [0, 10]
    assert log.torn_lines == 1


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "diagnostics-rank0.jsonl"
    start, first, second = header(RunInfo()), *encode(loss_at(0)), *encode(loss_at(10))
    path.write_text(f"{start}\n{first}\n{second[:20]}")
    parse = json.loads

    def meanwhile(line):
        if line == first:
            with path.open("a") as file:  # the writer's other half comes while the reader is at work
                file.write(f"{second[20:]}\n")
        return parse(line)

    monkeypatch.setattr(runlog.json, "loads", meanwhile)
    log = read_log(path)
    assert steps(log) == [0]
    assert log.torn_lines == 1
    monkeypatch.undo()
    assert steps(read_log(path)) == [0, 10]


def test_a_tear_inside_a_character_is_a_tear_too(tmp_path):
    info = RunInfo(class_names=("ok", "fraude é"))
    path = write(tmp_path / "log.jsonl", loss_at(0), info=info)
    with path.open("ab") as file:
        file.write('{"kind":"step","loss":"é'.encode()[:-1])
    assert read_log(path).torn_lines == 1
    assert read_log(path).info.class_names == ("ok", "fraude é")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("hello\nworld\n", r":1: not a run log: this line is not JSON: 'hello'"),
        ("hello", r":1: not a run log"),
        ("[1, 2]\n", r':1: not a run log: expected an object with "kind"'),
        ('{"kind": "step"}\n', r':1: not a run log: the first line must be of kind "run"'),
        ('{"kind": "run", "schema": 99}\n', r":1: schema 99 is newer .* upgrade imbalance-doctor"),
        (
            '{"kind": "run", "schema": 1}\n{"kind": "step"}\n',
            r":2: expected a whole number as the step of a 'step' line, got None",
        ),
        (
            '{"kind": "run", "schema": 1}\n{"kind": "step", "step": 1}\n',
            r":2: malformed 'step' line \(KeyError: 'stats'\)",
        ),
        (
            '{"kind": "run", "schema": 1}\n{"kind": "step", "step": 1, "loss": "a", "stats": []}\n',
            r":2: malformed 'step' line \(AttributeError",
        ),
        ('{"kind": "run", "schema": 1}\nbroken\n{"kind": "end", "step": 1}\n', r":2: not a run log"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(tmp_path, text, message):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(LogError, match=message) as error:
        read_log(path)
    assert str(path) in str(error.value)


def test_a_directory_without_a_log_and_a_missing_one_say_what_to_give(tmp_path):
    with pytest.raises(LogError, match="is it a run directory"):
        load_run(tmp_path)
    with pytest.raises(LogError, match="give a run directory or a log file"):
        load_run(tmp_path / "nowhere")


def test_one_file_per_rank(tmp_path):
    assert log_path(tmp_path, 3).name == "diagnostics-rank3.jsonl"


def test_tables(tmp_path):
    stats = {
        "loss": as_array(0.5),
        "score_iqr": as_array([1, 2]),
        "pos_score_quantiles": as_array(np.ones((2, 9))),
    }
    write(
        tmp_path / "diagnostics-rank0.jsonl",
        StepRecord(0, "ap", stats, {"lr": 0.1}),
        StepRecord(10, "ap", {"loss": as_array(0.25)}),
        EvalRecord(10, {"auroc": as_array([0.5, 0.75])}),
    )
    run = load_run(tmp_path)
    table = run.stats.set_index(["step", "class"])
    assert table.loc[(0, 1), "score_iqr"] == 2
    assert table.loc[(0, 0), "loss"] == table.loc[(0, 1), "loss"] == 0.5
    assert table.loc[(10, 0), "loss"] == 0.25
    assert "pos_score_quantiles" not in table
    long = run.stats_long
    assert set(long.columns) == {"step", "loss_name", "class", "stat", "value"}
    assert long.query("stat == 'score_iqr'")["value"].tolist() == [1, 2]
    assert run.evals["auroc"].tolist() == [0.5, 0.75]
