"""What is read from losses that know nothing of us: which argument is which, its scale, and what counts."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imbalance_doctor import Doctor
from imbalance_doctor.live.listening.watcher import LossMean

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(60, 3, generator=GENERATOR)
LABELS = (torch.rand(60, 3, generator=GENERATOR) < 0.4).float()
IDS = torch.arange(60) % 3


def recorded(loss_fn, *args, **kwargs):
    """The first record of a loss that is called like this."""
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        out = loss_fn(*args, **kwargs)
        if isinstance(out, torch.Tensor) and out.requires_grad:
            out.mean().backward()
        doctor.step()
    (record,) = doctor.run.steps()
    return record.stats


def leaf(values):
    return values.clone().requires_grad_()


def same(stats, expected):
    assert stats.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(stats[name], value, rtol=2e-4, atol=2e-5, err_msg=name)


# --- scales -------------------------------------------------------------------------------------------

OF_COLUMNS = {
    "probabilities": (nn.BCELoss(), LOGITS.sigmoid(), LABELS),
    "labels of 1 and -1": (nn.SoftMarginLoss(), LOGITS, 2 * LABELS - 1),
    "the mean over classes": (nn.MultiLabelSoftMarginLoss(), LOGITS, LABELS),
}


@pytest.mark.parametrize(("loss_fn", "scores", "targets"), OF_COLUMNS.values(), ids=OF_COLUMNS)
def test_losses_that_are_bce_are_recorded_as_bce(loss_fn, scores, targets):
    same(recorded(loss_fn, leaf(scores), targets), recorded(nn.BCEWithLogitsLoss(), leaf(LOGITS), LABELS))
    with Doctor(None) as doctor:
        doctor.watch(loss_fn)
        assert next(iter(doctor._watchers)).info.kind == "bce"


def test_log_probabilities_are_recorded_as_logits():
    same(
        recorded(nn.NLLLoss(), leaf(LOGITS.log_softmax(1)), IDS),
        recorded(nn.CrossEntropyLoss(), leaf(LOGITS), IDS),
    )


def test_probabilities_of_0_and_1_have_the_logits_that_bce_loss_gives_them():
    stats = recorded(nn.BCELoss(), leaf(torch.tensor([0.0, 1.0, 0.5, 0.5])), torch.tensor([1.0, 0, 0, 1]))
    assert stats["nonfinite_count"] == 0
    assert (stats["score_min"], stats["score_max"]) == (-100, 100)
    assert stats["pos_loss_share"] == pytest.approx(0.5)
    assert float(stats["loss"]) == pytest.approx((100 + 100 + 2 * math.log(2)) / 4)


def test_a_class_of_probability_0_is_a_finite_score():
    stats = recorded(nn.NLLLoss(), torch.tensor([[0.5, 0.5, 0.0]] * 6).log(), torch.arange(6) % 2)
    assert stats["nonfinite_count"] == 0


def test_a_loss_derived_from_bce_loss_may_take_logits():
    class Own(nn.BCELoss):
        def forward(self, input, target):
            return super().forward(input.sigmoid(), target)

    stats, expected = recorded(Own(), leaf(LOGITS), LABELS), recorded(nn.BCEWithLogitsLoss(), LOGITS, LABELS)
    np.testing.assert_allclose(stats["score_max"], expected["score_max"], rtol=1e-5)


# --- which argument is which ---------------------------------------------------------------------------


def _bce(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets.float())


class _TargetsFirst(nn.Module):
    def forward(self, y_true, y_pred):
        return _bce(y_pred, y_true)


class _Unnamed(nn.Module):
    def forward(self, a, b):
        return _bce(b, a)


class _Starred(nn.Module):
    def forward(self, *both):
        return _bce(both[1], both[0])


class _CamelCase(nn.Module):
    def forward(self, classLabels, modelOutput):
        return _bce(modelOutput, classLabels)


class _PredictedLabels(nn.Module):
    def forward(self, true_labels, predicted_labels):
        return _bce(predicted_labels, true_labels)


class _WeightsBetween(nn.Module):
    def forward(self, logits, sample_weights, targets, target_mask=None):
        return _bce(logits, targets)


class _Dictionary(nn.Module):
    def forward(self, targets, logits):
        return {"rows": torch.tensor(60.0), "loss": _bce(logits, targets)}


class _Pair(nn.Module):
    def forward(self, targets, logits):
        return _bce(logits, targets), logits


MASK = torch.ones(60, 3, dtype=torch.bool)
CALLS = {
    "by name": lambda: (_TargetsFirst(), (LABELS, LOGITS), {}),
    "by keyword": lambda: (_TargetsFirst(), (), {"y_pred": LOGITS, "y_true": LABELS}),
    "by camel case": lambda: (_CamelCase(), (LABELS, LOGITS), {}),
    "labels that are predicted": lambda: (_PredictedLabels(), (LABELS, LOGITS), {}),
    "by gradient": lambda: (_Unnamed(), (LABELS, leaf(LOGITS)), {}),
    "by gradient, starred": lambda: (_Starred(), (LABELS, leaf(LOGITS)), {}),
    "by integers": lambda: (_Unnamed(), (LABELS.long(), LOGITS), {}),
    "weights between": lambda: (_WeightsBetween(), (LOGITS, torch.rand(60, 3), LABELS), {}),
    "a mask named": lambda: (_WeightsBetween(), (LOGITS, LABELS), {"targets": LABELS, "target_mask": MASK}),
    "in a dictionary": lambda: (_Dictionary(), (LABELS, LOGITS), {}),
    "in a pair": lambda: (_Pair(), (LABELS, LOGITS), {}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_logits_and_targets_are_told_apart(call):
    loss_fn, args, kwargs = call()
    expected = recorded(nn.BCEWithLogitsLoss(), leaf(LOGITS), LABELS)
    stats = recorded(loss_fn, *args, **kwargs)
    for name in ("loss", "live_pos_count", "live_neg_count", "mean_p_true_pos", "score_max", "pool_auroc"):
        np.testing.assert_allclose(stats[name], expected[name], rtol=1e-5, err_msg=name)


def test_the_gradient_is_that_of_the_logits_wherever_they_stand():
    stats = recorded(_TargetsFirst(), LABELS, leaf(LOGITS))
    expected = recorded(nn.BCEWithLogitsLoss(), leaf(LOGITS), LABELS)
    np.testing.assert_allclose(stats["pos_grad_norm"], expected["pos_grad_norm"], rtol=1e-5)


# --- losses that are not of classes --------------------------------------------------------------------


class _Squared(nn.Module):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, prediction, target):
        return F.mse_loss(prediction, target, reduction=self.reduction)


NOISE = torch.randn(60, 3, generator=GENERATOR)
NOT_OF_CLASSES = {
    "mse": (nn.MSELoss(), (LABELS,)),
    "l1": (nn.L1Loss(), (NOISE,)),
    "huber": (nn.HuberLoss(), (NOISE,)),
    "hinge of distances": (nn.HingeEmbeddingLoss(), (2 * LABELS - 1,)),
    "triplets": (nn.TripletMarginLoss(), (NOISE, -NOISE)),
    "cosine": (nn.CosineEmbeddingLoss(), (NOISE, torch.ones(60))),
    "divergence": (nn.KLDivLoss(reduction="batchmean"), (NOISE.softmax(1),)),
    "gaussian": (nn.GaussianNLLLoss(), (NOISE, torch.ones(60, 3))),
    "lists of labels": (nn.MultiLabelMarginLoss(), (torch.zeros(60, 3, dtype=torch.long),)),
    "own regression": (_Squared(), (NOISE,)),
    "own regression, unreduced": (_Squared("none"), (NOISE,)),
    "own ratings": (_Squared(), (torch.randint(1, 6, (60, 3), generator=GENERATOR).float(),)),
}


@pytest.mark.parametrize(("loss_fn", "others"), NOT_OF_CLASSES.values(), ids=NOT_OF_CLASSES)
def test_of_a_loss_that_is_not_of_classes_the_loss_alone_is_recorded(loss_fn, others):
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        for _ in range(3):
            loss = loss_fn(leaf(LOGITS), *others)
            loss.mean().backward()
            doctor.step()
    for record in doctor.run.steps():
        assert record.stats.keys() == {"loss", "interval_loss"}
        assert float(record.stats["loss"]) == pytest.approx(loss.mean().item(), rel=1e-6)
    (note,) = doctor.diagnosis.notes
    assert "is not a classification loss" in note
    assert "only its loss is recorded" in note
    assert {item.code for item in doctor.diagnosis.healthy} <= {"IMB001", "IMB703"}


@pytest.mark.parametrize("mark", [255.0, -1.0, 2.0, math.nan])
def test_marks_of_entries_that_do_not_count_make_no_regression(mark):
    class Masked(nn.Module):
        def forward(self, logits, targets):
            counts = (targets == 0) | (targets == 1)
            return _bce(logits[counts], targets[counts])

    targets = LABELS.clone()
    targets[:20] = mark
    stats = recorded(Masked(), leaf(LOGITS), targets)
    assert stats["live_pos_count"].tolist() == LABELS[20:].sum(0).tolist()
    assert stats["live_neg_count"].tolist() == (1 - LABELS[20:]).sum(0).tolist()


# --- what counts ----------------------------------------------------------------------------------------


class _VoidBCE(nn.BCEWithLogitsLoss):
    def forward(self, input, target):
        counts = target != 255
        return F.binary_cross_entropy_with_logits(input[counts], target[counts].float())


def test_void_pixels_count_nowhere():
    logits = torch.randn(2, 1, 8, 8, generator=GENERATOR)
    targets = (torch.rand(2, 1, 8, 8, generator=GENERATOR) < 0.3).long()
    targets[:, :, :3] = 255
    stats = recorded(_VoidBCE(), leaf(logits), targets)
    expected = recorded(nn.BCEWithLogitsLoss(), leaf(logits[:, :, 3:]), targets[:, :, 3:].float())
    same(stats, {name: value for name, value in expected.items() if name in stats})
    assert "pos_grad_norm" in stats


@pytest.mark.parametrize("mark", [255.0, -1.0, math.nan])
def test_labels_that_the_loop_masks_are_not_in_the_loss(mark):
    """The unreduced loss of a label 255 is -255 times the logit, and the loop multiplies it by 0."""
    targets = LABELS.clone()
    targets[:20] = mark
    stats = recorded(nn.BCEWithLogitsLoss(reduction="none"), LOGITS, targets)
    expected = recorded(nn.BCEWithLogitsLoss(reduction="none"), LOGITS[20:], LABELS[20:])
    same(stats, expected)


@pytest.mark.parametrize("shape", [(60,), (60, 3)], ids=["a row each", "an entry each"])
def test_an_unreduced_loss_is_the_mean_of_what_counts(shape):
    class Rows(nn.Module):
        def forward(self, logits, targets):
            each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            return each if shape == (60, 3) else each.mean(1)

    targets = LABELS.clone()
    targets[:20] = math.nan
    assert recorded(Rows(), LOGITS, targets)["loss"] == pytest.approx(
        _bce(LOGITS[20:], LABELS[20:]).item(), rel=1e-5
    )


EMPTY = {
    "cross-entropy": (nn.CrossEntropyLoss(), LOGITS, torch.full((60,), -100)),
    "log-probabilities": (nn.NLLLoss(), LOGITS.log_softmax(1), torch.full((60,), -100)),
    "void": (_VoidBCE(), LOGITS, torch.full((60, 3), 255)),
    "no rows": (nn.BCEWithLogitsLoss(), LOGITS[:0], LABELS[:0]),
    "unreduced": (nn.BCEWithLogitsLoss(reduction="none"), LOGITS, torch.full((60, 3), math.nan)),
}


@pytest.mark.parametrize(("loss_fn", "logits", "targets"), EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("alone", [True, False])
def test_a_batch_of_which_no_target_counts_has_no_loss_and_is_no_finding(loss_fn, logits, targets, alone):
    good = (LOGITS, IDS if targets.dim() == 1 else LABELS)
    with Doctor(None, on_finding="raise", every=1) as doctor:
        doctor.watch(loss_fn)
        for step in range(8):
            if step == 4:
                assert torch.isnan(loss_fn(leaf(logits), targets).mean())
            if step != 4 or not alone:
                expected = loss_fn(leaf(good[0]), good[1]).mean().item()
            doctor.step()
    records = doctor.run.steps()
    assert len(records) == 8
    assert "loss" not in records[4].stats
    assert ("interval_loss" in records[4].stats) != alone
    for record in records:
        losses = [record.stats[name] for name in ("loss", "interval_loss") if name in record.stats]
        assert losses == [pytest.approx(expected, rel=1e-5)] * len(losses)
    assert not doctor.findings


def test_labels_of_nan_that_reach_the_gradient_are_a_finding():
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        logits = leaf(LOGITS)
        loss_fn(logits, torch.full((60, 3), math.nan)).backward()
        assert logits.grad.isnan().all()
        doctor.step()
    assert [finding.code for finding in doctor.findings] == ["IMB001"]


def test_a_mean_of_losses_leaves_out_those_of_empty_batches():
    mean = LossMean()
    for loss, empty in ((2.0, None), (math.nan, torch.tensor(True)), (4.0, torch.tensor(False))):
        mean.add(torch.tensor(loss), empty)
    assert mean.value() == 3.0
