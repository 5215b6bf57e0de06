"""Thresholds are changed by the code of their rule, are in the log, and hold in the report."""

import json
import math
import re

import numpy as np
import pytest

from imbalance_doctor import Doctor, diagnose, load_run, preflight
from imbalance_doctor.cli import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, main
from imbalance_doctor.examine.selection import Choice, choose_rules, said_thresholds
from imbalance_doctor.examine.tuning import changed_thresholds
from imbalance_doctor.rules.focal.gamma_amplifies_noise import GammaAmplifiesNoise
from imbalance_doctor.rules.outcome.suspected_label_noise import SuspectedLabelNoise
from imbalance_doctor.rules.pool.few_positives_in_pool import FewPositivesInPool
from losses import SmoothAPLoss
from tests.live.loop import train
from tests.rules.cases.gamma_amplifies_noise import CASES

NOISY = next(case for case in CASES if case.name == "gamma 5 on noisy labels")
PREFLIGHT = ["preflight", "--loss", "smooth_ap", "--positive-rate", "0.006", "--batch-size", "64"]


def trained(run_dir, **said):
    """A run with some 6 positives in the pool: below `few` of IMB003, not below `poor`."""
    loss_fn = SmoothAPLoss(1, queue_size=64)
    with Doctor(run_dir, on_finding="log", **said) as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=150)
    return doctor


def severities(found, code="IMB003"):
    return {finding.severity for finding in found.findings if finding.code == code}


# --- live, in the log, in the report ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["IMB003", "imb003", "few-positives-in-pool"])
def test_a_doctor_takes_them_and_its_report_repeats_them(tmp_path, name):
    doctor = trained(tmp_path, thresholds={name: {"poor": 8}})
    assert severities(doctor) == {"warning"}
    assert load_run(tmp_path).info.rules["thresholds"] == {"IMB003": {"poor": 8}}
    assert diagnose(tmp_path).findings == doctor.findings


def test_the_report_may_be_asked_with_others(tmp_path):
    doctor = trained(tmp_path, thresholds={"IMB003": {"poor": 8}})
    assert severities(doctor) == {"warning"}
    assert severities(diagnose(tmp_path, thresholds={"IMB003": {"poor": 3}})) == {"info"}
    assert severities(diagnose(tmp_path, thresholds={"IMB003": {"few": 3}})) == set()  # and `poor` of the run
    assert severities(diagnose(tmp_path, rules=[FewPositivesInPool()])) == {"info"}


def test_a_preflight_takes_them():
    run = {"batch_size": 64, "positive_rate": 0.006}
    assert severities(preflight(SmoothAPLoss(1), **run)) == {"info"}
    for few, found in ((5, set()), (np.float32(20), {"info"})):
        diagnosis = preflight(SmoothAPLoss(1), **run, thresholds={"IMB003": {"few": few}})
        assert severities(diagnosis) == found


def test_the_command_line_takes_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(tmp_path / "run")
    report = ["report", str(tmp_path / "run"), "--select", "IMB003", "--fail-on", "warning"]
    assert main(report) == EXIT_OK
    assert main([*report, "--threshold", "IMB003.poor=8"]) == EXIT_FINDINGS
    both = ["--threshold", "few-positives-in-pool.poor=8", "--threshold", "IMB003.few=1e-3"]
    assert main([*report, *both]) == EXIT_OK
    capsys.readouterr()
    assert main([*PREFLIGHT, "--format", "json", "--threshold", "IMB003.few=5"]) == EXIT_OK
    assert "IMB003" not in {f["code"] for f in json.loads(capsys.readouterr().out)["findings"]}


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (
            {"IMB003": {"por": 3}},
            "expected a threshold of IMB003 to be one of few, poor, wanted_positives, got 'por'",
        ),
        (
            {"IMB601": {"few": 3}},
            "expected no threshold for IMB601, which has none, got 'few'",
        ),
        ({"IMB003": {"poor": "3"}}, "IMB003 few-positives-in-pool: expected poor to be a number, got '3'"),
        ({"IMB003": {"poor": math.nan}}, "expected poor to be a number, got nan"),
        ({"IMB506": {"records": 1.5}}, "expected records to be a whole number, got 1.5"),
        ({"IMB999": {"few": 3}}, "expected the code or the name of a rule, got 'IMB999'; "),
        ({"IMB003": 3}, "expected the thresholds of IMB003 to be values by name, got 3"),
        ({3: {"few": 3}}, "expected the code of a rule to be a short text"),
        (["IMB003"], "expected thresholds to be values by name, by the code of a rule, as"),
    ],
)
def test_what_is_none_says_what_was_expected(tmp_path, thresholds, message):
    for ask in (
        lambda: Doctor(None, thresholds=thresholds),
        lambda: preflight(SmoothAPLoss(1), batch_size=64, positive_rate=0.01, thresholds=thresholds),
        lambda: diagnose(tmp_path, thresholds=thresholds),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            ask()


def test_a_rule_of_ones_own_has_its_thresholds_in_itself():
    with pytest.raises(ValueError, match="expected the thresholds of IMB003 in one place"):
        Doctor(None, rules=[FewPositivesInPool(poor=3)], thresholds={"IMB003": {"few": 12}})
    Doctor(None, rules=[FewPositivesInPool(poor=3)], thresholds={"IMB401": {"few": 12}})


@pytest.mark.parametrize(
    "text", ["IMB003.poor", "IMB003=3", "poor=3", ".poor=3", "IMB003.=3", "IMB003.poor="]
)
def test_the_command_line_says_how_to_write_one(capsys, text):
    assert main([*PREFLIGHT, "--threshold", text]) == EXIT_USAGE
    assert f"expected RULE.NAME=VALUE, as IMB003.poor=3, got '{text}'" in capsys.readouterr().err


def test_the_command_line_refuses_what_a_doctor_refuses(capsys):
    assert main([*PREFLIGHT, "--threshold", "IMB003.por=3"]) == EXIT_USAGE
    assert "to be one of few, poor, wanted_positives, got 'por'" in capsys.readouterr().err


# --- a rule that builds on another --------------------------------------------------------------------------


def warns(rule):
    return [item.severity == "warning" for item in rule.examine(NOISY.window())]


def test_gamma_asks_for_wrong_labels_as_the_run_does():
    severe = SuspectedLabelNoise(harmful=0.3)
    assert warns(GammaAmplifiesNoise()) == [True]
    assert warns(GammaAmplifiesNoise(labels=severe)) == [False]
    for rules, thresholds in (([severe], None), (None, {"IMB004": {"harmful": 0.3}})):
        (gamma,) = choose_rules(rules, select=["IMB102"], thresholds=said_thresholds(thresholds))
        assert gamma == GammaAmplifiesNoise(labels=severe)
        # A report makes the same rule, though IMB004 itself was not applied.
        header = {"select": ["IMB102"], "thresholds": changed_thresholds([gamma])}
        assert header["thresholds"] == {"IMB004": {"harmful": 0.3}}
        assert Choice.of_log(header).rules() == (gamma,)
