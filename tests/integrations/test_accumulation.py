"""Accumulated batches against one batch of their size; and who is told where the two differ."""

import copy

import pytest
import torch
from torch import nn

from imbalance_doctor import ImbalanceWarning
from imbalance_doctor.integrations.accumulation import COMPARED, DivisorCheck, divisor, is_sum, weighed
from losses import LossWarmupWrapper, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss

WEIGHT = torch.tensor([1.0, 30.0, 5.0])
ROWS, PART = 32, 4


def wrapped(warmup, main=None, **options):
    main = main or SmoothAPLoss(3, queue_size=0)
    return LossWarmupWrapper(warmup, main, temp_start=0.05, temp_end=0.05, **{"warmup_steps": 9} | options)


class Weighted(nn.Module):
    """A loss of a user's own that says what it divides by."""

    def forward(self, logits, labels):
        return nn.functional.cross_entropy(logits, labels, weight=WEIGHT.to(logits))

    def divisor(self, labels):
        return WEIGHT[labels[labels != -100]].sum()


class OwnSum(nn.Module):
    reduction = "sum"

    def forward(self, logits, labels):
        return nn.functional.cross_entropy(logits, labels, reduction="sum")


def ids(ignored=-100):
    """Rare positives, and a first batch without any label."""
    labels = (torch.arange(ROWS) % 16 == 5).long() + 2 * (torch.arange(ROWS) % 11 == 3).long()
    labels[:PART], labels[20] = ignored, ignored
    return labels


def floats():
    return (torch.arange(3 * ROWS).view(ROWS, 3) % 7 == 0).double()


BY_ID = {
    "cross-entropy": nn.CrossEntropyLoss(),
    "class weights": nn.CrossEntropyLoss(weight=WEIGHT.double()),
    "smoothing": nn.CrossEntropyLoss(label_smoothing=0.1, weight=WEIGHT.double()),
    "sum": nn.CrossEntropyLoss(reduction="sum", weight=WEIGHT.double()),
    "focal": SoftmaxFocalLoss(),
    "focal, alpha": SoftmaxFocalLoss(alpha=WEIGHT),
    "focal, sum": SoftmaxFocalLoss(reduction="sum"),
    "focal, mean_positive": SoftmaxFocalLoss(reduction="mean_positive"),
    "focal, other background": SoftmaxFocalLoss(reduction="mean_positive", background_class=2),
    "wrapper": wrapped(nn.CrossEntropyLoss(weight=WEIGHT.double())),
    "wrapper, BCE of ids": wrapped(nn.BCEWithLogitsLoss()),
    "wrapper, main": wrapped(nn.CrossEntropyLoss(), SoftmaxFocalLoss(alpha=WEIGHT), warmup_steps=0),
    "own": Weighted(),
    "own sum": OwnSum(),
}
CASES = {
    **{name: (loss, ids()) for name, loss in BY_ID.items()},
    "ignore_index": (nn.CrossEntropyLoss(ignore_index=255, weight=WEIGHT.double()), ids(255)),
    "probabilities": (nn.CrossEntropyLoss(weight=WEIGHT.double()), floats()),
    "margin": (nn.MultiMarginLoss(weight=WEIGHT.double()), ids(0)),
    "BCE": (nn.BCEWithLogitsLoss(), floats()),
    "pos_weight": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), floats()),
    "sigmoid focal": (SigmoidFocalLoss(), floats()),
    "sigmoid focal, sum": (SigmoidFocalLoss(reduction="sum"), floats()),
}


@pytest.mark.parametrize("name", CASES)
def test_weighed_parts_add_up_to_the_whole_batch(name):
    loss_fn, labels = CASES[name]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    whole = loss_fn(logits, labels)
    wanted = torch.autograd.grad(whole, logits)[0]
    own = logits.detach().requires_grad_()
    parts = list(zip(own.split(PART), labels.split(PART), strict=True))
    total = torch.stack([divisor(loss_fn, part) for _, part in parts]).sum()
    added = torch.zeros((), dtype=torch.float64)
    for part, labelled in parts:
        value = loss_fn(part, labelled)
        added = added + (value if is_sum(loss_fn) else weighed(value, divisor(loss_fn, labelled), total))
    torch.testing.assert_close(added, whole.double(), rtol=1e-6, atol=0)
    added.backward()
    torch.testing.assert_close(own.grad, wanted, rtol=1e-6, atol=1e-12)


# --- a framework that takes the mean of means ---------------------------------------------------------


def judged(loss, batches=8, size=PART, share=0.1, ignored=0.0):
    """What is said of a loss that is called with so many rows of which so many are positive."""
    generator = torch.Generator().manual_seed(0)
    check = DivisorCheck([(None, loss)], "accumulate_grad_batches", batches)
    for _ in range(COMPARED):
        labels = (torch.rand(size, generator=generator) < share).long()
        labels[torch.rand(size, generator=generator) < ignored] = -100
        loss(torch.randn(size, 3, requires_grad=True), labels)
    assert not loss._forward_pre_hooks or batches == 1 or is_sum(loss)
    check.remove()


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (nn.CrossEntropyLoss(weight=WEIGHT), {}),
        (nn.CrossEntropyLoss(), {"ignored": 0.6}),
        (SoftmaxFocalLoss(reduction="mean_positive"), {"size": 32}),
        (wrapped(nn.CrossEntropyLoss(weight=WEIGHT)), {}),
    ],
    ids=["class weights", "ignored rows", "positives", "wrapper"],
)
def test_divisors_that_differ_are_told_of_once(loss, options):
    with pytest.warns(
        ImbalanceWarning, match=r"=8 takes the mean of the batches' means, but the divisor"
    ) as told:
        judged(loss, **options)
    assert len([each for each in told if "the divisor of" in str(each.message)]) == 1


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (nn.CrossEntropyLoss(), {}),
        (nn.CrossEntropyLoss(), {"ignored": 0.1, "size": 32}),
        (nn.CrossEntropyLoss(weight=WEIGHT), {"size": 512}),
        (nn.CrossEntropyLoss(weight=WEIGHT), {"batches": 1}),
        (nn.CrossEntropyLoss(weight=WEIGHT, reduction="sum"), {}),
        (SoftmaxFocalLoss(alpha=WEIGHT), {}),
        (SoftmaxFocalLoss(reduction="mean_positive"), {"size": 512}),
        (SmoothAPLoss(3), {}),
    ],
    ids=[
        "equal",
        "few ignored",
        "large batches",
        "no accumulation",
        "sum",
        "alpha",
        "many positives",
        "ranks",
    ],
)
def test_divisors_that_hardly_differ_are_not_told_of(recwarn, loss, options):
    judged(loss, **options)
    assert not [each for each in recwarn if "the divisor of" in str(each.message)]


def test_evaluation_says_nothing_of_divisors_and_a_copy_is_not_listened_to():
    loss = nn.CrossEntropyLoss(weight=WEIGHT)
    check = DivisorCheck([(None, loss)], "accumulate_grad_batches", 2)
    copied = copy.deepcopy(loss)
    with torch.no_grad():
        loss(torch.zeros(2, 3), torch.tensor([0, 1]))
    copied(torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 1]))
    assert check._seen == {}
    check.remove()
    assert not loss._forward_pre_hooks
