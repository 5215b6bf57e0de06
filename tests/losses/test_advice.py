"""Whoever does what an error says gets a loss that trains."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from losses import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)
from losses.weights import balanced_class_weights, effective_number_weights

IDS = torch.tensor([0, 0, 1, 0, 2, 0, 1, 0])
BINARY = torch.tensor([0, 0, 1, 0, 0, 0, 1, 0])
SOFT = torch.tensor([0.1, 0.0, 0.9, 0.2, 0.0, 0.3, 0.8, 0.0])
MASKS = torch.randint(0, 2, (8, 4, 4), generator=torch.Generator().manual_seed(0))
PROBABILITIES = (5 * torch.rand(8, 3, generator=torch.Generator().manual_seed(1))).softmax(1)
MULTI_LABEL = torch.stack([BINARY, 1 - BINARY, BINARY.flip(0)], 1)


def warmup(loss, main):
    wrapper = LossWarmupWrapper(loss, main, warmup_steps=1)
    wrapper.on_train_batch_start(0)
    return wrapper


def warm(logit_classes, warmup_loss):
    return warmup(warmup_loss, SmoothAPLoss(logit_classes, temperature=0.3))


def ap(classes, **settings):
    return SmoothAPLoss(classes, temperature=0.3, **settings)


#: The shape of the logits, the loss, its targets; what the message says; the loss and the targets as it says.
#: An expression is taken from the message word by word.
ADVICE = [
    # One logit a row.
    ((8, 1), SigmoidFocalLoss(), BINARY, "targets[:, None]", None),
    ((8, 1, 4, 4), SigmoidFocalLoss(), MASKS, "targets[:, None]", None),
    ((8,), SigmoidFocalLoss(), BINARY[:, None], "targets[:, 0]", None),
    ((8, 4, 4), SigmoidFocalLoss(), MASKS[:, None], "targets[:, 0]", None),
    ((8, 1), SoftmaxFocalLoss(), BINARY, "targets[:, None]", SigmoidFocalLoss()),
    ((8, 1), SoftmaxFocalLoss(), 0 * BINARY, "targets[:, None]", SigmoidFocalLoss()),
    ((8, 1), SoftmaxFocalLoss(), BINARY[:, None], "use SigmoidFocalLoss", SigmoidFocalLoss()),
    ((8,), SoftmaxFocalLoss(), BINARY, "use SigmoidFocalLoss", SigmoidFocalLoss()),
    ((8,), SoftmaxFocalLoss(), BINARY[:, None], "targets[:, 0]", SigmoidFocalLoss()),
    ((8, 1, 4, 4), SoftmaxFocalLoss(), MASKS, "targets[:, None]", SigmoidFocalLoss()),
    (
        (8, 1),
        warm(1, nn.CrossEntropyLoss()),
        BINARY,
        "use torch.nn.BCEWithLogitsLoss",
        warm(1, nn.BCEWithLogitsLoss()),
    ),
    (
        (8,),
        warm(1, nn.CrossEntropyLoss()),
        BINARY,
        "use torch.nn.BCEWithLogitsLoss",
        warm(1, nn.BCEWithLogitsLoss()),
    ),
    (
        (8, 1),
        warm(1, nn.CrossEntropyLoss()),
        BINARY[:, None],
        "BCEWithLogitsLoss",
        warm(1, nn.BCEWithLogitsLoss()),
    ),
    ((8, 1), warm(1, SoftmaxFocalLoss()), 0 * BINARY, "use SigmoidFocalLoss", warm(1, SigmoidFocalLoss())),
    # Targets of the logits' shape where class ids are due, and the other way round.
    ((8, 3), SoftmaxFocalLoss(), F.one_hot(IDS, 3), "targets.argmax(1)", None),
    ((8, 3), SoftmaxFocalLoss(), F.one_hot(IDS, 3).float(), "targets.argmax(1)", None),
    ((8, 3, 4, 4), SoftmaxFocalLoss(), F.one_hot(MASKS, 3).movedim(-1, 1), "targets.argmax(1)", None),
    ((8, 3), SoftmaxFocalLoss(), PROBABILITIES, "use torch.nn.CrossEntropyLoss", nn.CrossEntropyLoss()),
    ((8, 3), SoftmaxFocalLoss(), MULTI_LABEL, "use SigmoidFocalLoss", SigmoidFocalLoss()),
    ((8, 3), SoftmaxFocalLoss(), MULTI_LABEL.bool(), "use SigmoidFocalLoss", SigmoidFocalLoss()),
    ((8, 3), SoftmaxFocalLoss(), IDS.float(), "targets.long()", None),
    ((8, 2), SoftmaxFocalLoss(), BINARY.bool(), "targets.long()", None),
    ((8, 3), SoftmaxFocalLoss(), IDS[:, None], "targets[:, 0]", None),
    ((8, 3), SoftmaxFocalLoss(), IDS[:, None].float(), "targets[:, 0]", "targets.long()"),
    ((8, 3), SigmoidFocalLoss(), IDS, "use SoftmaxFocalLoss", SoftmaxFocalLoss()),
    ((8, 3), SigmoidFocalLoss(), IDS.float(), "targets.long()", SoftmaxFocalLoss()),
    ((8, 3), warm(3, nn.CrossEntropyLoss()), F.one_hot(IDS, 3), "targets.argmax(1)", None),
    ((8, 3), warm(3, SoftmaxFocalLoss()), F.one_hot(IDS, 3).float(), "targets.argmax(1)", None),
    (
        (8, 3),
        warm(3, nn.CrossEntropyLoss()),
        MULTI_LABEL,
        "use SigmoidFocalLoss",
        warm(3, SigmoidFocalLoss()),
    ),
    # Ranking losses.
    ((8, 1), ap(1), SOFT, "(targets >= 0.5).long()", None),
    ((8, 1), ap(1), SOFT, "targets.reshape(logits.shape)", SigmoidFocalLoss()),
    ((8,), ap(1), SOFT[:, None], "targets.reshape(logits.shape)", SigmoidFocalLoss()),
    ((8, 3), ap(3), PROBABILITIES, "(targets >= 0.5).long()", None),
    ((8, 3), ap(3), PROBABILITIES, "use SigmoidFocalLoss", SigmoidFocalLoss()),
    ((8, 1), ap(1), torch.where(SOFT == 0.8, torch.nan, BINARY), "targets.nan_to_num(-100)", None),
    ((8, 2), ap(1), BINARY, "num_classes=2", ap(2)),
    ((8, 1), ap(2), BINARY, "num_classes=1", ap(1)),
    ((8,), ap(2), BINARY, "num_classes=1", ap(1)),
    ((8, 1), ap(1), F.one_hot(BINARY, 2), "targets[:, 1]", None),
    ((8, 3), ap(3), torch.where(IDS == 0, 255, IDS), "ignore_index=255", ap(3, ignore_index=255)),
    ((8, 3), ap(3), torch.where(IDS == 0, -1, IDS), "ignore_index=-1", ap(3, ignore_index=-1)),
    ((8, 1), ap(1), torch.where(SOFT == 0.2, -1, BINARY), "ignore_index=-1", ap(1, ignore_index=-1)),
    (
        (8, 3),
        ap(3),
        torch.where(IDS == 0, -1, IDS),
        "0/1 targets [N, 3]",
        lambda t: F.one_hot(t + 1, 4)[:, 1:],
    ),
    (
        (8, 3),
        ap(3),
        torch.where(MULTI_LABEL == 0, -1, MULTI_LABEL),
        "ignore_index=-1",
        lambda t: t.clamp_min(0),
    ),
    ((16, 1), ap(1), MASKS[:, :, 0].reshape(4, 8)[:, :4], "targets.flatten()", None),
]


def named(case):
    shape, loss, targets, advice, _ = case
    return f"{type(loss).__name__} {list(shape)} {targets.dtype} {list(targets.shape)}: {advice}"


@pytest.mark.parametrize("case", ADVICE, ids=named)
def test_advice_about_targets_leads_to_a_loss_that_trains(case):
    shape, loss, targets, advice, then = case
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with pytest.raises(ValueError, match=r"^expected .*, got .*: ") as error:
        loss(logits, targets)
    assert advice in str(error.value)
    if "targets" in advice and "0/1" not in advice:
        targets = eval(advice, {"targets": targets, "logits": logits})
    if isinstance(then, str):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the advice is looked for
            loss(logits, targets)
        assert then in str(error.value)
        targets, then = eval(then, {"targets": targets}), None
    if then is not None and not isinstance(then, nn.Module):
        targets, then = then(targets), None
    value = (loss if then is None else then)(logits, targets)
    value.backward()
    assert value.isfinite()
    assert value > 0
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "make", [SmoothAPLoss, RecallAtQuantileLoss, lambda c: PAUCAtBudgetLoss(c, beta=0.5)]
)
def test_advice_about_images_leads_to_a_loss_that_trains(make):
    logits, targets = torch.randn(2, 2, 4, 4, requires_grad=True), MASKS[:2]
    with pytest.raises(ValueError, match="flatten them") as error:
        make(2)(logits, targets)
    advice = str(error.value).partition("prediction: ")[2]
    flat = eval(advice, {"logits": logits})
    with pytest.raises(ValueError, match="flatten them") as error:
        make(2)(flat, targets)
    value = make(2)(flat, eval(str(error.value).partition("them: ")[2], {"targets": targets}))
    value.backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [ap(1), SigmoidFocalLoss(), warm(1, nn.BCEWithLogitsLoss())])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -1.0])
def test_advice_about_weights_leads_to_a_loss_that_trains(loss, bad):
    logits, weight = torch.randn(8, 1, requires_grad=True), torch.ones(8)
    weight[3] = bad
    with pytest.raises(ValueError, match="give rows that should not count the weight 0"):
        loss(logits, BINARY[:, None], sample_weight=weight)
    weight[3] = 0
    loss(logits, BINARY[:, None], sample_weight=weight).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("marker", [-100, 255, torch.nan])
def test_advice_about_marked_entries_leaves_them_out(marker):
    logits, targets = torch.randn(8, 3, requires_grad=True), MULTI_LABEL.float()
    targets[2, 1] = marker
    with pytest.raises(ValueError, match="set their label and their sample_weight to 0"):
        SigmoidFocalLoss()(logits, targets)
    weight = torch.ones(8, 3)
    weight[2, 1] = targets[2, 1] = 0
    SigmoidFocalLoss()(logits, targets, sample_weight=weight).backward()
    assert logits.grad[2, 1] == 0
    assert (logits.grad != 0).sum() == 23


@pytest.mark.parametrize("mask", [torch.ones(8), torch.tensor([1, 2, 1, 2, 1, 1, 2, 1])])
def test_advice_about_masks_leads_to_a_loss_that_trains(mask):
    logits, loss = torch.randn(8, 1, requires_grad=True), PAUCAtBudgetLoss(1, beta=0.5)
    with pytest.raises(ValueError, match="expected iid_mask to be bool or 0/1") as error:
        loss(logits, BINARY, mask)
    advice = "iid_mask.bool()" if mask.is_floating_point() else "iid_mask == 1"
    assert advice in str(error.value)
    loss(logits, BINARY, eval(advice, {"iid_mask": mask})).backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("compute", [balanced_class_weights, effective_number_weights])
def test_advice_about_classes_without_rows_leads_to_a_loss_that_trains(compute):
    counts = torch.tensor([6, 2, 0])
    with pytest.raises(ValueError, match="give classes without rows the weight 1"):
        compute(counts)
    alpha = torch.ones(3)
    alpha[counts > 0] = compute(counts[counts > 0])
    logits = torch.randn(8, 3, requires_grad=True)
    SoftmaxFocalLoss(alpha=alpha)(logits, BINARY).backward()
    assert logits.grad.abs().sum() > 0


def test_a_softmax_over_one_class_is_never_a_silent_zero():
    logits = torch.randn(8, 1)
    for targets in (torch.zeros(8, dtype=torch.long), torch.full((8,), -100), torch.zeros(8, 1)):
        for loss in (
            SoftmaxFocalLoss(),
            warmup(SoftmaxFocalLoss(), nn.Identity()),
            warm(1, nn.CrossEntropyLoss()),
        ):
            with pytest.raises(ValueError, match="a softmax over one class is always 1"):
                loss(logits, targets)


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), SigmoidFocalLoss()])
@pytest.mark.parametrize("shapes", [((4, 3), (3, 4)), ((2, 2), (4,)), ((4, 3), (12,)), ((4, 3), (1, 4))])
def test_targets_of_another_shape_with_as_many_values_are_not_guessed(loss, shapes):
    wrapper = warmup(loss, nn.MultiMarginLoss())
    with pytest.raises(ValueError, match="expected targets to be labels of the logits' shape"):
        wrapper(torch.randn(shapes[0]), torch.zeros(shapes[1]))
