"""A configuration judged before the run: what it expects comes true, what it prescribes passes."""

import numpy as np
import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, diagnose, preflight
from imbalance_doctor.preflight.expected import RECORDS, counts, records
from imbalance_doctor.preflight.plan import plan_of
from imbalance_doctor.records import StepRecord
from imbalance_doctor.rules import rule_types
from imbalance_doctor.rules.pool.few_positives_in_pool import FewPositivesInPool
from losses import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)
from tests.live.loop import train


def codes(diagnosis):
    return [finding.code for finding in diagnosis.findings]


def plan(loss_fn, batch_size=64, positive_rate=0.05, **other):
    known = {"total_steps": None, "epochs": None, "world_size": 1, "class_names": None, **other}
    return plan_of(loss_fn, batch_size=batch_size, positive_rate=positive_rate, **known)


# --- what is expected comes true --------------------------------------------------------------------------


def observed(loss_fn, rates, batch, forwards=200):
    """The means of a loss's statistics over forwards with a full queue, on scores that say nothing."""
    generator = torch.Generator().manual_seed(0)
    classes = len(rates)
    seen = []
    with np.errstate(all="ignore"):
        for k in range(forwards + 40):
            scores = torch.randn(batch, classes, generator=generator, requires_grad=True)
            draws = torch.rand(batch, generator=generator)
            edges = torch.tensor(rates).cumsum(0)
            labels = torch.bucketize(draws, edges).clamp_max(classes - 1) if classes > 1 else draws < rates[0]
            _, stats = loss_fn(scores, labels.long(), return_diagnostics=True)
            if k >= 40:
                seen.append(stats)
    return {name: torch.stack([s[name].double() for s in seen]).mean(0).numpy() for name in seen[0]}


@pytest.mark.filterwarnings("ignore:SmoothAPLoss. a pool of")
@pytest.mark.parametrize(
    ("loss_fn", "rates"),
    [
        (SmoothAPLoss(1, queue_size=512), (0.03,)),
        (SmoothAPLoss(1, queue_size=512, max_pool_size=128), (0.03,)),
        (SmoothAPLoss(3, queue_size=512, max_pool_size=100), (0.9, 0.08, 0.02)),
        (RecallAtQuantileLoss(1, queue_size=512), (0.03,)),
        (PAUCAtBudgetLoss(1, alpha=0.02, beta=0.1, queue_size=512), (0.03,)),
        (PAUCAtBudgetLoss(1, beta=0.05, queue_size=512, budget_basis="population"), (0.1,)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_is_expected_is_what_the_loss_reports(loss_fn, rates):
    batch = 32
    seen = observed(loss_fn, rates, batch)
    given = rates if len(rates) > 1 else rates[0]
    expected = counts(plan(loss_fn, batch, given), plan(loss_fn, batch, given).losses[0]).values
    for name in ("pool_size", "pool_pos_count", "pool_neg_count", "live_pos_count", "live_neg_count"):
        np.testing.assert_allclose(expected[name], seen[name], rtol=0.1, atol=0.1, err_msg=name)
    for name in {"iid_neg_count", "band_neg_count"} & seen.keys():
        np.testing.assert_allclose(expected[name], seen[name], rtol=0.1, err_msg=name)


@pytest.mark.parametrize("rate", [0.2, 0.01, 0.001, 1e-6])
def test_expected_records_are_empty_as_often_as_batches_are_and_have_their_mean(rate):
    run = [
        record.stats for record in records(plan(SmoothAPLoss(1), 64, rate)) if isinstance(record, StepRecord)
    ]
    live = np.array([stats["live_pos_count"][0] for stats in run])
    assert len(live) == RECORDS
    if (1 - rate) ** 64 < 0.95:
        assert live[-20:].mean() == pytest.approx(64 * rate, rel=1e-5)
    assert live.mean() == pytest.approx(64 * rate, rel=1e-5)
    assert (live == 0).mean() == pytest.approx((1 - rate) ** 64, abs=0.005)
    assert all(s["live_neg_count"][0] + s["live_pos_count"][0] == pytest.approx(64) for s in run)


def test_a_rule_that_is_foreseen_needs_no_more_than_is_expected():
    everything = set()
    for loss_fn in (
        PAUCAtBudgetLoss(1),
        SigmoidFocalLoss(),
        LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1)),
    ):
        for record in records(plan(loss_fn)):
            everything |= set(record.stats) if isinstance(record, StepRecord) else set()
    for rule in rule_types():
        if rule.foreseeable:
            assert set(rule.requires) <= everything, rule.code
            assert not rule.requires_eval, rule.code


# --- every fault, and the value that passes ---------------------------------------------------------------

#: Faults that a configuration shows: code, loss, its settings, and those of the run.
FAULTS = [
    ("IMB002", SmoothAPLoss, {"num_classes": 1}, {"positive_rate": 0.0002}),
    ("IMB003", SmoothAPLoss, {"num_classes": 1, "queue_size": 256}, {"positive_rate": 0.02}),
    ("IMB003", SmoothAPLoss, {"num_classes": 1, "max_pool_size": 64}, {"positive_rate": 0.005}),
    ("IMB003", SmoothAPLoss, {"num_classes": 3}, {"positive_rate": (0.99, 0.009, 0.001)}),
    ("IMB301", RecallAtQuantileLoss, {"num_classes": 1}, {"positive_rate": 0.05}),
    ("IMB304", RecallAtQuantileLoss, {"num_classes": 1}, {"positive_rate": 0.05}),
    ("IMB401", PAUCAtBudgetLoss, {"num_classes": 1}, {"positive_rate": 0.05}),
    ("IMB403", PAUCAtBudgetLoss, {"num_classes": 1}, {"positive_rate": 0.005}),
    ("IMB403", RecallAtQuantileLoss, {"num_classes": 1}, {"positive_rate": 0.0005, "world_size": 4}),
    ("IMB406", PAUCAtBudgetLoss, {"num_classes": 1, "temperature": 0.01}, {"positive_rate": 0.05}),
    ("IMB407", PAUCAtBudgetLoss, {"num_classes": 1, "alpha": 0.002, "beta": 0.1}, {"positive_rate": 0.05}),
    (
        "IMB601",
        SmoothAPLoss,
        {"num_classes": 1, "gather_distributed": False},
        {"positive_rate": 0.05, "world_size": 2},
    ),
]
FAULTS += [
    ("IMB101", SigmoidFocalLoss, {}, {"positive_rate": 0.0005}),
    ("IMB101", SoftmaxFocalLoss, {}, {"positive_rate": (0.9, 0.0999, 0.0001), "world_size": 2}),
    ("IMB102", SigmoidFocalLoss, {"gamma": 5.0}, {"positive_rate": 0.05}),
    ("IMB106", SigmoidFocalLoss, {"alpha": 0.1}, {"positive_rate": 0.05}),
    ("IMB204", SmoothAPLoss, {"num_classes": 1, "max_pool_size": 40}, {"positive_rate": 0.05}),
    ("IMB404", PAUCAtBudgetLoss, {"num_classes": 1, "queue_size": 8192}, {"positive_rate": 0.05}),
]
#: Faults whose remedy no setting carries.
PLAIN = [
    ("IMB019", nn.BCEWithLogitsLoss, {"weight": torch.tensor(19.0)}, {"positive_rate": 0.05}),
    ("IMB015", SigmoidFocalLoss, {"alpha": 0.999}, {"positive_rate": 0.05}),
    ("IMB015", nn.BCEWithLogitsLoss, {"pos_weight": torch.tensor([1e4])}, {"positive_rate": 0.05}),
    ("IMB015", nn.CrossEntropyLoss, {"weight": torch.tensor([1.0, 1e4])}, {"positive_rate": 0.05}),
    ("IMB106", nn.BCEWithLogitsLoss, {"pos_weight": torch.tensor(0.005)}, {"positive_rate": 0.005}),
    ("IMB103", SoftmaxFocalLoss, {"alpha": [1, 1, 100]}, {"positive_rate": (0.9, 0.0999, 0.0001)}),
    ("IMB105", SoftmaxFocalLoss, {}, {"positive_rate": 0.3, "target_metric": "average_precision"}),
    ("IMB021", nn.CrossEntropyLoss, {"ignore_index": 0}, {"positive_rate": (0.9, 0.06, 0.04)}),
    ("IMB205", SmoothAPLoss, {"num_classes": 1}, {"positive_rate": 0.4}),
    ("IMB206", SmoothAPLoss, {"num_classes": 1, "queue_size": 200_000}, {"positive_rate": 0.05}),
    ("IMB509", RecallAtQuantileLoss, {"num_classes": 1}, {"positive_rate": 0.05}),
]
OF_THE_RUN = ("batch_size", "positive_rate", "world_size", "total_steps", "epochs")


def changed(settings, run, changes):
    settings, run = dict(settings), dict(run)
    for name, value in changes.items():
        (run if name in OF_THE_RUN else settings)[name] = value
    return settings, run


@pytest.mark.parametrize(("code", "loss", "settings", "run"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_is_foreseen_and_the_prescribed_value_passes(code, loss, settings, run):
    run = {"batch_size": 64, **run}
    sick = [f for f in preflight(loss(**settings), **run).findings if f.code == code]
    assert sick
    for finding in sick:
        change = {finding.prescription["parameter"]: finding.prescription["to"]}
        cured_settings, cured_run = changed(settings, run, change)
        after = preflight(loss(**cured_settings), **cured_run)
        assert not [f for f in after.findings if (f.code, f.class_index) == (code, finding.class_index)]


@pytest.mark.parametrize(("code", "loss", "settings", "run"), PLAIN, ids=[fault[0] for fault in PLAIN])
def test_a_fault_without_a_setting_is_foreseen_too(code, loss, settings, run):
    [finding] = [f for f in preflight(loss(**settings), batch_size=64, **run).findings if f.code == code]
    assert finding.prescription is None
    assert finding.remedy


def wrapped(**schedule):
    main = PAUCAtBudgetLoss(1, queue_size=8192, surrogate="pairwise")
    return LossWarmupWrapper(nn.BCEWithLogitsLoss(), main, temp_end=0.05, **schedule)


#: Faults of a schedule: code, schedule, run.
SCHEDULES = [
    ("IMB502", {"warmup_steps": 20_000}, {"total_steps": 20_000}),
    ("IMB502", {"warmup_steps": 30_000}, {"total_steps": 20_000, "epochs": 7}),
    ("IMB504", {"warmup_steps": 500, "temp_start": 0.2, "temp_decay_steps": 1000}, {"total_steps": 20_000}),
    ("IMB504", {"warmup_epochs": 2, "temp_start": 0.2}, {"total_steps": 50_000, "epochs": 10}),
]


@pytest.mark.parametrize(("code", "schedule", "run"), SCHEDULES, ids=[fault[0] for fault in SCHEDULES])
def test_a_fault_of_the_schedule_is_foreseen_and_the_prescribed_value_passes(code, schedule, run):
    run = {"batch_size": 256, "positive_rate": 0.05, **run}
    [finding] = [f for f in preflight(wrapped(**schedule), **run).findings if f.code == code]
    change = {finding.prescription["parameter"]: finding.prescription["to"]}
    assert code not in codes(preflight(wrapped(**{**schedule, **change}), **run))


def test_a_warmup_in_epochs_as_long_as_the_run_is_an_error_and_of_unknown_length_is_not_examined():
    run = {"batch_size": 256, "positive_rate": 0.05}
    endless = preflight(wrapped(warmup_epochs=10), **run, total_steps=2000, epochs=10)
    assert [(f.code, f.severity) for f in endless.findings if f.code == "IMB502"] == [("IMB502", "error")]
    unknown = preflight(wrapped(warmup_epochs=10), **run)
    [skipped] = [item for item in unknown.skipped if item.code == "IMB502"]
    assert "needs total_steps" in skipped.skipped


@pytest.mark.parametrize(("code", "loss", "settings", "run"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_all_settings_together_pass(code, loss, settings, run):
    run = {"batch_size": 64, **run}
    cured_settings, cured_run = changed(settings, run, preflight(loss(**settings), **run).settings)
    after = preflight(loss(**cured_settings), **cured_run)
    assert not [finding for finding in after.findings if finding.prescription]
    assert after.settings == {}


@pytest.mark.parametrize(
    ("code", "loss", "settings", "run"),
    [*FAULTS, ("", RecallAtQuantileLoss, {"num_classes": 1, "quantile": 0.001}, {"positive_rate": 0.0005})],
)
def test_a_finding_prescribes_each_setting_and_its_rule_is_not_healthy(code, loss, settings, run):
    diagnosis = preflight(loss(**settings), **{"batch_size": 64, **run})
    prescribed = [
        (f.prescription["parameter"], f.prescription["to"]) for f in diagnosis.findings if f.prescription
    ]
    assert set(diagnosis.settings.items()) <= set(prescribed)
    assert not {f.code for f in diagnosis.findings} & {item.code for item in diagnosis.healthy}


def test_a_cap_goes_before_a_queue_that_it_would_waste():
    loss_fn = SmoothAPLoss(1, max_pool_size=32)
    run = {"batch_size": 64, "positive_rate": 0.005}
    first, then = [f for f in preflight(loss_fn, **run).findings if f.code == "IMB003"]
    assert first.prescription == {"parameter": "max_pool_size", "from": 32, "to": None}
    assert then.prescription["parameter"] == "queue_size"
    assert then.symptom.startswith("With max_pool_size=None")
    settings = preflight(loss_fn, **run).settings
    assert settings.keys() == {"max_pool_size", "queue_size"}
    assert codes(preflight(SmoothAPLoss(1, **settings), **run)) == []


@pytest.mark.parametrize(
    ("loss_fn", "rate"),
    [
        (SmoothAPLoss(1, queue_size=4096), 0.01),
        (SmoothAPLoss(1, queue_size=4096, temperature=0.01), 0.01),  # in logits: usual there
        (PAUCAtBudgetLoss(1, beta=0.02, queue_size=4096, surrogate="pairwise"), 0.01),
        (
            LossWarmupWrapper(
                nn.BCEWithLogitsLoss(),
                RecallAtQuantileLoss(1, quantile=0.02, queue_size=4096),
                warmup_steps=500,
                temp_decay_steps=6000,
                final_main_weight=0.5,
            ),
            0.01,
        ),
        (SigmoidFocalLoss(), 0.05),
        (SoftmaxFocalLoss(), 0.05),
        (nn.BCEWithLogitsLoss(), 0.05),
        (nn.CrossEntropyLoss(), (0.5, 0.3, 0.2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_sound_configuration_has_no_findings_and_shows_its_numbers(loss_fn, rate):
    diagnosis = preflight(loss_fn, batch_size=256, positive_rate=rate, total_steps=10_000)
    assert codes(diagnosis) == []
    assert {item.name for item in diagnosis.expected} >= {"positives in a batch", "positive rate"}
    shown = diagnosis.to_dict()
    assert shown["settings"] == {}
    assert len(shown["expected"]) == len(diagnosis.expected)


def test_the_same_rules_find_the_same_in_the_run_that_follows():
    loss_fn = PAUCAtBudgetLoss(num_classes=1, queue_size=64)
    before = preflight(loss_fn, batch_size=64, positive_rate=0.05, total_steps=300)
    with Doctor(None, on_finding="log", total_steps=300) as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=300)
    foreseeable = {rule.code for rule in rule_types() if rule.foreseeable}
    during = {f.code for f in doctor.findings if f.code in foreseeable and f.status == "open"}
    assert {f.code for f in before.findings if not f.symptom.startswith("With ")} == during


# --- who counts what --------------------------------------------------------------------------------------


def number(diagnosis, name, index=None):
    return next(x.value for x in diagnosis.expected if (x.name, x.class_index) == (name, index))


def test_gathering_ranks_share_batch_and_queue():
    run = {"batch_size": 64, "positive_rate": 0.05}
    alone = preflight(SmoothAPLoss(1), **run)
    gathered = preflight(SmoothAPLoss(1), **run, world_size=4)
    local = preflight(SmoothAPLoss(1, gather_distributed=False), **run, world_size=4)
    assert number(alone, "rows in the pool") == number(local, "rows in the pool") == 64 + 1024
    assert number(gathered, "rows in the pool") == 4 * 64 + 1024
    assert number(gathered, "positives in a batch", 0) == pytest.approx(4 * 64 * 0.05)


def test_the_chance_of_none_is_binomial():
    diagnosis = preflight(SmoothAPLoss(1), batch_size=64, positive_rate=0.01)
    assert number(diagnosis, "chance of a batch without one", 0) == pytest.approx(0.99**64)
    assert number(diagnosis, "chance of a pool without one", 0) == pytest.approx(0.99**1088)


def test_a_wrapper_is_judged_in_both_phases_and_by_its_schedule():
    wrapper = LossWarmupWrapper(
        SigmoidFocalLoss(), PAUCAtBudgetLoss(1, queue_size=8192), warmup_epochs=2, temp_end=0.01
    )
    diagnosis = preflight(wrapper, batch_size=256, positive_rate=0.05, total_steps=1000, epochs=10)
    assert {item.loss for item in diagnosis.expected} == {"main_loss", "warmup_loss"}
    [finding] = [f for f in diagnosis.findings if f.code == "IMB406"]
    assert finding.prescription == {"parameter": "temp_end", "from": 0.01, "to": 0.1}
    assert finding.remedy == "Set temp_end=0.1."


def test_a_loss_that_pushes_positives_only_is_told_of_unless_another_keeps_weight():
    run = {"batch_size": 256, "positive_rate": 0.01}
    alone = RecallAtQuantileLoss(1, quantile=0.02, queue_size=4096)
    assert codes(preflight(alone, **run)) == ["IMB509"]
    for weight, expected in ((1.0, ["IMB509"]), (0.5, [])):
        wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), alone, final_main_weight=weight)
        assert codes(preflight(wrapper, **run)) == expected


def test_a_cap_does_not_raise_the_positive_rate():
    loss_fn = RecallAtQuantileLoss(1, quantile=0.02, queue_size=4096, max_pool_size=100)
    assert "IMB301" not in codes(preflight(loss_fn, batch_size=256, positive_rate=0.01))


def test_what_only_a_run_can_show_is_skipped_and_not_healthy():
    diagnosis = preflight(SmoothAPLoss(1), batch_size=64, positive_rate=0.05)
    assert "IMB001" in {item.code for item in diagnosis.skipped}
    assert "IMB001" not in {item.code for item in diagnosis.healthy}


def test_thresholds_are_those_of_the_rules():
    run = {"batch_size": 64, "positive_rate": 0.006}
    assert "IMB003" in codes(preflight(SmoothAPLoss(1), **run))
    assert "IMB003" not in codes(preflight(SmoothAPLoss(1), **run, rules=[FewPositivesInPool(few=5)]))
    assert "IMB003" not in codes(preflight(SmoothAPLoss(1), **run, ignore="IMB0"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "expected batch_size to be a whole number, at least 1, got 0"),
        ({"total_steps": 1.5}, "expected total_steps to be a whole number"),
        ({"positive_rate": 0.0}, "expected positive_rate to be between 0 and 1"),
        ({"positive_rate": [0.5, 0.5]}, "one positive rate for each class of num_classes=1, got 2"),
        ({"loss_fn": SoftmaxFocalLoss(), "positive_rate": [0.5, 0.9]}, "exclude each other"),
        ({"loss_fn": nn.MSELoss()}, "expected a loss that a preflight knows, got MSELoss"),
        ({"class_names": "fraud"}, "expected class_names to be a list of names"),
        ({"target_metric": "sharpness"}, "expected target_metric to be one of .*, got 'sharpness'"),
        ({"select": "IMB999"}, "expected a code .* of rules, got 'IMB999'"),
    ],
)
def test_bad_input_is_one_clear_error(arguments, message):
    given = {"loss_fn": SmoothAPLoss(1), "batch_size": 64, "positive_rate": 0.05, **arguments}
    with pytest.raises(ValueError, match=message):
        preflight(given.pop("loss_fn"), **given)


def test_a_function_is_no_loss():
    with pytest.raises(TypeError, match="expected loss_fn to be a loss module, got function"):
        preflight(lambda x, y: x, batch_size=64, positive_rate=0.05)


def test_a_hundred_classes_take_no_time_to_read():
    diagnosis = preflight(SmoothAPLoss(100), batch_size=64, positive_rate=[0.001] * 100)
    assert len(diagnosis.findings) == 100
    assert len(str(diagnosis).splitlines()) < 60


def test_diagnose_of_a_run_has_no_expected_numbers(tmp_path):
    loss_fn = SmoothAPLoss(1)
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=20)
    assert "expected" not in diagnose(tmp_path).to_dict()


@pytest.mark.parametrize("rate", [0.01, 1e-4, 1e-6, 1e-9])
def test_a_prescribed_alpha_leaves_negatives_a_weight(rate):
    diagnosis = preflight(SigmoidFocalLoss(), batch_size=4096, positive_rate=rate, total_steps=10**9)
    assert 0.5 < diagnosis.settings["alpha"] < 1
    [told] = [finding.remedy for finding in diagnosis.open if finding.code == "IMB106"]
    assert "alpha to about 1." not in told
