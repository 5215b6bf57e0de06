"""`imbalance-doctor preflight`: losses by name, settings as text, exit codes, help."""

import json

import pytest
from rich.console import Console
from torch import nn

from imbalance_doctor import preflight
from imbalance_doctor.cli import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, main
from imbalance_doctor.plain import value_of
from imbalance_doctor.preflight.options import build, loss_types, settings
from imbalance_doctor.render.formats import FORMATS
from losses import LossWarmupWrapper, PAUCAtBudgetLoss, SoftmaxFocalLoss

SICK = ["--loss", "smooth_ap", "--positive-rate", "0.0002", "--batch-size", "64"]
SOUND = ["--loss", "smooth_ap", "--positive-rate", "0.05", "--batch-size", "64"]


def run(*arguments):
    return main(["preflight", *arguments])


def test_exit_codes(capsys):
    assert run(*SICK) == EXIT_FINDINGS
    assert run(*SICK, "--fail-on", "never") == EXIT_OK
    assert run(*SICK, "--queue-size", "100000") == EXIT_OK
    assert run(*SICK, "--ignore", "IMB0") == EXIT_OK
    assert run(*SOUND) == EXIT_OK
    assert capsys.readouterr().err == ""


def test_the_text_shows_numbers_findings_and_settings_that_pass(capsys):
    run(*SICK)
    out = capsys.readouterr().out
    for words in (
        "smooth_ap at a positive rate of 0.0002, batches of 64",
        "positives in the pool",
        "chance of a pool without one",
        "IMB002 no-positives-in-pool",
        "queue_size: 1,024 → 50,000",
        "These settings pass together",
        "queue_size=50000",
        "only a run can show it",
    ):
        assert words in out
    assert "since step" not in out


def test_json_is_pure_and_complete(capsys):
    run(*SICK, "--format", "json")
    found = json.loads(capsys.readouterr().out)
    assert found["settings"] == {"queue_size": 50_000}
    assert {"name", "value", "loss", "class_index", "unit"} == set(found["expected"][0])
    assert found["findings"][0]["prescription"] == {"parameter": "queue_size", "from": 1024, "to": 50_000}


@pytest.mark.parametrize("form", [name for name, each in FORMATS.items() if not each.draws_run])
def test_it_comes_in_every_format_that_draws_no_run(form, tmp_path, capsys):
    assert run(*SICK, "--format", form) == EXIT_FINDINGS
    printed = capsys.readouterr().out
    assert "IMB002" in printed
    assert run(*SICK, "--format", form, "-o", str(tmp_path / "file")) == EXIT_FINDINGS
    assert "IMB002" in (tmp_path / "file").read_text()
    assert capsys.readouterr().out == ""


def test_markdown_has_the_numbers_and_the_settings_that_pass(capsys):
    run(*SICK, "--format", "markdown")
    page = capsys.readouterr().out
    assert "| positives in the pool | 0\\.218 |" in page
    assert "`queue_size=50000`" in page


def test_a_format_that_draws_a_run_asks_for_one():
    diagnosis = preflight(PAUCAtBudgetLoss(num_classes=1, beta=0.01), batch_size=64, positive_rate=0.01)
    with pytest.raises(ValueError, match="expected a run"):
        FORMATS["html"].render(diagnosis)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_it_fits_the_terminal(width):
    from losses import RecallAtQuantileLoss

    loss_fn = RecallAtQuantileLoss(num_classes=4)
    console = Console(width=width, record=True, color_system=None)
    with console.capture() as capture:
        console.print(preflight(loss_fn, batch_size=64, positive_rate=(0.9, 0.09, 0.009, 0.001)))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert any("class 3" in line for line in lines)


@pytest.mark.parametrize("kind", list(loss_types()))
def test_every_loss_is_known_by_its_name(kind, capsys):
    assert (
        run("--loss", kind, "--positive-rate", "0.3", "--batch-size", "256", "--fail-on", "never") == EXIT_OK
    )


def test_settings_are_those_of_the_constructors():
    names = {setting.name for setting in settings()}
    assert {
        "queue_size",
        "quantile",
        "beta",
        "gamma",
        "tau_scale",
        "temp_decay_steps",
        "warmup_steps",
    } <= names
    assert not {"num_classes", "process_group", "main_loss"} & names
    assert all(setting.meaning for setting in settings())


def test_build_reads_settings_and_wraps_where_a_setting_is_the_wrappers():
    loss_fn = build("pauc_at_budget", {"beta": "0.01", "tau_scale": "band", "max_pool_size": "none"}, 1)
    assert isinstance(loss_fn, PAUCAtBudgetLoss)
    assert (loss_fn.beta, loss_fn.tau_scale, loss_fn.max_pool_size) == (0.01, "band", None)
    wrapped = build("smooth_ap", {"queue_size": "64", "warmup_steps": "100"}, 3)
    assert isinstance(wrapped, LossWarmupWrapper)
    assert isinstance(wrapped.warmup_loss, nn.CrossEntropyLoss)
    assert (wrapped.main_loss.queue_size, wrapped.main_loss.num_classes, wrapped.warmup_steps) == (64, 3, 100)
    focal = build("softmax_focal", {"alpha": "1,2,4"}, 3)
    assert isinstance(focal, SoftmaxFocalLoss)
    assert focal.alpha.tolist() == [1, 2, 4]


def test_values_from_text():
    texts = ("4_000", "0.05", "none", "True", "iqr", "1,2.5")
    assert [value_of(text) for text in texts] == [4000, 0.05, None, True, "iqr", [1.0, 2.5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--loss'"),
        (["--loss", "hinge", *SOUND[2:]], "'hinge' is not one of"),
        ([*SOUND[:2], "--batch-size", "64"], "Missing option '--positive-rate'"),
        ([*SOUND, "--queue-size", "many"], "expected queue_size to be an integer"),
        ([*SOUND, "--quantile", "0.1"], "expected a setting of smooth_ap, one of gather_distributed"),
        ([*SOUND, "--temperature", "-1"], "expected temperature to be"),
        (
            ["--loss", "bce", *SOUND[2:], "--gamma", "2"],
            "expected a setting of bce, which has none, got gamma",
        ),
        ([*SOUND[:2], "--positive-rate", "half", "--batch-size", "64"], "got 'half'"),
        (
            [*SOUND[:2], "--positive-rate", "2", "--batch-size", "64"],
            "expected positive_rate to be between 0 and 1",
        ),
        ([*SOUND[:4], "--batch-size", "0"], "expected batch_size to be a whole number, at least 1"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr(arguments, message, capsys):
    assert run(*arguments) == EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_help_teaches_with_an_example(capsys):
    assert run("--help") == EXIT_OK
    out = capsys.readouterr().out
    assert "imbalance-doctor preflight --loss smooth_ap --positive-rate 0.002 --batch-size 64\n" in out
    assert "--queue-size" in out
    assert "Rows of the memory queue." in " ".join(out.split())
