"""The run log: what is written is read back bit for bit; what cannot be read is named."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imbalance_doctor import Finding, LogError, load_run
from imbalance_doctor.log import LogReader, LogWriter, encode, encode_finding, header, log_path, read_log
from imbalance_doctor.records import (
    EndRecord,
    EvalRecord,
    LossInfo,
    RunInfo,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
    as_array,
    goes_on,
)

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
@given(stats=st.dictionaries(st.sampled_from(["mine", "its", "100 % of it"]), arrays, min_size=1))
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
        tmp_path / "log.jsonl",
        StepRecord(0, "ap", {"score_iqr": as_array([np.nan, np.inf, -np.inf, 3, 0.125])}, {"x": np.nan}),
        WatchRecord(0, LossInfo("ap", "other", {"scale": np.inf, "weights": [np.nan], "\ud800": "\udfff"})),
    )

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert lines[1]["stats"]["score_iqr"] == [None, "inf", "-inf", 3, 0.125]
    assert lines[1]["metrics"] == {"x": None}
    assert lines[2]["loss"]["config"] == {"scale": "inf", "weights": [None], "?": "?"}
    assert read_log(path).records[1].loss.config["scale"] == np.inf


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


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "diagnostics-rank0.jsonl"
    start, first, second = header(RunInfo()), *encode(loss_at(0)), *encode(loss_at(10))
    path.write_text(f"{start}\n{first}\n{second[:20]}")
    reader = LogReader(path)
    log = reader.read_on()
    assert steps(log) == [0]
    assert log.torn_lines == 1
    with path.open("a") as file:
        file.write(second[20:])
    for log in (reader.read_on(), read_log(path)):
        assert steps(log) == [0, 10]
        assert log.torn_lines == 0
    with path.open("a") as file:
        file.write("\n")
    assert steps(reader.read_on()) == [0, 10]


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
        (
            '{"kind": "run", "schema": 1}\nnull\n',
            r':2: not a run log: expected an object with "kind", got .null',
        ),
        ('{"kind": "run", "schema": 2, "every": {}}\n', r":1: schema 2 is newer"),
        ("[1, 2]\n", r':1: not a run log: expected an object with "kind"'),
        ('{"kind": "step"}\n', r':1: not a run log: the first line must be of kind "run"'),
        ('{"kind": "run", "schema": 99}\n', r":1: schema 99 is newer .* upgrade imbalance-doctor"),
        (
            '{"kind": "run", "schema": 1}\n{"kind": "step"}\n',
            r":2: expected step of a 'step' line to be a whole number from 0 to [0-9,]+, got nothing",
        ),
        (
            '{"kind": "run", "schema": 1}\n{"kind": "step", "step": 1}\n',
            r":2: expected loss of a 'step' line to be a text of at most 20,000 characters, got nothing",
        ),
        (
            '{"kind": "run", "schema": 1}\n{"kind": "step", "step": 1, "loss": "a", "stats": []}\n',
            r":2: expected stats of a 'step' line to be an object of numbers, got \[\]",
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
    with pytest.raises(LogError, match="expected a run directory, got one without diagnostics-rank"):
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


# --- sessions ---------------------------------------------------------------------------------------------

OPENED = Finding("IMB401", "empty-band", "error", "ap", None, None, 5, 5, "open", "S.", "C.", "R.")


def test_findings_that_a_session_supersedes_go_with_the_records_that_brought_them(tmp_path):
    path = tmp_path / "log.jsonl"
    early, late = replace(OPENED, code="IMB003"), OPENED
    writer = LogWriter(path)
    writer.write(header(RunInfo()), *encode(loss_at(5)), encode_finding(early), *encode(loss_at(10)))
    # Brought by an evaluation at step 40, though its window ends at step 10.
    writer.write(*encode(EvalRecord(40, {"auroc": as_array([0.5])})), encode_finding(late))
    writer.write(encode_finding(early.resolved(10)))
    writer.close()
    assert [f.code for f in read_log(path).live_findings] == ["IMB003", "IMB401", "IMB003"]
    write(path, info=RunInfo(start_step=41))
    assert len(read_log(path).live_findings) == 3
    write(path, info=RunInfo(start_step=30))
    assert read_log(path).live_findings == [early]


def test_an_end_that_something_follows_was_none(tmp_path):
    path = write(tmp_path / "log.jsonl", loss_at(0), EndRecord(0), loss_at(10))
    assert [type(record) for record in read_log(path).records] == [StepRecord, StepRecord]


def sessions(path, count):
    """A log of sessions that each supersede the end of the one before, which a crash has cut."""
    with path.open("w") as file:
        for start in range(0, 20 * count, 20):
            lines = [line for step in (0, 10, 20) for line in encode(loss_at(start + step))]
            file.write("\n".join([header(RunInfo(start_step=start)), *lines, '{"kind":"st', ""]))
    return path


def records(path, count):
    """A log of one session."""
    lines = (line for step in range(count) for line in encode(loss_at(step)))
    path.write_text("\n".join([header(RunInfo()), *lines]))
    return path


@pytest.mark.parametrize("written", [sessions, records])
def test_twice_as_long_a_log_takes_twice_as_long(tmp_path, written):
    def lines_executed(count):
        """What is counted is work, because time depends on what else the machine does."""
        path, executed = written(tmp_path / "log.jsonl", count), 0

        def count_line(frame, event, argument):
            nonlocal executed
            executed += event == "line"
            return count_line

        before = sys.gettrace()
        sys.settrace(count_line)
        try:
            read_log(path)
        finally:
            sys.settrace(before)
        return executed

    once, twice = lines_executed(200), lines_executed(400)
    assert twice < 2.1 * once


def test_what_was_read_is_not_read_again(tmp_path):
    path = write(tmp_path / "log.jsonl", loss_at(0), loss_at(10))
    reader = LogReader(path)
    first = reader.read_on()
    with path.open("ab") as file:
        file.write(encode(loss_at(20))[0].encode())
    second = reader.read_on()
    assert steps(first) == [0, 10]
    assert steps(second) == [0, 10, 20]
    assert goes_on(second.records, first.records)


def test_a_log_that_was_cut_or_is_another_one_is_read_anew(tmp_path):
    path = write(tmp_path / "log.jsonl", loss_at(0), loss_at(10))
    reader = LogReader(path)
    reader.read_on()
    path.write_bytes(path.read_bytes()[: -len(encode(loss_at(10))[0]) - 1])
    assert steps(reader.read_on()) == [0]
    write(tmp_path / "new.jsonl", loss_at(1), loss_at(11), loss_at(21)).rename(path)
    assert steps(reader.read_on()) == [1, 11, 21]
    path.write_bytes(write(tmp_path / "new.jsonl", *map(loss_at, range(9))).read_bytes())  # the same file
    assert steps(reader.read_on()) == list(range(9))


def test_after_an_error_a_log_is_read_anew(tmp_path):
    path = write(tmp_path / "log.jsonl", loss_at(0))
    whole = path.read_text()
    path.write_text(whole + '{"kind": "end", "step": "x"}\n')
    reader = LogReader(path)
    for _ in range(2):
        with pytest.raises(LogError, match=r":3: expected step"):
            reader.read_on()
    path.write_text(whole)
    assert steps(reader.read_on()) == [0]


def test_tables_take_metrics_of_any_name(tmp_path):
    metrics = {"value": 1.0, "step": 2.0, "class": 3.0, "stat": 4.0, "variable": 5.0}
    write(tmp_path / "diagnostics-rank0.jsonl", StepRecord(7, "ap", {"loss": as_array(0.5)}, metrics))
    run = load_run(tmp_path)
    assert run.stats[["step", "class", "value"]].to_numpy().tolist() == [[7, 0, 1.0]]
    assert run.stats_long.set_index("stat")["value"].to_dict() == {
        **{"value": 1.0, "stat": 4.0, "variable": 5.0},
        "loss": 0.5,
    }
