"""A rule that is wrong, in whatever way, is off, alone, and named; windows are read-only."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from imbalance_doctor import Doctor, ImbalanceWarning, diagnose, preflight
from imbalance_doctor.cli import main
from imbalance_doctor.examine.checkup import Checkup
from imbalance_doctor.examine.selection import Choice, choose_rules
from imbalance_doctor.findings import Failed, Finding, Skipped
from imbalance_doctor.history import History
from imbalance_doctor.prescriptions import ResetQueue
from imbalance_doctor.records import (
    EndRecord,
    EvalRecord,
    LossInfo,
    RunInfo,
    StepRecord,
    WatchRecord,
    as_array,
)
from imbalance_doctor.rules.base import ANY, Evidence, Rule, TooFew
from imbalance_doctor.rules.pool.few_positives_in_pool import FewPositivesInPool
from losses import PAUCAtBudgetLoss
from tests.live.loop import train


def rule(examine=lambda self, window: [Evidence({"level": 1.5}, 0)], **said):
    """A rule that finds a fault wherever it looks, but for what is wrong with it."""
    attributes = {
        "code": "TST001", "name": "wrong", "severity": "warning", "kinds": ANY, "requires": (),
        "min_records": 1, "at_once": True,
        "symptom": "at {level:.1f}.", "cause": "a test.", "remedy": "none.",
        **said, "examine": examine,
    }  # fmt: skip
    kept = {name: value for name, value in attributes.items() if value is not LEFT_OUT}
    return dataclass(frozen=True)(type("Wrong", (Rule,), kept))()


LEFT_OUT = object()
SOUND = rule(code="TST900", name="sound")
CONFIG = {"queue_size": 64, "weights": [1.0, 2.0], "main_loss": {"kind": "bce", "weights": [3.0]}}
LOSS = LossInfo("ap", "smooth_ap", CONFIG)


def fed(*rules, steps=6):
    checkup = Checkup(RunInfo(every=1, versions={"torch": "2"}), rules)
    checkup.feed(WatchRecord(0, LOSS))
    for step in range(steps):
        checkup.feed(
            StepRecord(step, "ap", {"score_iqr": as_array([1, 2]), "pool_pos_count": as_array([1, 2])})
        )
        checkup.feed(EvalRecord(step, {"average_precision": as_array([0.5, 0.5])}))
    checkup.feed(EndRecord(steps))
    return checkup


def gives(*evidence):
    return rule(lambda self, window: list(evidence))


def raises(error):
    def fail(self, *args):
        raise error

    return fail


def endless(self, window):
    while True:
        yield Evidence({"level": 1.0}, 0)


def half_way(self, window):
    yield Evidence({"level": 1.0}, 0)
    raise KeyError("half way")


def changes(values):
    return {"parameter": "queue_size", "from": 64, "to": values}


class Unwilling:
    """Raises whatever is asked of it."""

    __isabstractmethod__ = False  # which Python asks of what a class has

    def __getattr__(self, name):
        raise RuntimeError("no")

    __float__ = __index__ = __eq__ = __hash__ = __iter__ = __len__ = __bool__ = __repr__ = __str__ = raises(
        RuntimeError("no")
    )


circle: dict = {}
circle["to"] = circle
deep: list = []
for _ in range(500):
    deep = [deep]

WRONG = {
    # What it says of itself.
    "code is a number": rule(code=7),
    "code is empty": rule(code=""),
    "code of two lines": rule(code="TST\n001"),
    "code is left out": rule(code=LEFT_OUT),
    "code raises": rule(code=property(raises(OSError("gone")))),
    "name raises": rule(name=property(raises(AttributeError("gone")))),
    "name is None": rule(name=None),
    "severity is odd": rule(severity="fatal"),
    "severity is no text": rule(severity=Unwilling()),
    "kinds is None": rule(kinds=None),
    "kinds is one text": rule(kinds="smooth_ap"),
    "kinds are numbers": rule(kinds=frozenset({1})),
    "requires is None": rule(requires=None),
    "requires is one text": rule(requires="loss"),
    "requires holds numbers": rule(requires=(1,)),
    "requires_eval is None": rule(requires_eval=None),
    "min_records is a text": rule(min_records="5"),
    "min_records is a tensor of two": rule(min_records=torch.ones(2, dtype=torch.long)),
    "at_once is a text": rule(at_once="yes"),
    "explained_by is None": rule(explained_by=None),
    "explained_by is unwilling": rule(explained_by=Unwilling()),
    "symptom is None": rule(symptom=None),
    "remedy is left out": rule(remedy=LEFT_OUT),
    "foreseeable is None": rule(foreseeable=None),
    "new_run is one text": rule(new_run="batch_size"),
    # What it returns.
    "raises": rule(raises(ZeroDivisionError("no luck"))),
    "raises half way": rule(half_way),
    "takes no window": rule(lambda self: []),
    "raises with ten megabytes": rule(raises(ValueError("x" * 10_000_000))),
    "raises what cannot be said": rule(raises(type("Mute", (Exception,), {"__str__": raises(OSError())})())),
    "recurses": rule(lambda self, window: self.examine(window)),
    "never ends": rule(endless),
    "returns None": rule(lambda self, window: None),
    "returns a dict": rule(lambda self, window: {}),
    "returns a text": rule(lambda self, window: ""),
    "returns one Evidence": rule(lambda self, window: Evidence({"level": 1.0}, 0)),
    "returns texts": rule(lambda self, window: ["bad"]),
    "returns the class Skipped": rule(lambda self, window: Skipped),
    "returns what is unwilling": rule(lambda self, window: Unwilling()),
    "skips without a text": rule(lambda self, window: Skipped(None)),
    # Evidence.
    "no evidence": gives(Evidence(None)),
    "evidence is a list": gives(Evidence([1.0])),
    "evidence is a text": gives(Evidence({"level": "1.5"})),
    "evidence is None": gives(Evidence({"level": None})),
    "evidence is complex": gives(Evidence({"level": 1 + 2j})),
    "evidence is NumPy's complex": gives(Evidence({"level": np.complex64(1 + 2j)})),
    "evidence is a tensor of two": gives(Evidence({"level": torch.ones(2)})),
    "evidence is an array of two": gives(Evidence({"level": np.ones(2)})),
    "evidence is a date": gives(Evidence({"level": np.datetime64("2026-01-01")})),
    "evidence is 10^400": gives(Evidence({"level": 10**400})),
    "evidence is 10^5000": gives(Evidence({"level": 10**5000})),
    "evidence is unwilling": gives(Evidence({"level": Unwilling()})),
    "evidence is enormous": gives(Evidence({f"level{i}": 1.0 for i in range(5_000)})),
    "evidence by numbers": gives(Evidence({"level": 1.0, 3: 1.0})),
    "class_index is a text": gives(Evidence({"level": 1.0}, "0")),
    "class_index is a fraction": gives(Evidence({"level": 1.0}, 0.5)),
    "class_index is negative": gives(Evidence({"level": 1.0}, -1)),
    "class_index is no class": gives(Evidence({"level": 1.0}, 2)),
    "class_index is 10^400": gives(Evidence({"level": 1.0}, 10**400)),
    "class_index is true": gives(Evidence({"level": 1.0}, True)),
    "class_index is a tensor of two": gives(Evidence({"level": 1.0}, torch.ones(2, dtype=torch.long))),
    "class_index is a list": gives(Evidence({"level": 1.0}, [0])),
    "severity of evidence is odd": gives(Evidence({"level": 1.0}, 0, severity="bad")),
    "severity of evidence is a list": gives(Evidence({"level": 1.0}, 0, severity=["error"])),
    "symptom of evidence is bytes": gives(Evidence({"level": 1.0}, 0, symptom=b"x")),
    "a text asks for what is not there": gives(Evidence({}, 0)),
    "a text asks by position": gives(Evidence({"level": 1.0}, 0, symptom="{}")),
    "a text has a format that is none": gives(Evidence({"level": 1.0}, 0, symptom="{level:%Y}")),
    "a text is not closed": gives(Evidence({"level": 1.0}, 0, cause="{level")),
    "a text is enormous": gives(Evidence({"level": 1.0}, 0, cause="{level:100000.1f}")),
    "the second evidence is wrong": gives(Evidence({"level": 1.0}, 0), Evidence({}, 1)),
    # Prescriptions.
    "prescribes a text": gives(Evidence({"level": 1.0}, prescription="queue_size=3")),
    "prescribes nothing": gives(Evidence({"level": 1.0}, prescription={})),
    "prescribes no parameter": gives(Evidence({"level": 1.0}, prescription={"to": 3})),
    "prescribes by numbers": gives(Evidence({"level": 1.0}, prescription={("x", 1): 2})),
    "prescribes for None": gives(Evidence({"level": 1.0}, prescription={**changes(3), "parameter": None})),
    "prescribes a lock": gives(Evidence({"level": 1.0}, prescription=changes(threading.Lock()))),
    "prescribes a tensor": gives(
        Evidence({"level": 1.0}, prescription=changes(torch.ones(1, requires_grad=True) * 2))
    ),
    "prescribes an array": gives(Evidence({"level": 1.0}, prescription=changes(np.ones(3)))),
    "prescribes bytes": gives(Evidence({"level": 1.0}, prescription=changes(b"3"))),
    "prescribes a set": gives(Evidence({"level": 1.0}, prescription=changes({3}))),
    "prescribes a circle": gives(Evidence({"level": 1.0}, prescription=changes(circle))),
    "prescribes what is deep": gives(Evidence({"level": 1.0}, prescription=changes(deep))),
    "prescribes a matrix": gives(Evidence({"level": 1.0}, prescription=changes([[0.0] * 100] * 100))),
    "prescribes 10^400": gives(Evidence({"level": 1.0}, prescription=changes(10**400))),
    "prescribes what is unwilling": gives(Evidence({"level": 1.0}, prescription=changes(Unwilling()))),
    # Writing.
    "writes into a series": rule(lambda self, window: window.series("score_iqr").values.fill(9)),
    "writes into steps": rule(lambda self, window: window.series("score_iqr").steps.sort()),
    "writes into the newest": rule(lambda self, window: window.newest("score_iqr").fill(9)),
    "writes into recent values": rule(lambda self, window: window.recent("score_iqr", 3).values.fill(9)),
    "writes into aligned values": rule(
        lambda self, window: window.aligned("score_iqr", "pool_pos_count")[0].values.fill(9)
    ),
    "writes into evaluations": rule(
        lambda self, window: window.eval_series("average_precision").values.fill(9)
    ),
    "makes a series writable": rule(
        lambda self, window: window.series("score_iqr").values.setflags(write=True) or []
    ),
    "writes into settings": rule(lambda self, window: window.loss.config.update(queue_size=1)),
    "writes into a list of settings": rule(lambda self, window: window.config("weights").append(9)),
    "writes into inner settings": rule(lambda self, window: window.config("main_loss").clear()),
    "writes into an inner list": rule(lambda self, window: window.config("main_loss")["weights"].sort()),
    "writes into the run": rule(lambda self, window: window.run.versions.clear()),
    "sets the step": rule(lambda self, window: setattr(window, "step", 0)),
}  # fmt: skip
EXPECTED = fed(SOUND).diagnosis().findings


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_rule_that_is_wrong_is_off_alone_and_named(wrong):
    checkup = fed(wrong, SOUND)
    (code,) = checkup.failed
    assert code in ("TST001", "Wrong")
    diagnosis = checkup.diagnosis()
    assert diagnosis.findings == EXPECTED
    assert diagnosis.failed == (Failed(code, checkup.failed[code]),)
    assert Failed.from_dict(diagnosis.to_dict()["failed"][0]) == diagnosis.failed[0]
    assert len(checkup.failed[code]) < 1_000
    assert code not in {item.code for item in diagnosis.healthy}
    assert any(note.startswith(f"rule {code} failed") for note in diagnosis.notes)
    json.dumps(diagnosis.to_dict(), allow_nan=False)
    (window,) = checkup.history.windows()
    assert window.series("score_iqr").values.tolist() == [[1, 2]] * 6
    assert window.config("weights") == (1.0, 2.0)
    assert CONFIG["weights"] == [1.0, 2.0]


def passing_over(few):
    return rule(lambda self, window: [], passed_over=lambda self, window: few)


@pytest.mark.parametrize(
    "few",
    [
        "all", TooFew(5.0, None), TooFew(math.nan, np.ones(2, bool)), TooFew("5", np.ones(2, bool)),
        TooFew(5.0, np.ones((2, 2), bool)), TooFew(5.0, np.ones(2)), SimpleNamespace(needed=5, classes=[]),
    ],
)  # fmt: skip
def test_what_a_rule_passed_over_can_be_wrong_and_reading_it_changes_nothing(few):
    checkup = fed(passing_over(few), SOUND)
    for _ in range(2):
        diagnosis = checkup.diagnosis()
        assert [failed.code for failed in diagnosis.failed] == ["TST001"]
        assert [item.code for item in diagnosis.healthy] == []
        assert diagnosis.findings == EXPECTED
    assert not checkup.failed  # or records to come would be examined otherwise than in a report


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence({"level": np.float32(1.5)}, np.int64(0)),
        Evidence({"level": torch.tensor(1.5)}, np.array(0)),
        Evidence({"level": np.array([1.5])}, 0),
        Evidence({"level": 1.5, "aside": math.nan, "other": True}, 0, prescription=changes(np.float32(2))),
        Evidence({"level": 1.5}, 0, prescription=ResetQueue()),
        Evidence({"level": 1.5}, 0, prescription=changes([1, 2.5, None, "iqr"])),
        Evidence({"level": 1e300, "third": 1 / 3, "small": 1e-300}, 0),
    ],
)
def test_numbers_of_numpy_and_torch_are_numbers_and_a_log_gives_them_back(evidence):
    checkup = fed(gives(evidence))
    assert not checkup.failed
    (finding,) = checkup.findings
    assert type(finding.class_index) is int
    assert {type(value) for value in finding.evidence.values()} == {float}
    again = json.loads(json.dumps(finding.to_dict(), allow_nan=False))
    assert Finding.from_dict(again) == finding
    nine_digits = {name: float(f"{value:.9g}") for name, value in finding.evidence.items()}
    assert nine_digits == finding.evidence


def test_a_finding_does_not_change_with_what_the_rule_keeps():
    values, change = {"level": 1.5}, changes([1])
    checkup = fed(gives(Evidence(values, 0, prescription=change)))
    before = checkup.findings[0].to_dict()
    values["level"], change["parameter"] = 9.0, "other"
    change["to"].append(2)
    assert checkup.findings[0].to_dict() == before


def test_a_prescription_of_nan_is_not_told():
    for value in (math.nan, [1.0, math.inf], {"a": [math.nan]}):
        checkup = fed(gives(Evidence({"level": 1.0}, prescription=changes(value))))
        assert not checkup.findings
        assert not checkup.failed
        assert "not known: to" in checkup.diagnosis().skipped[0].skipped


def test_rules_that_explain_each_other_or_themselves_do_no_harm_on_many_classes():
    many = [Evidence({"level": 1.0}, index) for index in range(300)]

    def seen(code, *causes):
        return rule(lambda self, window: many, code=code, explained_by=(code, "NONE1", *causes))

    checkup = Checkup(RunInfo(every=1), [seen("TST001", "TST002"), seen("TST002", "TST001"), seen("TST003")])
    checkup.feed(WatchRecord(0, LOSS))
    for step in range(3):
        checkup.feed(StepRecord(step, "ap", {"pool_pos_count": as_array([1] * 300)}))
    explained = {finding.code: finding.explained_by for finding in checkup.findings}
    assert explained == {"TST001": ("TST002",), "TST002": ("TST001",), "TST003": ()}


def test_findings_of_rules_that_are_not_at_hand_are_kept():
    odd = Finding.from_dict({**EXPECTED[0].to_dict(), "code": "GONE1", "class_index": 7, "loss": "away"})
    checkup = Checkup(RunInfo(), [rule(kinds=None), SOUND])
    checkup.restore([odd, Finding.from_dict({**odd.to_dict(), "code": "TST001"})])
    checkup.feed(StepRecord(5, "away", {}))
    assert {finding.code for finding in checkup.findings} == {"GONE1", "TST001", "TST900"}


# --- what is refused as an argument ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ([type(SOUND)], TypeError, r"instances, got a class; pass Wrong\(\)"),
        (
            ["IMB401"],
            TypeError,
            "expected rules to be rules, got 'IMB401'; pass codes to `select` or `ignore`",
        ),
        ([None], TypeError, "got None"),
        (SOUND, TypeError, "expected rules to be a list of rules"),
        (5, TypeError, "expected rules to be a list of rules, got 5"),
        ([SOUND, rule(code="TST900")], ValueError, "got TST900 twice"),
        (
            [FewPositivesInPool(poor="3")],
            ValueError,
            "IMB003 few-positives-in-pool: expected poor to be a number",
        ),
        ([FewPositivesInPool(poor=math.nan)], ValueError, "expected poor to be a number, got nan"),
    ],
)
def test_what_is_no_rule_is_refused_at_once(rules, error, message):
    with pytest.raises(error, match=message):
        choose_rules(rules)


def test_selectors_pass_over_what_is_wrong_with_a_rule():
    named = rule(code=property(raises(OSError())), name=Unwilling())
    assert named in choose_rules([named, SOUND])
    assert choose_rules([named, SOUND], select=["wrong", "sound"]) == (SOUND, named)
    with pytest.raises(ValueError, match="expected a code, a name or a prefix of rules, got 5"):
        choose_rules(select=[5])


@pytest.mark.parametrize(
    "header", [[], "IMB", {"select": 5}, {"ignore": [1]}, {"thresholds": [1]}, {"thresholds": {"IMB003": 5}}]
)
def test_a_header_whose_choice_of_rules_is_none_says_so(header):
    with pytest.raises(ValueError, match="expected"):
        Choice.of_log(header)


# --- the whole way ----------------------------------------------------------------------------------------


def test_a_run_with_wrong_rules_trains_on_saves_resumes_and_its_report_says_what_failed(tmp_path, capsys):
    def run(where, *rules, state=None, first=0):
        with Doctor(where, on_finding="log", rules=rules, every=1) as doctor:
            loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.5, queue_size=64, gather_distributed=False)
            doctor.watch(loss_fn)
            if state is not None:
                doctor.load_state_dict(state)
            train(doctor, loss_fn, steps=8, first_step=first)
            return doctor, json.loads(json.dumps(doctor.state_dict()))

    sound, _ = run(None)
    wrong = WRONG["prescribes a lock"]
    with pytest.warns(
        ImbalanceWarning, match=r"rule TST001 failed \(ValueError: expected prescription to be"
    ):
        doctor, state = run(tmp_path, wrong)
    assert doctor.findings == sound.findings
    report = diagnose(tmp_path)
    assert [failed.code for failed in (*doctor.diagnosis.failed, *report.failed)] == ["TST001", "TST001"]
    assert report.findings == sound.findings
    assert main(["report", str(tmp_path), "--fail-on", "error"]) == 2
    assert "was not examined: TST001" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--fail-on", "never"]) == 0
    assert main(["report", str(tmp_path), "--fail-on", "info"]) == (1 if sound.findings else 2)
    run(tmp_path, state=state, first=8)  # without it
    assert not diagnose(tmp_path).failed


def test_a_preflight_names_a_rule_that_is_wrong():
    for wrong in (
        WRONG["kinds is None"],
        rule(half_way, foreseeable=True),
        rule(raises(OSError()), foreseeable=True),
    ):
        diagnosis = preflight(PAUCAtBudgetLoss(1), batch_size=64, positive_rate=0.01, rules=[wrong])
        sound = preflight(PAUCAtBudgetLoss(1), batch_size=64, positive_rate=0.01)
        assert [failed.code for failed in diagnosis.failed] == ["TST001"]
        assert diagnosis.findings == sound.findings


# --- records and findings from outside ---------------------------------------------------------------------


@pytest.mark.parametrize("step", [10**30, 2**63, -(2**63) - 1, 1.5, "3", None, True])
def test_a_step_that_no_series_holds_is_named_and_leaves_the_history_as_it_was(step):
    history = History(RunInfo())
    history.add(StepRecord(3, "ap", {"loss": as_array(1)}))
    with pytest.raises(ValueError, match="expected a step to be a whole number of 64 bits, got"):
        history.add(EvalRecord(step, {"average_precision": as_array([1])}))
    assert (history.step, history.records) == (3, 1)
    (window,) = history.windows()
    assert not len(window.eval_series("average_precision"))


@pytest.mark.parametrize(
    "config",
    [[], None, "x", {"main_loss": 3}, {"main_loss": {}}, {"main_loss": None}, {"main_loss": {"kind": 3}}],
)
def test_settings_that_are_none_do_not_stop_the_history(config):
    history = History(RunInfo())
    for _ in range(2):
        history.add(WatchRecord(0, LossInfo("w", "warmup_wrapper", config)))
        history.add(StepRecord(0, "w", {"phase": as_array(2), "loss": as_array(1)}))
    assert [window.step for window in history.windows()] == [0] * len(list(history.windows()))


GOOD = {
    **EXPECTED[0].to_dict(),
    "prescription": changes(3),
    "class_name": "fraud",
    "explained_by": ["IMB001"],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("code", 3), ("code", "a\nb"), ("name", None), ("severity", "fatal"), ("severity", []), ("loss", 3),
        ("class_index", -1), ("class_index", "0"), ("class_index", 2**31), ("class_index", True),
        ("class_name", 3), ("step", "0"), ("step", 2**63), ("step", None), ("last_step", 1.5),
        ("status", "closed"), ("symptom", None), ("cause", []), ("remedy", 3), ("evidence", None),
        ("evidence", [1]), ("evidence", {"a": "x"}), ("evidence", {"a": 10**400}), ("evidence", {"a": [1]}),
        ("prescription", []), ("prescription", {"to": 1}), ("prescription", {**changes(1), "more": 1}),
        ("explained_by", "IMB001"), ("explained_by", [1]), ("explained_by", None),
    ],
)  # fmt: skip
def test_a_finding_from_plain_data_says_what_was_expected(name, value):
    assert Finding.from_dict(GOOD).to_dict() == GOOD
    with pytest.raises(ValueError, match="expected"):
        Finding.from_dict({**GOOD, name: value})


def test_a_finding_needs_its_keys_and_takes_those_of_a_later_version():
    assert Finding.from_dict({**GOOD, "colour": "red"}) == Finding.from_dict(GOOD)
    with pytest.raises(ValueError, match="expected a finding to be complete, got one without loss"):
        Finding.from_dict({name: value for name, value in GOOD.items() if name != "loss"})
    for other in (None, [], "IMB001", 3):
        with pytest.raises(ValueError, match="expected a finding to be a mapping, got"):
            Finding.from_dict(other)
