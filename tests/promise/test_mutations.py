"""What is read is checked: mutations of a real log are read and shown, or refused by file and line."""

import os

import pytest

from tests.promise import mutations

#: Set it to try thousands, each through everything that shows a run.
ASKED = int(os.environ.get("MUTATIONS", "0"))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return mutations.record(tmp_path_factory.mktemp("real"))


def faults(tried):
    return [fault for kind in tried for fault in kind.faults]


def test_a_mutated_log_is_shown_or_refused_by_file_and_line(log):
    tried = mutations.trials(300, consumers=0, log=log)
    assert faults(tried) == []
    assert len(tried) == 16  # kinds
    assert faults(mutations.trials(60, seed=2, consumers=1, log=log)) == []


@pytest.mark.skipif(not ASKED, reason="takes long; MUTATIONS=5000 asks for it")
@pytest.mark.slow
def test_so_is_any_of_thousands_in_every_format(log):
    assert faults(mutations.trials(ASKED, seed=1, log=log)) == []


def test_the_law_can_fail(log, tmp_path, monkeypatch):
    (tmp_path / "diagnostics-rank0.jsonl").write_bytes(log)
    assert mutations.fault(tmp_path, ["json"]) is None
    monkeypatch.setattr("imbalance_doctor.cli.diagnose", lambda *args, **kwargs: 1 / 0)
    assert "this is a bug" in mutations.fault(tmp_path, ["json"])
