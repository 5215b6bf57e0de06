"""Logs that others wrote are runs like our own."""

import numpy as np
import pytest
import torch

from imbalance_doctor import Doctor, LogError, diagnose, load_run
from imbalance_doctor.cli import EXIT_FINDINGS, EXIT_USAGE, main
from losses import SmoothAPLoss


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """A run whose pool holds no positive of the second class, and what was found in it."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    loss_fn = SmoothAPLoss(2, queue_size=0)
    with Doctor(folder, every=1, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        for step in range(60):
            logits = torch.randn(32, 2, requires_grad=True)
            loss_fn(logits, torch.zeros(32, dtype=torch.long) + (step < 1)).backward()
            doctor.step(lr=0.1)
        doctor.log_eval(torch.randn(64, 2), torch.arange(64) % 2)
    return folder


def codes(run):
    return [(finding.code, finding.class_index) for finding in diagnose(run).open]


def test_a_table_of_our_statistics_is_read_as_a_run(sick, tmp_path):
    run = load_run(sick)
    run.stats.to_csv(tmp_path / "stats.csv", index=False)
    table = load_run(tmp_path / "stats.csv")
    assert codes(table) == codes(run) != []
    assert table.info.every == 1
    for ours, theirs in zip(run.steps(), table.steps(), strict=True):
        assert ours.step == theirs.step
        assert ours.metrics == theirs.metrics == {"lr": pytest.approx(0.1)}
        np.testing.assert_allclose(ours.stats["pool_pos_count"], theirs.stats["pool_pos_count"])


def test_validation_metrics_of_a_table_are_evaluations(sick, tmp_path):
    load_run(sick).evals.to_csv(tmp_path / "evals.csv", index=False)
    [evaluation] = load_run(tmp_path / "evals.csv").evaluations
    assert evaluation.metrics["average_precision"].shape == (2,)


def test_a_table_is_reported_from_the_command_line(sick, tmp_path, capsys):
    load_run(sick).stats.to_csv(tmp_path / "stats.csv", index=False)
    assert main(["report", str(tmp_path / "stats.csv"), "--fail-on", "info"]) == EXIT_FINDINGS
    assert "IMB002" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("step,pool_size\n", "expected rows below the names of the columns, got none"),
        ("step,pool_size\n0.5,3\n", "expected the column 'step' to hold whole numbers, got float64"),
        ("step,class,pool_size\n1,a,3\n", "expected the column 'class' to hold whole numbers"),
        ("step,pool_size\n1,many\n", "expected the column 'pool_size' to hold numbers"),
        ("name,value\n1,2\n", "not a run log"),
    ],
)
def test_what_cannot_be_read_is_one_line(content, said, tmp_path, capsys):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(LogError, match=said):
        load_run(tmp_path / "table.csv")
    assert main(["report", str(tmp_path / "table.csv")]) == EXIT_USAGE
    assert capsys.readouterr().err.count("\n") == 1
