"""Probabilities given to an evaluation have the metrics of their logits; logits are taken as they are."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from imbalance_doctor import Doctor, ImbalanceWarning
from imbalance_doctor.scores.metrics import METRICS, evaluate
from losses import SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss

ROWS = 400


def watched(loss_fn, logits, targets, steps=25):
    """A doctor that has seen a loss in training, called with these logits."""
    doctor = Doctor(None, on_finding="log")
    doctor.watch(loss_fn)
    for _ in range(steps):
        loss_fn(logits.clone().requires_grad_(), targets)
        doctor.step()
    return doctor


def said(doctor, scores, targets, times=1):
    """What is recorded of an evaluation, and how many warnings came with it."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(times):
            doctor.log_eval(scores, targets)
    assert all(each.category is ImbalanceWarning for each in heard)
    return doctor.run.evaluations[-1].metrics, [str(each.message) for each in heard]


def problem(sort, seed=0):
    """A loss, logits, targets and the probabilities of a task; most logits are low, as of rare classes."""
    generator = torch.Generator().manual_seed(seed)
    columns = {"binary": 1, "multi-label": 3}.get(sort, 3)
    logits = 2.0 * torch.randn(ROWS, columns, generator=generator) - 3.0
    if sort in ("binary", "multi-label"):
        targets = (torch.rand(ROWS, columns, generator=generator) < logits.sigmoid()).float()
        return nn.BCEWithLogitsLoss(), logits, targets, logits.sigmoid()
    targets = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
    return nn.CrossEntropyLoss(), logits, targets, logits.softmax(1)


def assert_same(found, expected, rtol=2e-3):
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("sort", ["binary", "multi-label", "classes"])
@pytest.mark.parametrize("form", ["tensor", "float64", "in batches", "a sequence", "padded rows"])
def test_probabilities_have_the_metrics_of_their_logits_after_one_warning(sort, form):
    loss_fn, logits, targets, probability = problem(sort)
    doctor = watched(loss_fn, logits, targets)
    expected = evaluate(logits, targets)
    if form == "float64":
        probability = logits.double().sigmoid() if sort != "classes" else logits.double().softmax(1)
    elif form == "a sequence" and sort == "classes":
        probability, targets = probability.view(40, 10, 3).movedim(-1, 1), targets.view(40, 10)
    elif form == "padded rows":  # padded rows hold anything
        probability = torch.cat([probability, torch.full_like(probability[:5], -100.0)])
        targets = torch.cat([targets, torch.full_like(targets[:5], -100)])
    with pytest.warns(ImbalanceWarning, match="evaluated as probabilities: .* logits in training could not"):
        if form == "in batches":
            with doctor.evaluation() as validation:
                for part in range(0, ROWS, 64):
                    validation.update(probability[part : part + 64], targets[part : part + 64])
        else:
            doctor.log_eval(probability, targets)
    found, again = said(doctor, probability, targets, times=3)
    assert again == []
    assert len([note for note in doctor.diagnosis.notes if "probabilities" in note]) == 1
    assert_same(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_in_half_precision_are_told_as_well(dtype):
    for sort in ("binary", "classes"):
        loss_fn, logits, targets, probability = problem(sort)
        found, heard = said(watched(loss_fn, logits, targets), probability.to(dtype), targets)
        assert len(heard) == 1
        expected = evaluate(logits, targets)
        for name in ("auroc", "mean_probability", "recall_at_default"):
            np.testing.assert_allclose(found[name], expected[name], rtol=0.03, err_msg=name)


@pytest.mark.parametrize(
    ("loss_fn", "sort"),
    [(SigmoidFocalLoss(), "binary"), (SmoothAPLoss(1), "binary"), (SoftmaxFocalLoss(), "classes")],
)
def test_the_losses_of_this_package_tell_probabilities_as_well(loss_fn, sort):
    _, logits, targets, probability = problem(sort)
    labels = targets.long() if isinstance(loss_fn, SmoothAPLoss) else targets
    found, heard = said(watched(loss_fn, logits, labels), probability, targets)
    assert len(heard) == 1
    assert_same(found, evaluate(logits, targets))


def test_the_probability_of_the_second_of_two_classes_is_that_of_a_binary_task():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, 2, generator=generator) + torch.tensor([3.0, 0.0])
    targets = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
    found, heard = said(watched(nn.CrossEntropyLoss(), logits, targets), logits.softmax(1)[:, 1], targets)
    assert len(heard) == 1
    for name, value in evaluate(logits, targets).items():
        np.testing.assert_allclose(found[name][0], value[1], rtol=2e-3, err_msg=name)


def test_probabilities_of_0_and_1_rank_last_and_first():
    logits = torch.linspace(-9, 3, ROWS)
    targets = (torch.arange(ROWS) % 7 == 0).float()
    probability = torch.where(logits < -6, 0.0, torch.where(logits > 2, 1.0, logits.sigmoid()))
    found, heard = said(watched(nn.BCEWithLogitsLoss(), logits, targets), probability, targets)
    assert len(heard) == 1
    expected = evaluate(torch.where(logits < -6, -20.0, torch.where(logits > 2, 20.0, logits)), targets)
    assert_same(found, expected)


def test_a_watched_loss_of_probabilities_is_given_them():
    _, logits, targets, probability = problem("binary")
    found, heard = said(watched(nn.BCELoss(), probability, targets), probability, targets)
    assert heard == []
    assert_same(found, evaluate(logits, targets))


# --- logits that look like probabilities --------------------------------------------------------------


def ordinary(sort):
    """What a loss saw in training, and an evaluation of the same model whose scores lie between 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(ROWS, 1, generator=generator)
    return {
        "a sigmoid before the loss": (normal.sigmoid(), normal.sigmoid()),
        "a ReLU as the last layer": (normal.clamp_min(0), normal.clamp(0, 1)),
        "a bias of a half, untrained": (0.5 + 0.1 * normal, (0.5 + 0.1 * normal).clamp(0, 1)),
        "three rows": (normal - 1.0, torch.tensor([[0.2], [0.6], [0.9]])),
        "a row in twenty below 0": (normal + 1.6, (normal + 1.6).clamp(0, 1)),
        "logits": (normal, normal),
    }[sort]


@pytest.mark.parametrize(
    "sort",
    ["a sigmoid before the loss", "a ReLU as the last layer", "a bias of a half, untrained", "three rows",
     "a row in twenty below 0", "logits"],
)  # fmt: skip
def test_logits_are_taken_as_they_are(sort):
    trained, scores = ordinary(sort)
    targets = (torch.arange(ROWS) % 7 == 0).float()[:, None]
    doctor = watched(nn.BCEWithLogitsLoss(), trained, targets)
    found, heard = said(doctor, scores, targets[: len(scores)])
    assert heard == []
    assert_same(found, evaluate(scores, targets[: len(scores)]), rtol=0)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_a_softmax_before_cross_entropy_is_not_mangled(scale):
    _, logits, targets, _ = problem("classes")
    scores = (scale * logits).softmax(1)
    found, heard = said(watched(nn.CrossEntropyLoss(), scores, targets), scores, targets)
    assert heard == []
    assert_same(found, evaluate(scores, targets), rtol=0)


def test_without_a_record_of_as_many_columns_scores_are_logits():
    _, logits, targets, probability = problem("binary")
    for doctor in (
        Doctor(None),
        watched(nn.BCEWithLogitsLoss(), logits.expand(-1, 2), targets.expand(-1, 2)),
    ):
        doctor.step()
        found, heard = said(doctor, probability, targets)
        assert heard == []
        assert_same(found, evaluate(probability, targets), rtol=0)


def test_scores_that_are_all_nan_are_no_probabilities():
    loss_fn, logits, targets, _ = problem("binary")
    found, heard = said(
        watched(loss_fn, logits, targets), torch.full_like(logits, torch.nan), targets, times=3
    )
    assert ["400 scores are not finite" in each for each in heard] == [True]
    assert found["rows"] == 0


# --- what does not count ------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "warned"), [(255.0, 1), (-1.0, 1), (torch.nan, 0), (-100.0, 0)])
def test_labels_that_do_not_count_are_told_once_and_nan_ones_only_noted(value, warned):
    loss_fn, logits, targets, _ = problem("multi-label")
    doctor = watched(loss_fn, logits, targets)
    targets[:7, 1] = value
    found, heard = said(doctor, logits, targets, times=3)
    assert len(heard) == warned
    noted = [note for note in doctor.diagnosis.notes if "do not count" in note]
    assert len(noted) == (value != -100)
    assert found["rows"].tolist() == [ROWS, ROWS - 7, ROWS]


def test_ids_beyond_the_classes_are_told_once():
    loss_fn, logits, targets, _ = problem("classes")
    doctor = watched(loss_fn, logits, targets)
    targets[:7] = 255
    found, heard = said(doctor, logits, targets, times=3)
    assert ["7 of 400 targets are outside 0 to 2 (255); they do not count" in each for each in heard] == [
        True
    ]
    assert found["rows"].tolist() == [ROWS - 7] * 3
