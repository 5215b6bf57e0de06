"""What a line of the log may hold: anything else is refused by file, line and name, and is not written."""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest

from imbalance_doctor import Finding, LogError, load_run
from imbalance_doctor.cli import main
from imbalance_doctor.guard import attempt
from imbalance_doctor.log import LogWriter, encode, encode_finding, encode_note, header, read_log
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

FINDING = Finding(
    "IMB401", "empty-band", "error", "ap", 1, "fraud", 5, 5, "open", "S.", "C.", "R.", {"x": 0.5}
)
HISTOGRAM = {
    "pos_score_hist": as_array(np.ones((2, 40))),
    "neg_score_hist": as_array(np.ones((2, 40))),
    "score_hist_edges": as_array(np.ones((2, 41))),
}


def lines():
    """One line of each kind, by name."""
    stats = {"loss": as_array(0.5), "score_iqr": as_array([1, 2]), **HISTOGRAM}
    histogram, step = encode(StepRecord(5, "ap", stats, {"lr": 0.1}))
    loss = LossInfo("ap", "warmup_wrapper", {"main_loss": {"kind": "smooth_ap"}, "quantile": 0.1})
    return {
        "header": header(RunInfo(class_names=("ok", None), population_positive_rate=(0.1, 0.2))),
        "watch": encode(WatchRecord(0, loss))[0],
        "histogram": histogram,
        "step": step,
        "eval": encode(EvalRecord(5, {"auroc": as_array([0.5, np.nan])}))[0],
        "finding": encode_finding(FINDING),
        "treated": encode(TreatmentRecord(6, loss, "IMB401", "queue_size", 64, [1, 2]))[0],
        "note": encode_note("so"),
        "end": encode(EndRecord(9))[0],
    }


def read(tmp_path, changed, **values):
    """The log with some values of one line changed; a name is a way, as in ``stats.loss``."""
    there = {name: json.loads(line) for name, line in lines().items()}
    for way, value in values.items():
        *holders, key = way.split("__")
        holder = there[changed]
        for name in holders:
            holder = holder[name]
        holder[key] = value
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in there.values()))
    return read_log(path)


def test_every_kind_of_line_is_read(tmp_path):
    log = read(tmp_path, "header")
    assert [type(record) for record in log.records] == [
        *(WatchRecord, StepRecord, EvalRecord, TreatmentRecord, EndRecord)
    ]
    assert log.live_findings == [FINDING]
    assert log.notes == ["so"]
    assert log.info.class_names == ("ok", None)


@pytest.mark.parametrize(
    ("line", "values", "message"),
    [
        ("header", {"start_step": "x"}, "1: expected start_step of a 'run' line to be a whole number"),
        ("header", {"start_step": True}, "1: expected start_step"),
        ("header", {"start_step": -1}, "1: expected start_step"),
        ("header", {"schema": None}, "1: expected schema"),
        ("header", {"every": 0}, "1: expected every .* from 1 to"),
        ("header", {"every": [1]}, "1: expected every"),
        ("header", {"rank": 0.0}, "1: expected rank"),
        ("header", {"started": 7}, "1: expected started of a 'run' line to be a text"),
        ("header", {"versions": 1.5}, "1: expected versions .* to be an object, got 1.5"),
        ("header", {"versions": {"torch": 2}}, "1: expected versions.torch"),
        ("header", {"rules": [1]}, "1: expected rules .* to be an object"),
        ("header", {"rules": {"ignore": [[]]}}, "1: expected rules.ignore.0"),
        ("header", {"rules": {"thresholds": {"IMB003": 3}}}, "1: expected rules.thresholds.IMB003"),
        ("header", {"class_names": []}, "1: expected class_names .* a list of at least 1, or null"),
        ("header", {"class_names": "ok"}, "1: expected class_names"),
        ("header", {"population_positive_rate": 1.5}, "1: expected population_positive_rate"),
        ("header", {"population_positive_rate": [0.1, "x"]}, "1: expected population_positive_rate.1"),
        ("watch", {"loss": []}, "2: expected loss of a 'run' line to be an object"),
        ("watch", {"loss__name": []}, "2: expected loss.name"),
        ("watch", {"loss__config": []}, "2: expected loss.config"),
        ("watch", {"loss__config__main_loss": "smooth_ap"}, "2: expected loss.config.main_loss"),
        ("watch", {"loss__config__main_loss": {}}, "2: expected loss.config.main_loss.kind .* got nothing"),
        ("watch", {"loss__config__seed": 10**400}, "2: expected loss.config.seed .* fits into a float"),
        ("watch", {"event": []}, "2: expected event"),
        (
            "histogram",
            {"stats__neg_score_hist": 3},
            r"3: expected stats.neg_score_hist .* of class \(2\) x bin \(40\)",
        ),
        ("histogram", {"stats__neg_score_hist": []}, "3: expected stats.neg_score_hist"),
        (
            "histogram",
            {"stats__score_hist_edges": [[1]]},
            r"3: expected stats.score_hist_edges .* x edge \(41\)",
        ),
        (
            "histogram",
            {"stats__pos_score_hist": [[-1] * 40] * 2},
            "3: expected stats.pos_score_hist or .* counts",
        ),
        ("histogram", {"stats__pos_score_hist": [[None] * 40] * 2}, "3: expected stats.pos_score_hist or"),
        ("step", {"step": 10**20}, "4: expected step"),
        ("step", {"step": 2**53 + 1}, "4: expected step"),
        ("step", {"step": 5.0}, "4: expected step"),
        ("step", {"loss": 5}, "4: expected loss"),
        ("step", {"loss": "x" * 20_001}, "4: expected loss"),
        ("step", {"stats__loss": 10**400}, "4: expected stats.loss"),
        ("step", {"stats__loss": [0.5]}, "4: expected stats.loss .* to be one number, got 1 numbers"),
        ("step", {"stats__loss": "0.5"}, "4: expected stats.loss"),
        ("step", {"stats__loss": True}, "4: expected stats.loss"),
        ("step", {"stats__score_iqr": 1}, "4: expected stats.score_iqr .* in an array of class, got one"),
        ("step", {"stats__score_iqr": [1, 2, 3]}, r"4: expected stats.pos_score_hist .* class \(3\)"),
        ("step", {"stats__mine": [[1], [2, 3]]}, "4: expected stats.mine .* equally long"),
        ("step", {"stats__mine": [[[1]]]}, "4: expected stats.mine .* at most 2 axes"),
        ("step", {"stats__mine": []}, "4: expected stats.mine .* to be numbers, got 0 numbers"),
        ("step", {"stats__pos_score_quantiles": [[1] * 8] * 2}, r"4: expected .* x quantile \(9\)"),
        ("step", {"metrics__lr": [1]}, "4: expected metrics.lr .* to be a number"),
        ("eval", {"metrics__auroc": 0.5}, "5: expected metrics.auroc"),
        ("eval", {"metrics__recall": [0.5]}, r"5: expected metrics.recall .* class \(2\)"),
        (
            "finding",
            {"finding__severity": "grave"},
            "6: in finding of a 'finding' line, expected severity .* one of 'info', 'warning'",
        ),
        ("finding", {"finding__status": None}, "6: in finding of a 'finding' line, expected status"),
        ("finding", {"finding__class_index": -1}, "6: in finding of a 'finding' line, expected class_index"),
        ("finding", {"finding__evidence": {"x": "y"}}, "6: in finding of a 'finding' line, expected x"),
        (
            "finding",
            {"finding__prescription": []},
            "6: in finding of a 'finding' line, expected presc",
        ),
        (
            "finding",
            {"finding__explained_by": "IMB003"},
            "6: in finding of a 'finding' line, expected expl",
        ),
        ("treated", {"parameter": None}, "7: expected parameter of a 'finding' line"),
        ("note", {"text": ["so"]}, "8: expected text"),
        ("note", {"failed": 1}, "8: in failed of a 'note' line, expected a failed rule"),
        ("end", {"step": None}, "9: expected step"),
        ("end", {"kind": ["end"]}, "9: expected kind"),
    ],
)
def test_a_value_of_another_type_or_size_is_refused_by_line_and_name(tmp_path, line, values, message):
    with pytest.raises(LogError, match=f"log.jsonl:{message}") as error:
        read(tmp_path, line, **values)
    assert len(str(error.value)) < 500


def test_what_a_later_version_adds_is_passed_over(tmp_path):
    log = read(tmp_path, "header", more=1)
    for line, values in (
        ("watch", {"event": "unwatch", "loss": 1}),
        ("finding", {"event": "silenced", "finding": 1}),
        ("finding", {"finding__more": [1]}),
        ("step", {"more": {}}),
        ("note", {"kind": "picture", "text": 5}),
    ):
        assert read(tmp_path, line, **values).info == log.info


def test_numbers_that_float32_does_not_hold_are_infinite(tmp_path):
    log = read(tmp_path, "step", stats__loss=1e39, stats__score_iqr=[-1e300, "inf"])
    (step,) = (record for record in log.records if isinstance(record, StepRecord))
    assert step.stats["loss"] == np.inf
    assert step.stats["score_iqr"].tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, "[" * 900 + "]" * 900])
def test_a_line_that_no_parser_takes_ends_nothing(tmp_path, text):
    path = tmp_path / "log.jsonl"
    start = header(RunInfo())
    path.write_text(f'{start}\n{{"kind":"step","step":1,"loss":"ap","stats":{{"loss":{text}}}}}\n{start}\n')
    began = time.monotonic()
    found = attempt(read_log, path)  # some are taken for torn lines, some for numbers
    assert found is None or found.torn_lines == 1
    assert time.monotonic() - began < 10


def test_a_mark_at_the_beginning_and_other_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "log.jsonl"
    text = "\n".join(lines().values())
    path.write_text("\ufeff" + text.replace("\n", "\r\n") + "\r\n")
    assert len(read_log(path).records) == 5


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_encoding_is_no_log(tmp_path, encoding):
    path = tmp_path / "log.jsonl"
    path.write_bytes("\n".join(lines().values()).encode(encoding))
    with pytest.raises(LogError, match=r"log\.jsonl:1: not a run log"):
        read_log(path)


# --- what the reader would refuse is not written ----------------------------------------------------------


def survives(tmp_path, *written):
    path = tmp_path / "log.jsonl"
    path.unlink(missing_ok=True)
    writer = LogWriter(path)
    writer.write(header(RunInfo()), *written)
    writer.close()
    return read_log(path)


@pytest.mark.parametrize(
    "odd",
    [
        {"mine": np.zeros((1, 1, 1), np.float32)},
        {"mine": np.zeros(0, np.float32)},
        {"loss": as_array([1, 2])},
        {"score_iqr": as_array(1)},
        {"per_class_loss": as_array([1, 2, 3])},
        {**HISTOGRAM, "score_hist_edges": as_array(np.ones((2, 40)))},
        {**HISTOGRAM, "pos_score_hist": as_array(np.full((2, 40), np.nan))},
        {**HISTOGRAM, "pos_score_hist": as_array(np.full((2, 40), -1))},
        {"%s": as_array(1), 'a"b': as_array(2), "\ud800": as_array(3), "\n": as_array(np.nan)},
    ],
)
def test_arrays_that_do_not_fit_are_left_out_and_the_others_stay(tmp_path, odd):
    stats = {"score_std": as_array([1, 2]), **odd}
    (record,) = survives(tmp_path, *encode(StepRecord(1, "ap", stats))).records
    np.testing.assert_array_equal(record.stats["score_std"], [1, 2])


class Shy:
    """Cannot be shown."""

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


CIRCLE: list = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value",
    [
        *(np.float32(0.5), np.int64(3), np.bool_(True), np.longdouble(2), 10**400, -(10**400), 10**5000),
        *(
            float("nan"),
            float("inf"),
            "x" * 10**7,
            "\ud800\udfff",
            "\x00\x1b[31m",
            Shy(),
            {Shy(): Shy()},
            CIRCLE,
        ),
        *({1: 2}, {None: [()]}, {1, 2}, np.zeros(3), b"bytes", 3 + 4j, type, lambda: None, object()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_can_be_written_and_read(tmp_path, value):
    loss = LossInfo("ap", "other", {"value": value, "good": 1})
    treatment = TreatmentRecord(1, loss, "IMB401", "value", value, value)
    log = survives(tmp_path, *encode(WatchRecord(0, loss)), *encode(treatment))
    assert log.records[0].loss.config["good"] == 1
    assert log.records[1].code == "IMB401"
    assert (tmp_path / "log.jsonl").stat().st_size < 200_000


@pytest.mark.parametrize("number", [1e300, np.float32(0.1), float("nan"), float("inf"), 10**400, None, "x"])
def test_any_evidence_can_be_written_and_what_is_a_number_is_read(tmp_path, number):
    (found,) = survives(tmp_path, encode_finding(replace(FINDING, evidence={"x": number}))).live_findings
    assert found.evidence in ({}, {"x": pytest.approx(number)})


@pytest.mark.parametrize("text", ["x" * 10**7, "é" * 10**6, "\ud800", "a\x00b\r\n\u2028c", ""])
def test_texts_are_written_as_valid_lines_of_bounded_length(tmp_path, text):
    info = LossInfo(text, "other", {text: text})
    record = StepRecord(1, text, {text: as_array(1)}, {text: 2.0})
    log = survives(tmp_path, *encode(WatchRecord(0, info)), *encode(record), encode_note(text))
    assert log.records[0].loss.name == log.records[1].loss
    (tmp_path / "log.jsonl").read_text(encoding="utf-8").encode()
    assert (tmp_path / "log.jsonl").stat().st_size < 10**6


@pytest.mark.parametrize("step", [np.int64(7), True, 7.0])
def test_steps_are_written_as_whole_numbers(tmp_path, step):
    stats = {"loss": as_array(1)}
    for record in (StepRecord(step, "ap", stats), EvalRecord(step, {}), EndRecord(step)):
        (there,) = survives(tmp_path, *encode(record)).records
        assert there.step == int(step)


# --- what is no file --------------------------------------------------------------------------------------


def a_pipe(path):
    os.mkfifo(path)


def a_folder(path):
    path.mkdir()


def a_device(path):
    path.symlink_to("/dev/zero")


def a_loop(path):
    path.symlink_to(path)


PLACES = [a_pipe, a_folder, a_device, a_loop]


@pytest.mark.parametrize("put", [a_pipe, a_folder, a_loop])
def test_what_cannot_be_a_log_is_not_waited_for(tmp_path, put):
    put(tmp_path / "diagnostics-rank0.jsonl")
    with pytest.raises(OSError, match=r"expected a file or nothing, got a|Too many levels"):
        LogWriter(tmp_path / "diagnostics-rank0.jsonl")


@pytest.mark.parametrize("command", [["report"], ["watch"], ["tensorboard", "--logdir", "tb"]])
@pytest.mark.parametrize("put", PLACES)
def test_where_the_log_should_be_only_a_file_is_read(tmp_path, put, command, capsys):
    put(tmp_path / "diagnostics-rank0.jsonl")
    assert main([*command, str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "diagnostics-rank0.jsonl" in told
    assert "bug" not in told


def test_a_log_behind_a_link_is_written_and_read(tmp_path):
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / "diagnostics-rank0.jsonl"
    link.symlink_to(tmp_path / "elsewhere.jsonl")
    writer = LogWriter(link)
    writer.write(*lines().values())
    writer.close()
    assert len(load_run(tmp_path / "run").records) == 5


def test_a_pipe_that_is_given_as_a_file_is_read_once(tmp_path):
    end, other = os.pipe()
    with open(other, "w") as file:
        file.write("\n".join(lines().values()))
    assert len(load_run(f"/dev/fd/{end}").records) == 5
    os.close(end)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_path_that_cannot_be_is_an_error_of_one_line(name, capsys):
    assert main(["report", name]) == 2
    assert "bug" not in capsys.readouterr().err
