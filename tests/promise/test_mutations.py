"""What is read is checked: mutations of a real log are read and shown, or refused by file and line."""

import json
import os

import pytest

from imbalance_doctor import load_run
from tests.promise import mutations

#: Set it to try thousands, each through everything that shows a run.
ASKED = int(os.environ.get("MUTATIONS", "0"))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return mutations.record(tmp_path_factory.mktemp("real"))


def faults(tried):
    return [fault for kind in tried for fault in kind.faults]


def test_a_mutated_log_is_shown_or_refused_by_file_and_line(log):
    tried = mutations.trials(200, consumers=0, log=log)
    assert faults(tried) == []
    assert len(tried) == 16  # kinds
    assert faults(mutations.trials(40, seed=2, consumers=1, log=log)) == []


@pytest.mark.skipif(not ASKED, reason="takes long; MUTATIONS=5000 asks for it")
@pytest.mark.slow
def test_so_is_any_of_thousands_in_every_format(log):
    assert faults(mutations.trials(ASKED, seed=1, log=log)) == []


def test_the_law_can_fail(log, tmp_path, monkeypatch):
    (tmp_path / "diagnostics-rank0.jsonl").write_bytes(log)
    assert mutations.fault(tmp_path, ["json"]) is None
    monkeypatch.setattr("imbalance_doctor.cli.commands.report.diagnose", lambda *args, **kwargs: 1 / 0)
    assert "this is a bug" in mutations.fault(tmp_path, ["json"])


# --- what the schema admits is shown ----------------------------------------------------------------------


def everywhere(change):
    """A change of each number of each array; `change` is given the number."""

    def changed(value):
        return [changed(item) for item in value] if isinstance(value, list) else change(value)

    def of(lines):
        for line in lines:
            for table in ("stats", "metrics"):
                if line["kind"] in ("step", "eval"):
                    line[table] = {name: changed(value) for name, value in line.get(table, {}).items()}
        return lines

    return of


def fewer_classes(lines):
    """The second half has one class where the first had three."""
    for line in lines[len(lines) // 2 :]:
        for name, value in line.get("stats", {}).items():
            line["stats"][name] = value[:1] if isinstance(value, list) else value
    return lines


def backwards(lines):
    """Steps fall, from the largest one on."""
    return [{**line, "step": 2**53 - line["step"]} if "step" in line else line for line in lines]


ADMITTED = {
    "no number is known": everywhere(lambda value: None),
    "all are infinite": everywhere(lambda value: "inf"),
    "all are as large as a float32": everywhere(lambda value: 3.4e38),
    "fewer classes": fewer_classes,
    "backwards": backwards,
    "the header alone": lambda lines: lines[:1],
    "evaluations alone": lambda lines: [line for line in lines if line["kind"] in ("run", "eval")],
    "each record of another loss": lambda lines: [
        {**line, "loss": f"loss {i}"} if line["kind"] == "step" else line for i, line in enumerate(lines)
    ],
}


@pytest.mark.parametrize("change", ADMITTED)
def test_what_the_schema_admits_is_shown(log, tmp_path, change):
    lines = ADMITTED[change]([json.loads(line) for line in log.splitlines()])
    written = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "diagnostics-rank0.jsonl").write_text(written)
    assert load_run(tmp_path).info.every == 5
    assert mutations.fault(tmp_path, ["html", "tensorboard", "text", "tables"]) is None
