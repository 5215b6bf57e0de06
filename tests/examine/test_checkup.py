"""The life of a finding: opens once, grows graver, resolves once; skipped is not healthy."""

from dataclasses import dataclass

import numpy as np
import pytest

from imbalance_doctor.examine.checkup import (
    LOOK_EVERY,
    RESOLVE_AFTER,
    RESOLVE_AT_ONCE_AFTER,
    RESOLVE_TREATED_AFTER,
    Checkup,
    is_look,
)
from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import WINDOW, History
from imbalance_doctor.records import (
    EndRecord,
    LossInfo,
    RunInfo,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
    as_array,
)
from imbalance_doctor.rules.base import Evidence, Rule
from imbalance_doctor.rules.likelihood.majority_collapse import MajorityCollapse
from imbalance_doctor.rules.warmup.queue_poisoned_at_switch import QueuePoisonedAtSwitch


@dataclass(frozen=True)
class _Gauge(Rule):
    """Fires on each class whose newest value is above 1, as an error above 10; asked at every record."""

    code = "TST001"
    name = "gauge-high"
    severity = "warning"
    kinds = frozenset({"smooth_ap"})
    requires = ("score_iqr",)
    min_records = 1
    at_once = True
    symptom = "{class_label} stands at {level:.1f}."
    cause = "a test."
    remedy = "lower it."

    def examine(self, window):
        newest = window.series("score_iqr").values[-1]
        for c in np.flatnonzero(newest > 1):
            level = float(newest[c])
            yield Evidence({"level": level}, int(c), severity="error" if level > 10 else None)


@dataclass(frozen=True)
class _Broken(_Gauge.__base__):
    """Raises."""

    code = "TST002"
    name = "broken"
    severity = "error"
    kinds = frozenset({"smooth_ap"})
    requires = ()
    min_records = 1
    at_once = True
    symptom = cause = remedy = ""

    def examine(self, window):
        raise ZeroDivisionError("no luck")


@dataclass(frozen=True)
class _Slow(Rule):
    """Counts how often it is asked."""

    code = "TST003"
    name = "slow"
    severity = "info"
    kinds = frozenset({"smooth_ap"})
    requires = ()
    symptom = cause = remedy = ""

    def examine(self, window):
        calls.append(window.records)
        return Skipped("counting")


@dataclass(frozen=True)
class _Windowed(Rule):
    """Like the gauge, but not asked at every record."""

    code = "TST004"
    name = "windowed-gauge"
    severity = "warning"
    kinds = frozenset({"smooth_ap"})
    requires = ("score_iqr",)
    symptom, cause, remedy = _Gauge.symptom, _Gauge.cause, _Gauge.remedy
    examine = _Gauge.examine


calls: list[int] = []
LOSS = LossInfo("ap", "smooth_ap", {"queue_size": 64})


def checkup(*rules, **run):
    made = Checkup(RunInfo(**run), rules)
    made.feed(WatchRecord(0, LOSS))
    return made


def levels(step, *values):
    return StepRecord(step, "ap", {"score_iqr": as_array(values)})


def test_a_lasting_fault_opens_once_and_resolves_once():
    doctor = checkup(_Gauge())
    changes = [doctor.feed(levels(step, 5)) for step in range(50)]
    assert [f.status for change in changes for f in change] == ["open"]
    assert doctor.findings[0].step == 0
    assert doctor.findings[0].last_step == 49
    changes = [doctor.feed(levels(step, 0)) for step in range(50, 200)]
    assert [f.status for change in changes for f in change] == ["resolved"]
    assert doctor.findings[0].last_step == 50 + RESOLVE_AT_ONCE_AFTER - 1
    assert doctor.diagnosis().open == ()


def test_one_quiet_record_does_not_close_a_finding():
    doctor = checkup(_Gauge())
    changes = [doctor.feed(levels(step, 5 * (step % RESOLVE_AT_ONCE_AFTER == 0))) for step in range(30)]
    assert sum(map(len, changes)) == 1


def test_each_class_has_its_own_finding_named_as_the_user_names_it():
    doctor = checkup(_Gauge(), class_names=("a", "b", "c"))
    doctor.feed(levels(0, 5, 0, 7))
    assert [(f.class_index, f.class_name) for f in doctor.findings] == [(0, "a"), (2, "c")]
    assert doctor.findings[1].symptom == "Class 'c' stands at 7.0."


def test_two_names_for_one_column_name_the_positive_class():
    doctor = checkup(_Gauge(), class_names=("ok", "fraud"))
    doctor.feed(StepRecord(0, "ap", {"score_iqr": as_array([5]), "pool_pos_count": as_array([1])}))
    assert doctor.findings[0].class_name == "fraud"


def test_a_finding_that_grows_graver_is_told_again_and_keeps_its_first_step():
    doctor = checkup(_Gauge())
    doctor.feed(levels(0, 5))
    (graver,) = doctor.feed(levels(10, 50))
    assert (graver.severity, graver.step) == ("error", 0)
    assert doctor.feed(levels(20, 5)) == []  # and does not fade back at once
    assert doctor.diagnosis().worst == "error"


def test_a_finding_that_stays_milder_is_milder_and_one_that_stays_has_its_newest_evidence():
    doctor = checkup(_Gauge())
    doctor.feed(levels(0, 50))
    doctor.feed(levels(1, 60))
    assert doctor.findings[0].evidence == {"level": 60.0}
    for step in range(2, 2 + RESOLVE_AT_ONCE_AFTER):
        assert doctor.findings[0].severity == "error"
        assert doctor.feed(levels(step, 5)) == []  # nothing that anyone must be told
    (finding,) = doctor.findings
    assert (finding.severity, finding.step, finding.symptom) == (
        "warning", 0, "Class 0 stands at 5.0.",
    )  # fmt: skip
    (graver,) = doctor.feed(levels(99, 50))
    assert graver.severity == "error"


def test_missing_statistics_are_skipped_with_a_reason_and_not_healthy():
    doctor = checkup(_Gauge())
    doctor.feed(StepRecord(0, "ap", {"loss": as_array(1)}))
    diagnosis = doctor.diagnosis()
    assert [item.skipped for item in diagnosis.skipped] == ["score_iqr not recorded"]
    assert diagnosis.healthy == ()
    doctor.feed(levels(10, 0))
    assert [item.code for item in doctor.diagnosis().healthy] == ["TST001"]


def test_a_rule_that_raises_is_asked_once_and_reported():
    doctor = checkup(_Broken(), _Gauge())
    for step in range(5):
        doctor.feed(levels(step, 5))
    assert doctor.failed == {"TST002": "ZeroDivisionError: no luck"}
    assert "no luck" in doctor.diagnosis().skipped[0].skipped
    assert [f.code for f in doctor.findings] == ["TST001"]


def test_windowed_rules_are_asked_when_the_loss_is_looked_at_and_at_the_end():
    calls.clear()
    doctor = checkup(_Slow())
    for step in range(102):
        doctor.feed(levels(step, 0))
    assert calls == [records for records in range(_Slow.min_records, 103) if is_look(records)]
    doctor.feed(EndRecord(101))
    assert calls[-1] == 102


def test_a_finding_of_a_windowed_rule_resolves_within_a_bounded_number_of_records():
    doctor = checkup(_Windowed())
    changes = [doctor.feed(levels(step, 5 if step < 600 else 0)) for step in range(1000)]
    ends = [step for step, found in enumerate(changes) for item in found if item.status == "resolved"]
    assert ends
    assert ends[0] <= 600 + RESOLVE_AFTER * LOOK_EVERY


def test_a_treated_finding_is_believed_sooner_and_at_the_end_two_quiet_looks_are_enough():
    def looks(doctor, start):
        for step in range(start, 10_000):
            if doctor.feed(levels(step, 0)):
                return sum(is_look(records) for records in range(_Windowed.min_records, step - start + 2))
        return None

    doctor = checkup(_Windowed())
    for step in range(10):
        doctor.feed(levels(step, 5))
    doctor.feed(TreatmentRecord(9, LOSS, "TST004", "queue_size", 64, 4096))
    assert looks(doctor, 10) == RESOLVE_TREATED_AFTER < RESOLVE_AFTER

    doctor = checkup(_Windowed())
    for step in range(10 + LOOK_EVERY):
        doctor.feed(levels(step, 5 if step < 10 else 0))
    (resolved,) = doctor.feed(EndRecord(10 + LOOK_EVERY))  # the one after a single quiet look
    assert resolved.status == "resolved"
    doctor = checkup(_Windowed())
    for step in range(10):
        doctor.feed(levels(step, 5))
    assert doctor.feed(EndRecord(10)) == []


def test_a_treatment_starts_a_new_window():
    doctor = checkup(_Gauge())
    doctor.feed(levels(0, 5))
    treated = LossInfo("ap", "smooth_ap", {"queue_size": 4096})
    doctor.feed(TreatmentRecord(5, treated, "TST001", "queue_size", 64, 4096))
    (window,) = doctor.history.windows()
    assert window.records == 0
    assert window.treated
    doctor.feed(levels(10, 0))
    (window,) = doctor.history.windows()
    assert window.config("queue_size") == 4096


def test_a_queue_that_goes_on_after_a_treatment_is_not_one_from_before_a_switch():
    def record(step, fill=1.0):
        quantiles = {
            "live_score_quantiles": as_array([[-4.0 + z for z in range(-4, 5)]]),
            "queue_score_quantiles": as_array([[float(z) for z in range(-4, 5)]]),
        }
        counts = {"queue_fill": as_array(fill), "pool_size": as_array(64), "live_pos_count": as_array([1])}
        return StepRecord(step, "ap", {**quantiles, **counts, "live_neg_count": as_array([3])})

    def found(*before):
        doctor = checkup(QueuePoisonedAtSwitch())
        for each in (*before, record(100), record(110)):
            doctor.feed(each)
        assert not doctor.failed
        return [finding.code for finding in doctor.findings]

    assert found() == ["IMB505"]
    assert found(record(0, 0.0), TreatmentRecord(95, LOSS, "TST001", "temperature", 0.1, 0.2)) == []


def test_the_window_is_bounded_and_in_order():
    history = History(RunInfo())
    history.add(WatchRecord(0, LOSS))
    for step in range(5 * WINDOW + 3):
        history.add(levels(step, step, -step))
    (window,) = history.windows()
    series = window.series("score_iqr")
    assert len(series) == WINDOW
    assert series.steps.tolist() == list(range(4 * WINDOW + 3, 5 * WINDOW + 3))
    np.testing.assert_array_equal(series.values[:, 0], series.steps)


def test_a_class_count_that_changes_starts_a_new_series():
    history = History(RunInfo())
    history.add(WatchRecord(0, LOSS))
    history.add(levels(0, 1))
    history.add(levels(1, 1, 2))
    (window,) = history.windows()
    assert window.series("score_iqr").values.tolist() == [[1, 2]]


@pytest.mark.parametrize(("phase", "kinds"), [(0, {"bce"}), (1, {"smooth_ap"}), (2, {"smooth_ap"})])
def test_a_warmup_wrapper_is_the_loss_that_is_active(phase, kinds):
    config = {"warmup_loss": {"kind": "bce"}, "main_loss": {"kind": "smooth_ap", "queue_size": 8}}
    history = History(RunInfo())
    history.add(WatchRecord(0, LossInfo("w", "warmup_wrapper", config)))
    history.add(StepRecord(0, "w", {"phase": as_array(phase), "score_iqr": as_array([1])}))
    windows = {window.kind: window for window in history.windows()}
    assert windows.keys() == kinds | {"warmup_wrapper"}
    assert windows["warmup_wrapper"].has("phase")
    (active,) = kinds
    assert windows[active].has("score_iqr")
    if phase:
        assert windows[active].config("queue_size") == 8


def test_findings_about_a_phase_that_is_over_are_closed():
    config = {"warmup_loss": {"kind": "smooth_ap"}, "main_loss": {"kind": "pauc_at_budget"}}
    doctor = Checkup(RunInfo(), [_Gauge()])
    doctor.feed(WatchRecord(0, LossInfo("w", "warmup_wrapper", config)))
    doctor.feed(StepRecord(0, "w", {"phase": as_array(0), "score_iqr": as_array([5])}))
    assert [f.status for f in doctor.findings] == ["open"]
    (closed,) = doctor.feed(StepRecord(1, "w", {"phase": as_array(2), "score_iqr": as_array([5])}))
    assert closed.status == "resolved"


@dataclass(frozen=True)
class _Consequence(_Gauge):
    """Fires with the gauge, and is explained by it."""

    code = "TST004"
    name = "consequence"
    explained_by = ("TST001",)


@dataclass(frozen=True)
class _MildCause(_Gauge):
    """Fires with the gauge, mildly, and explains the consequence."""

    code = "TST001"
    severity = "info"

    def examine(self, window):
        return [Evidence({"level": 1.0}, 0)] if window.series("score_iqr").values[-1][0] > 1 else []


@dataclass(frozen=True)
class _Neighbour(_Gauge):
    """Fires with the gauge, and has nothing to do with it."""

    code = "TST009"


def test_a_cause_is_as_urgent_as_what_it_explains():
    doctor = checkup(_Consequence(), _MildCause(), _Neighbour())
    doctor.feed(levels(0, 50))
    assert [f.code for f in doctor.findings] == ["TST001", "TST009", "TST004"]
    assert doctor.findings[0].severity == "info"


def test_a_consequence_names_its_cause_and_comes_after_it():
    doctor = checkup(_Consequence(), _Gauge())
    changed = doctor.feed(levels(0, 5, 0))
    for found in (changed, doctor.findings):
        assert [(f.code, f.explained_by) for f in found] == [("TST001", ()), ("TST004", ("TST001",))]
    doctor = checkup(_Consequence())
    assert [f.explained_by for f in doctor.feed(levels(0, 5))] == [()]  # nothing explains it here


# --- what was not judged --------------------------------------------------------------------------------


def many_labels(rule, *, common=4, labels=40, records=60):
    """Labels that a collapsed model misses, the first of them with two positives a batch, the others rare."""
    positives = np.where(np.arange(labels) < common, 2.0, 0.02)
    checkup = Checkup(RunInfo(every=10, total_steps=records * 10), [rule])
    checkup.feed(WatchRecord(0, LossInfo("tags", "bce")))
    for number in range(records):
        # One positive in 50 records is a fraction of one here: only sums are looked at.
        stats = {
            "live_pos_count": positives,
            "live_neg_count": 256 - positives,
            "pool_pos_count": positives,
            "predicted_pos_count": 0 * positives,
            "true_pos_count": 0 * positives,
            "mean_p_true_pos": 0 * positives + 0.001,
            "mean_p_true_neg": 0 * positives + 0.999,
        }
        checkup.feed(
            StepRecord(number * 10, "tags", {name: as_array(value) for name, value in stats.items()})
        )
    checkup.feed(EndRecord(records * 10))
    return checkup.diagnosis(notes=["of the log"])


def test_classes_that_had_too_few_positives_are_named_beside_those_that_were_judged():
    diagnosis = many_labels(MajorityCollapse())
    assert sorted(finding.class_index for finding in diagnosis.open) == [0, 1, 2, 3]
    (unjudged,) = diagnosis.unjudged
    assert (unjudged.code, unjudged.loss, unjudged.of) == ("IMB009", "tags", 40)
    assert unjudged.classes == tuple(range(4, 40))
    assert diagnosis.notes == (
        "of the log",
        "IMB009 majority-collapse [tags]: 36 of 40 classes had fewer than 55 positives and were not judged: "
        "4, 5, 6, 7, 8 and 31 more",
    )
    assert diagnosis.to_dict()["unjudged"][0]["classes"] == unjudged.classes


@pytest.mark.parametrize(
    ("common", "labels"), [(40, 40), (0, 40), (0, 1)], ids=["all judged", "none judged", "one class"]
)
def test_nothing_is_passed_over_where_all_classes_were_judged_or_the_rule_was_skipped(common, labels):
    diagnosis = many_labels(MajorityCollapse(), common=common, labels=labels)
    assert not diagnosis.unjudged
    assert diagnosis.notes == ("of the log",)
    assert bool(diagnosis.skipped) == (common == 0)


@dataclass(frozen=True)
class _Unsure(_Gauge.__base__):
    """Says what it does not know on the classes whose newest value is above 1."""

    code = "TST003"
    name = "unsure"
    severity = "warning"
    kinds = frozenset({"smooth_ap"})
    requires = ("score_iqr",)
    min_records = 1
    at_once = True
    symptom = "{class_label} stands at {level:.1f}."
    cause = "a test."
    remedy = "lower it."

    def examine(self, window):
        newest = window.series("score_iqr").values[-1]
        for c in np.flatnonzero(~(newest <= 1)):
            yield Evidence({"level": float(newest[c]), "aside": np.nan}, int(c))


def test_evidence_that_is_not_a_number_opens_nothing_and_closes_nothing():
    checkup = Checkup(RunInfo(every=1), [_Unsure()])
    checkup.feed(WatchRecord(0, LossInfo("loss", "smooth_ap")))

    def feed(step, *values):
        return checkup.feed(StepRecord(step, "loss", {"score_iqr": as_array(values)}))

    assert feed(0, np.nan, np.nan) == []
    (skipped,) = checkup.diagnosis().skipped
    assert skipped.skipped == "a number that it needs is not known: level"
    (finding,) = feed(1, 2.0, np.nan)
    assert finding.evidence == {"level": 2.0}
    for step in range(2, 40):
        assert feed(step, np.nan, 0.0) == []
    (still,) = checkup.findings
    assert (still.status, still.symptom) == ("open", "Class 0 stands at 2.0.")
