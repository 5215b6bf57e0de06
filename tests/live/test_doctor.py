"""The monitor in a training loop: what it hears, when it speaks, and that it never does harm."""

import copy
import os
import pickle
import warnings
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, ImbalanceError, ImbalanceWarning, diagnose, load_run
from imbalance_doctor.live.listening.schedule import Schedule
from imbalance_doctor.records import TreatmentRecord
from losses import PAUCAtBudgetLoss, RecallAtQuantileLoss, SigmoidFocalLoss, SmoothAPLoss
from losses.diagnostics.scores import ranking_stats
from tests.live.loop import batches, train


def sick_loss():
    """A band of 0.5 % of negatives, looked for in a pool of 128 rows: it is empty."""
    return PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)


def healthy_loss():
    return SmoothAPLoss(num_classes=1, queue_size=1024, temperature=0.1)


# --- what it hears ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss_fn", "kind", "classes"),
    [
        (SmoothAPLoss(1), "smooth_ap", 1),
        (RecallAtQuantileLoss(1, quantile=0.1), "recall_at_quantile", 1),
        (PAUCAtBudgetLoss(4, beta=0.2), "pauc_at_budget", 4),
        (nn.BCEWithLogitsLoss(), "bce", 1),
        (nn.CrossEntropyLoss(), "cross_entropy", 4),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_any_loss_is_watched_and_recorded_every_tenth_step(tmp_path, loss_fn, kind, classes):
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn, name="mine")
        train(doctor, loss_fn, steps=31, classes=classes)
    run = load_run(tmp_path)
    assert run.losses["mine"].kind == kind
    assert [record.step for record in run.steps()] == [0, 10, 20, 30]
    for record in run.steps():
        assert record.stats["pool_pos_count"].shape == (classes,)
        assert torch.isfinite(torch.tensor(record.stats["loss"]))


def test_names_default_to_the_kind_and_stay_apart():
    doctor = Doctor(None)
    for loss_fn in (SmoothAPLoss(1), SmoothAPLoss(1), nn.BCEWithLogitsLoss()):
        doctor.watch(loss_fn)
    names = [watcher.name for watcher in doctor._watchers]
    assert len(set(names)) == 3
    assert "smooth_ap" in names


def test_what_cannot_be_watched_is_named():
    doctor = Doctor(None)
    with pytest.raises(TypeError, match=r"expected loss_fn to be a loss module, got function"):
        doctor.watch(lambda logits, targets: None)
    loss_fn = SmoothAPLoss(1)
    doctor.watch(loss_fn, name="ap")
    with pytest.raises(ValueError, match="watched already"):
        doctor.watch(loss_fn)
    with pytest.raises(ValueError, match="a name that no watched loss has, got 'ap'"):
        doctor.watch(SmoothAPLoss(1), name="ap")


def test_validation_forwards_are_not_taken_for_training():
    loss_fn = SmoothAPLoss(1)
    with Doctor(None, every=1) as doctor:
        doctor.watch(loss_fn)
        logits, targets = torch.randn(16, 1), torch.randint(2, (16,))
        with torch.no_grad():
            loss_fn(logits, targets)
        doctor.step()
        loss_fn.eval()
        loss_fn(logits.requires_grad_(), targets)
        doctor.step()
        assert doctor.run.steps() == []
        loss_fn.train()
        loss_fn(logits, targets)
        doctor.step()
        assert len(doctor.run.steps()) == 1


def test_statistics_are_computed_only_on_recorded_steps(monkeypatch):
    seen = []
    loss_fn = SmoothAPLoss(1)

    def noted(detail, *args, **kwargs):
        seen.append((doctor._session.steps, detail))
        return ranking_stats(detail, *args, **kwargs)

    monkeypatch.setattr("losses.ranking.base.ranking_stats", noted)
    with Doctor(None, every=10) as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=1000)
    schedule, planned = Schedule(10, None), []
    while schedule.due < 1000:
        planned.append((schedule.due, schedule.detail))
        schedule.recorded(schedule.due)
    assert seen == planned


def test_the_loss_of_every_step_is_in_the_mean_between_records():
    loss_fn, losses = SmoothAPLoss(1), []
    with Doctor(None, every=10) as doctor:
        doctor.watch(loss_fn)
        for x, y in islice(batches(64, 0.05, 0), 31):
            losses.append(float(loss_fn(x[:, 0], y)))
            doctor.step()
    recorded = doctor.run.stats["interval_loss"].tolist()
    means = [losses[0], *(np.mean(losses[i : i + 10]) for i in (1, 11, 21))]
    assert recorded == pytest.approx(means)


def test_a_watched_loss_is_saved_and_copied_without_its_listeners():
    loss_fn, doctor = SmoothAPLoss(1), Doctor(None)
    doctor.watch(loss_fn)
    for twin in (copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
        assert not twin._diagnostics_hooks
    assert loss_fn._diagnostics_hooks


def test_a_watched_plain_loss_is_saved_and_copied_without_its_listeners(tmp_path):
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(tmp_path, every=1) as doctor:
        doctor.watch(loss_fn)
        logits, targets = torch.randn(8, requires_grad=True), torch.ones(8)
        loss_fn(logits, targets)
        doctor.step()
        for twin in (copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
            assert twin(logits, targets) == loss_fn(logits, targets)
        doctor.step()
    assert len(load_run(tmp_path).steps()) == 2


def test_a_compiled_loss_is_the_loss_it_was_made_from():
    loss_fn = SmoothAPLoss(1)
    doctor = Doctor(None, every=1)
    doctor.watch(torch.compile(loss_fn, backend="eager"), name="ap")
    loss_fn(torch.randn(16, requires_grad=True), torch.randint(2, (16,)))
    doctor.step()
    assert doctor.run.losses["ap"].kind == "smooth_ap"
    assert len(doctor.run.steps()) == 1


def test_an_evaluation_before_the_first_step_waits_for_it(tmp_path):
    loss_fn = healthy_loss()
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=21)
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        doctor.log_eval(torch.randn(100), torch.rand(100) < 0.2)
        train(doctor, loss_fn, steps=11, first_step=21)
    run = load_run(tmp_path)
    assert [record.step for record in run.steps()] == [0, 10, 20, 21, 31]
    assert [record.step for record in run.evaluations] == [21]


def test_metrics_given_to_step_are_kept():
    loss_fn = SmoothAPLoss(1)
    with Doctor(None, every=1) as doctor:
        doctor.watch(loss_fn)
        loss_fn(torch.randn(16, 1, requires_grad=True), torch.randint(2, (16,)))
        doctor.step(lr=0.25)
        assert doctor.run.stats["lr"].tolist() == [0.25]


# --- when it speaks -----------------------------------------------------------------------------------


def test_a_planted_fault_is_found_while_training_and_reported_once():
    with Doctor(None, on_finding="log") as doctor:
        loss_fn = sick_loss()
        doctor.watch(loss_fn)
        found = train(doctor, loss_fn, steps=400)
    codes = [finding.code for finding in found]
    assert codes.count("IMB401") == 1
    assert next(f for f in found if f.code == "IMB401").step <= 200


@pytest.mark.parametrize("loss_fn", [sick_loss(), healthy_loss(), SigmoidFocalLoss(), nn.BCEWithLogitsLoss()])
def test_live_findings_are_the_post_hoc_findings(tmp_path, loss_fn):
    with Doctor(tmp_path, on_finding="log", total_steps=400) as doctor:
        doctor.watch(loss_fn)
        if isinstance(loss_fn, SigmoidFocalLoss):  # takes targets of the logits' shape
            for _ in range(100):
                logits = torch.randn(64, requires_grad=True)
                loss_fn(logits, (torch.rand(64) < 0.05).float())
                doctor.step()
        else:
            train(doctor, loss_fn, steps=400)
        doctor.log_eval(torch.randn(500), torch.rand(500) < 0.05)
    after = diagnose(tmp_path)
    assert [f.to_dict() for f in after.findings] == [f.to_dict() for f in doctor.findings]
    assert after.skipped == doctor.diagnosis.skipped
    assert after.healthy == doctor.diagnosis.healthy


@pytest.mark.parametrize("second", [sick_loss, healthy_loss, lambda: PAUCAtBudgetLoss(1, queue_size=8192)])
def test_after_a_resume_too(tmp_path, second):
    with Doctor(tmp_path, on_finding="log") as doctor:
        loss_fn = sick_loss()
        doctor.watch(loss_fn)
        assert "IMB401" in {f.code for f in train(doctor, loss_fn, steps=200)}
    heard = []
    with Doctor(tmp_path, on_finding=heard.append) as doctor:
        loss_fn = second()
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=600, first_step=150)
    if second is sick_loss:
        assert "IMB401" not in {f.code for f in heard}  # it was open, and is not told twice
    after = diagnose(tmp_path)
    assert [f.to_dict() for f in after.findings] == [f.to_dict() for f in doctor.findings]
    assert ("IMB401" in {f.code for f in after.open}) == (second is sick_loss)


def test_selection_and_thresholds_of_the_run_are_those_of_its_report(tmp_path):
    with Doctor(tmp_path, on_finding="log", ignore=["empty-band"]) as doctor:
        loss_fn = sick_loss()
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=200)
    assert "IMB401" not in {f.code for f in diagnose(tmp_path).findings}
    assert "IMB401" in {f.code for f in diagnose(tmp_path, ignore=[]).findings}
    with pytest.raises(ValueError, match=r"got 'IMB9999'; `imbalance-doctor rules` lists them"):
        Doctor(None, select=["IMB9999"])


def test_findings_are_warnings_at_the_line_of_the_users_loop():
    with Doctor(None) as doctor:
        loss_fn = sick_loss()
        doctor.watch(loss_fn)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train(doctor, loss_fn, steps=200)
    ours = [w for w in caught if issubclass(w.category, ImbalanceWarning)]
    assert any("IMB401 empty-band" in str(w.message) for w in ours)
    assert {os.path.basename(w.filename) for w in ours} == {"loop.py"}


def test_one_fault_on_many_classes_is_one_warning():
    loss_fn = PAUCAtBudgetLoss(num_classes=20, beta=0.005, queue_size=64)
    with Doctor(None, select="IMB401") as doctor:
        doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match="The same on 19 more classes") as caught:
            found = train(doctor, loss_fn, steps=200, classes=20)
    assert len(caught) == 1
    assert len(found) == 20


def test_findings_can_be_raised_or_handed_to_a_callback():
    loss_fn = sick_loss()
    doctor = Doctor(None, on_finding="raise", select=["IMB401"])
    doctor.watch(loss_fn)
    with pytest.raises(ImbalanceError, match="IMB401") as error:
        train(doctor, loss_fn, steps=200)
    assert error.value.finding.code == "IMB401"
    assert pickle.loads(pickle.dumps(error.value)).finding == error.value.finding
    heard = []
    loss_fn = sick_loss()
    with Doctor(None, on_finding=heard.append) as doctor:
        doctor.watch(loss_fn)
        assert train(doctor, loss_fn, steps=200) == heard


def test_a_prescription_is_applied_logged_and_cures(tmp_path):
    loss_fn = sick_loss()
    with Doctor(tmp_path, on_finding="log", select=["IMB401"]) as doctor:
        doctor.watch(loss_fn)
        (finding,) = train(doctor, loss_fn, steps=100)
        change = doctor.treat(finding)
        assert (change.before, change.after) == (64, finding.prescription["to"])
        assert loss_fn.queue_size == change.after
        train(doctor, loss_fn, steps=1200, first_step=100)
        assert [f.status for f in doctor.findings] == ["resolved"]
    (logged,) = [r for r in load_run(tmp_path).records if isinstance(r, TreatmentRecord)]
    assert logged == change
    assert diagnose(tmp_path).worst is None


def test_a_treatment_never_undoes_a_stronger_one():
    loss_fn = sick_loss()
    with Doctor(None, on_finding="log", select="IMB401") as doctor:
        doctor.watch(loss_fn)
        (finding,) = train(doctor, loss_fn, steps=100)
        loss_fn.reconfigure(queue_size=finding.prescription["to"] + 1)
        assert doctor.treat(finding) is None
        assert loss_fn.queue_size == finding.prescription["to"] + 1
    with pytest.raises(ValueError, match="closed"):
        doctor.treat(finding)


def test_what_cannot_be_treated_says_what_to_do_by_hand():
    loss_fn = sick_loss()
    with Doctor(None, on_finding="log", select=["IMB401"]) as doctor:
        doctor.watch(loss_fn, name="pauc")
        (finding,) = train(doctor, loss_fn, steps=100)
    other = Doctor(None)
    with pytest.raises(
        ValueError, match="a finding about a loss that this doctor watches, got IMB401 about 'pauc'"
    ):
        other.treat(finding)
    other.watch(nn.BCEWithLogitsLoss(), name="pauc")
    with pytest.raises(ValueError, match="BCEWithLogitsLoss is not a loss of this package"):
        other.treat(finding)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every to be a number of steps, at least 1, got 0"),
        ({"total_steps": 0}, "total_steps to be a number of steps, at least 1"),
        ({"on_finding": "shout"}, "'warn', 'log', 'raise' or a callable, got 'shout'"),
        ({"tensorboard": True}, "give a run_dir, or a TensorBoard directory"),
        ({"every": 2.5}, "at least 1, got 2.5"),
        ({"class_names": "fraud"}, "a list of names, got the text 'fraud'"),
        ({"population_positive_rate": 1.5}, "between 0 and 1, got 1.5"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Doctor(None, **arguments)
