"""A rule that was not examined says why: in words for people, and as data for whoever goes on from there."""

import math
from dataclasses import dataclass
from typing import get_args

import pytest
from torch import nn

from imbalance_doctor import preflight
from imbalance_doctor.examine.checkup import Checkup
from imbalance_doctor.findings import CAUSES, Cause, Skipped
from imbalance_doctor.records import LossInfo, RunInfo, StepRecord, WatchRecord, as_array
from imbalance_doctor.rules.base import Evidence, Rule, UnknownNumberError
from imbalance_doctor.rules.gate import unready
from losses import LossWarmupWrapper, SmoothAPLoss


def rule(examine=lambda self, window: [], **said):
    """A rule that is asked at every record."""
    attributes = {
        "code": "TST001", "name": "asked", "severity": "info", "kinds": frozenset({"smooth_ap"}),
        "requires": (), "min_records": 1, "at_once": True,
        "symptom": "at {level:.1f}.", "cause": "a test.", "remedy": "none.",
    }  # fmt: skip
    return dataclass(frozen=True)(type("Asked", (Rule,), {**attributes, **said, "examine": examine}))()


def raises(error):
    def examine(self, window):
        raise error

    return examine


def fed(asked, records=1):
    checkup = Checkup(RunInfo(), [asked])
    checkup.feed(WatchRecord(0, LossInfo("ap", "smooth_ap")))
    for step in range(records):
        checkup.feed(StepRecord(step, "ap", {"loss": as_array(1)}))
    return checkup


#: A rule, why it was skipped, and in words.
SKIPPED = [
    (rule(min_records=3), "records", "too few records: judged from 3 on (now 1)"),
    (rule(requires=("loss", "score_iqr")), "statistic", "score_iqr not recorded"),
    (rule(requires_eval=("auroc",)), "evaluation", "no validation auroc; call doctor.log_eval"),
    (
        rule(lambda self, window: [Evidence({"level": math.nan})]),
        "unknown",
        "a number that it needs is not known: level",
    ),
    (rule(raises(UnknownNumberError())), "unknown", "a number that it needs is not known"),
    (
        rule(lambda self, window: Skipped("nan of 5 rows")),
        "unknown",
        "a number that it needs is not known",
    ),
    (rule(raises(ValueError("no luck"))), "failed", "the rule failed: ValueError: no luck"),
    (rule(lambda self, window: Skipped("too early")), "rule", "too early"),
    (rule(lambda self, window: Skipped("no ap", "evaluation")), "evaluation", "no ap"),
]


@pytest.mark.parametrize(("asked", "cause", "words"), SKIPPED)
def test_a_checkup_says_why_in_words_and_as_data(asked, cause, words):
    diagnosis = fed(asked).diagnosis()
    (item,) = diagnosis.skipped
    assert (item.skipped, item.cause) == (words, cause)
    assert diagnosis.healthy == ()
    told = {"code": "TST001", "name": "asked", "loss": "ap", "skipped": words, "cause": cause}
    assert diagnosis.to_dict()["skipped"] == [told]


def test_what_was_examined_has_no_cause():
    (item,) = fed(rule()).diagnosis().healthy
    assert (item.skipped, item.cause) == (None, None)


def test_a_rule_for_other_losses_is_neither_skipped_nor_healthy():
    one = rule(kinds=frozenset({"bce"}))
    checkup = fed(one)
    assert unready(one, next(checkup.history.windows())).cause == "kind"
    assert checkup.diagnosis().skipped == checkup.diagnosis().healthy == ()


def test_a_rule_is_ready_once_it_has_what_it_needs():
    one = rule(min_records=3, requires=("loss",))
    held_up = [unready(one, next(fed(one, records).history.windows())) for records in (1, 2, 3)]
    assert [each and each.cause for each in held_up] == ["records", "records", None]


def test_a_cause_that_there_is_not_is_a_fault_of_the_rule():
    checkup = fed(rule(lambda self, window: Skipped("so", "whim")))
    assert "expected the cause to skip to be one of" in checkup.failed["TST001"]
    assert get_args(Cause) == CAUSES


def test_a_preflight_speaks_of_the_plan():
    loss_fn = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_epochs=5)
    diagnosis = preflight(loss_fn, batch_size=64, positive_rate=0.05)
    told = {item.code: (item.cause, item.skipped) for item in diagnosis.skipped}
    assert told["IMB502"] == ("statistic", "needs total_steps, and epochs where the schedule is in epochs")
    assert told["IMB001"] == ("run", "only a run can show it")
    long = preflight(loss_fn, batch_size=64, positive_rate=0.05, total_steps=1000, epochs=10)
    assert ("run", "only a run can show it") in [
        (item.cause, item.skipped) for item in long.skipped if item.code == "IMB502"
    ]
