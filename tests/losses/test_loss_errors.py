"""Every error says what came, what was expected and what to do."""

import json

import numpy as np
import pytest
import torch
from loss_cases import RANKING

from losses import LossWarmupWrapper, PAUCAtBudgetLoss, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss
from losses import RecallAtQuantileLoss as Recall
from losses._checks import check_number

CONSTRUCTION = [
    (lambda: SmoothAPLoss(0), "expected num_classes to be an integer of at least 1, got 0"),
    (lambda: SmoothAPLoss(True), "expected num_classes to be an integer of at least 1, got True"),
    (lambda: SmoothAPLoss(2, queue_size=-1), "expected queue_size to be an integer of at least 0, got -1"),
    (lambda: SmoothAPLoss(2, queue_size=1.5), "expected queue_size to be an integer of at least 0, got 1.5"),
    (
        lambda: SmoothAPLoss(2, temperature=0.0),
        "expected temperature to be a finite number and > 0.0, got 0.0",
    ),
    (
        lambda: SmoothAPLoss(2, temperature=float("nan")),
        "expected temperature to be a finite number and > 0.0, got nan",
    ),
    (
        lambda: SmoothAPLoss(2, reduction="avg"),
        "expected reduction to be one of 'mean', 'sum', 'none', got 'avg'",
    ),
    (
        lambda: SmoothAPLoss(2, gather_distributed="yes"),
        "expected gather_distributed to be one of None, True, False, got 'yes'",
    ),
    (
        lambda: SmoothAPLoss(2, gather_distributed=0),
        "expected gather_distributed to be one of None, True, False, got 0",
    ),
    (
        lambda: SigmoidFocalLoss(gather_distributed=1),
        "expected gather_distributed to be one of None, True, False, got 1",
    ),
    (lambda: SmoothAPLoss(2, ignore_index=None), "expected ignore_index to be an integer, got None"),
    (lambda: SmoothAPLoss(2, ignore_index=-1.0), "expected ignore_index to be an integer, got -1.0"),
    (
        lambda: SmoothAPLoss(2, update_queue_in_eval=1),
        "expected update_queue_in_eval to be one of True, False, got 1",
    ),
    (lambda: SoftmaxFocalLoss(ignore_index="x"), "expected ignore_index to be an integer, got 'x'"),
    (lambda: SoftmaxFocalLoss(background_class=0.0), "expected background_class to be an integer, got 0.0"),
    (
        lambda: SmoothAPLoss(2, max_pool_size=1),
        "expected max_pool_size to be an integer of at least 2, got 1",
    ),
    (lambda: SmoothAPLoss(2, tau_scale="std"), "expected tau_scale to be one of None, 'iqr', got 'std'"),
    (lambda: Recall(2, quantile=0.0), "expected quantile to be a finite number and > 0.0 and < 1.0, got 0.0"),
    (lambda: Recall(2, quantile=1), "expected quantile to be a finite number and > 0.0 and < 1.0, got 1"),
    (
        lambda: Recall(2, quantile_interpolation="cubic"),
        "expected quantile_interpolation to be one of 'linear', 'lower', 'higher', 'nearest', 'midpoint', "
        "got 'cubic'",
    ),
    (
        lambda: PAUCAtBudgetLoss(2, beta=0.0),
        "expected beta to be a finite number and > 0.0 and <= 1.0, got 0.0",
    ),
    (
        lambda: PAUCAtBudgetLoss(2, beta=1.1),
        "expected beta to be a finite number and > 0.0 and <= 1.0, got 1.1",
    ),
    (
        lambda: PAUCAtBudgetLoss(2, alpha=0.2, beta=0.2),
        "expected alpha to be below beta=0.2, got 0.2: give the false positive rates where the band "
        "begins (alpha) and ends (beta)",
    ),
    (
        lambda: PAUCAtBudgetLoss(2, surrogate="auc"),
        "expected surrogate to be one of 'trapezoid', 'pairwise', got 'auc'",
    ),
    (lambda: PAUCAtBudgetLoss(2, n_knots=1), "expected n_knots to be an integer of at least 2, got 1"),
    (lambda: PAUCAtBudgetLoss(2, tau_scale=None), "expected tau_scale to be one of 'iqr', 'band', got None"),
    (
        lambda: PAUCAtBudgetLoss(2, pos_numerator="all"),
        "expected pos_numerator to be one of 'pool', 'live', got 'all'",
    ),
    (
        lambda: PAUCAtBudgetLoss(2, budget_basis="rows"),
        "expected budget_basis to be one of 'fpr', 'population', got 'rows'",
    ),
    (lambda: SigmoidFocalLoss(gamma=-1), "expected gamma to be a finite number and >= 0.0, got -1"),
    (
        lambda: SigmoidFocalLoss(alpha=2),
        "expected alpha to be a finite number and >= 0.0 and <= 1.0, got 2; pass -1 to switch it off",
    ),
    (
        lambda: SigmoidFocalLoss(reduction="mean_positive"),
        "expected reduction to be one of 'none', 'mean', 'sum', got 'mean_positive'",
    ),
    (lambda: SoftmaxFocalLoss(alpha=[]), "expected alpha to be one weight for each class, got shape [0]"),
    (
        lambda: SoftmaxFocalLoss(alpha=[1.0, -1.0]),
        "expected alpha to be finite and >= 0, got [1.0, -1.0]",
    ),
    (
        lambda: SoftmaxFocalLoss(label_smoothing=1.0),
        "expected label_smoothing to be a finite number and >= 0.0 and < 1.0, got 1.0",
    ),
]


@pytest.mark.parametrize(("construct", "message"), CONSTRUCTION, ids=[m for _, m in CONSTRUCTION])
def test_settings_are_checked_at_construction(construct, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared below
        construct()
    assert str(error.value) == message


ids = torch.tensor([0, 1, 2, 0])
INPUTS = [
    (
        (torch.zeros(4, 2), ids),
        {},
        "expected logits to have shape [N, 3] for num_classes=3, got [4, 2]: build the loss with "
        "num_classes=2",
    ),
    (
        (torch.zeros(4), ids),
        {},
        "expected logits to have shape [N, 3] for num_classes=3, got [4]: build the loss with num_classes=1",
    ),
    (
        (torch.zeros(2, 3, 2), ids),
        {},
        "expected logits to have shape [N, 3] for num_classes=3, got [2, 3, 2]: flatten them to a row for "
        "each prediction: logits.movedim(1, -1).flatten(0, -2)",
    ),
    (
        (torch.zeros(4, 3, dtype=torch.long), ids),
        {},
        "expected logits to be floating point, got torch.int64: pass the model's logits, not its decisions",
    ),
    (
        (torch.zeros(4, 3), ids[:3]),
        {},
        "expected targets to have shape [4] or [4, 1] (class ids) or [4, 3] (0/1 for each class), got [3]: "
        "give one target for each row of logits",
    ),
    (
        (torch.zeros(4, 3), torch.tensor([0, 1, 3, 0])),
        {},
        "expected targets to lie in [0, 2] or to equal ignore_index=-100, got 3: build the loss with "
        "ignore_index=3 if it marks labels to leave out, or with num_classes=4 and as many logits",
    ),
    (
        (torch.zeros(4, 3), torch.tensor([0.0, 1.0, 0.6, 0.0])),
        {},
        "expected targets to be whole numbers, got 0.6: pass the index of each row's class",
    ),
    (
        (torch.zeros(4, 3), torch.full((4, 3), 0.25)),
        {},
        "expected targets to be whole numbers, got 0.25: pass (targets >= 0.5).long(), or keep soft labels "
        "and use SigmoidFocalLoss",
    ),
    (
        (torch.zeros(4, 3), torch.full((4, 3), 2)),
        {},
        "expected targets to lie in [0, 1] or to equal ignore_index=-100, got 2: build the loss with "
        "ignore_index=2 if it marks labels to leave out",
    ),
    (
        (torch.zeros(4, 3), ids),
        {"iid_mask": torch.ones(4)},
        "expected iid_mask to be bool or 0/1 of shape [4], got torch.float32 of shape [4]: give one entry "
        "for each row, and convert floats with iid_mask.bool()",
    ),
    (
        (torch.zeros(4, 3), ids),
        {"iid_mask": torch.tensor([0, 1, 2, 1])},
        "expected iid_mask to be bool or 0/1, got values from 0 to 2: pass a mask that is True for "
        "fair draws, such as iid_mask == 1",
    ),
    (
        (torch.zeros(4, 3), ids),
        {"sample_weight": torch.ones(3)},
        "expected sample_weight to have shape [4], got [3]: give one weight for each row",
    ),
    (
        (torch.zeros(4, 3), ids),
        {"sample_weight": torch.tensor([1.0, -1.0, 1.0, 1.0])},
        "expected sample_weight to be finite and >= 0, got -1: give rows that should not count the weight 0",
    ),
    (
        (torch.zeros(4, 3), ids),
        {"sample_weight": torch.tensor([1.0, torch.inf, 1.0, 1.0])},
        "expected sample_weight to be finite and >= 0, got inf: give rows that should not count the weight 0",
    ),
]


@pytest.mark.parametrize("make", RANKING.values(), ids=RANKING.keys())
@pytest.mark.parametrize(("arguments", "options", "message"), INPUTS, ids=[m[:40] for *_, m in INPUTS])
def test_inputs_of_ranking_losses_are_checked(make, arguments, options, message):
    loss_fn = make(3)
    before = {name: value.clone() for name, value in loss_fn.state_dict().items()}
    with pytest.raises(ValueError) as error:  # noqa: PT011
        loss_fn(*arguments, **options)
    assert str(error.value) == message
    assert all(torch.equal(before[name], value) for name, value in loss_fn.state_dict().items())


@pytest.mark.parametrize(
    "call",
    [
        lambda targets: SmoothAPLoss(3)(torch.zeros(4, 3), targets),
        lambda targets: SigmoidFocalLoss()(torch.zeros(4), targets),
        lambda targets: SoftmaxFocalLoss()(torch.zeros(4, 3), targets),
        lambda targets: LossWarmupWrapper(torch.nn.CrossEntropyLoss(), Recall(3))(torch.zeros(4, 3), targets),
    ],
)
def test_targets_must_be_tensors(call):
    for targets, name in (([0, 1, 2, 0], "list"), (np.zeros(4), "ndarray"), (None, "NoneType")):
        with pytest.raises(TypeError, match=f"expected targets to be a torch.Tensor, got {name}"):
            call(targets)


@pytest.mark.parametrize("place", ["warmup_loss", "main_loss"])
@pytest.mark.parametrize("loss", [SmoothAPLoss, torch.nn.functional.cross_entropy, None])
def test_both_losses_of_a_wrapper_must_be_modules(place, loss):
    losses = {"warmup_loss": torch.nn.CrossEntropyLoss(), "main_loss": SmoothAPLoss(3), place: loss}
    with pytest.raises(TypeError, match=f"expected {place} to be a torch.nn.Module, got"):
        LossWarmupWrapper(**losses)


@pytest.mark.parametrize(
    ("classes", "targets", "message"),
    [
        (1, [0, 1, 2, 0], r"targets to lie in \[0, 1\] or to equal ignore_index=-7, got 2"),
        (1, [0, 1, -100, 0], r"targets to lie in \[0, 1\] or to equal ignore_index=-7, got -100"),
        (1, [0.0, 1.0, 0.3, 0.0], "targets to be whole numbers, got 0.3"),
        (3, [0, 1, 3, 0], r"targets to lie in \[0, 2\] or to equal ignore_index=-7, got 3"),
        (3, [0, 1, -1, 0], r"targets to lie in \[0, 2\] or to equal ignore_index=-7, got -1"),
    ],
)
def test_labels_that_the_main_loss_refuses_are_refused_in_the_warmup(classes, targets, message):
    main = SmoothAPLoss(classes, ignore_index=-7)
    for loss_fn in (main, LossWarmupWrapper(torch.nn.BCEWithLogitsLoss(), main, warmup_epochs=1).eval()):
        with pytest.raises(ValueError, match=message):
            loss_fn(torch.zeros(4, classes), torch.tensor(targets))


@pytest.mark.parametrize("warmup", [torch.nn.BCEWithLogitsLoss, SigmoidFocalLoss])
def test_a_sigmoid_warmup_checks_labels_whatever_the_main_loss(warmup):
    loss_fn = LossWarmupWrapper(warmup(), torch.nn.MultiMarginLoss(), warmup_epochs=1).eval()
    with pytest.raises(ValueError, match=r"class ids to be whole numbers in \[0, 2\]"):
        loss_fn(torch.zeros(4, 3), torch.tensor([0, 1, 3, 0]))
    with pytest.raises(ValueError, match=r"labels to lie in \[0, 1\]"):
        loss_fn(torch.zeros(2, 2), torch.tensor([[0, 1], [2, 0]]))


def test_numbers_of_numpy_are_numbers():
    loss_fn = PAUCAtBudgetLoss(
        np.int64(3), np.float32(0.25), np.float64(0.5), n_knots=np.int32(3), ignore_index=np.int16(-7)
    )
    plain = PAUCAtBudgetLoss(3, 0.25, 0.5, n_knots=3, ignore_index=-7)
    assert json.dumps(loss_fn.config()) == json.dumps(plain.config())
    loss_fn.reconfigure(temperature=np.float32(0.5), queue_size=np.int64(8), max_pool_size=np.int64(9))
    plain.reconfigure(temperature=0.5, queue_size=8, max_pool_size=9)
    assert json.dumps(loss_fn.config()) == json.dumps(plain.config())
    wrapper = LossWarmupWrapper(torch.nn.CrossEntropyLoss(), plain, np.int64(2), np.float32(0.5))
    assert (wrapper.warmup_epochs, wrapper.temp_start) == (2, 0.5)
    assert json.dumps(SoftmaxFocalLoss(gamma=np.float32(1.5), background_class=np.int8(1)).config())
    assert json.dumps(wrapper.config())


FOCAL = [
    (
        lambda: SigmoidFocalLoss()(torch.zeros(4, 3), torch.zeros(4)),
        "expected targets to be labels of the inputs' shape [4, 3], got [4]: for class ids use "
        "SoftmaxFocalLoss with targets.long()",
    ),
    (
        lambda: SigmoidFocalLoss()(torch.zeros(2), torch.tensor([0.0, 2.0])),
        "expected targets to lie in [0, 1], got values from 0 to 2: to leave out entries marked with "
        "another value, set their label and their sample_weight to 0",
    ),
    (
        lambda: SigmoidFocalLoss()(torch.zeros(4, 3), torch.zeros(4, 3), sample_weight=torch.ones(3)),
        "expected sample_weight to have shape [N] for rows, or as many dimensions as the inputs and a shape "
        "that broadcasts to theirs [4, 3], got [3]: give one weight for each row, or for each logit",
    ),
    (
        lambda: SoftmaxFocalLoss()(torch.zeros(4, 3), torch.zeros(4, 3)),
        "expected SoftmaxFocalLoss to get class ids (N) or (N, ...), got torch.float32 targets of the "
        "logits' shape [4, 3]: for one-hot rows pass targets.argmax(1); for class probabilities use "
        "torch.nn.CrossEntropyLoss; for several classes per row use SigmoidFocalLoss",
    ),
    (
        lambda: SoftmaxFocalLoss()(torch.zeros(4, 3), torch.zeros(4)),
        "expected targets to be integer class ids, got torch.float32: convert them with targets.long()",
    ),
    (
        lambda: SoftmaxFocalLoss()(torch.zeros(4, 3), torch.full((4,), 3)),
        "expected targets to lie in [0, 2] or to equal ignore_index=-100, got values from 3 to 3: give the "
        "model one logit for each class, or build the loss with the ignore_index that marks rows to leave "
        "out",
    ),
    (
        lambda: SoftmaxFocalLoss(alpha=[1.0, 2.0])(torch.zeros(4, 3), ids),
        "expected alpha to have a weight for each of the logits' 3 classes, got 2 weights: "
        "give one weight for each class",
    ),
    (
        lambda: SoftmaxFocalLoss()(torch.zeros(4, 3), ids, sample_weight=torch.ones(3)),
        "expected sample_weight to have the targets' shape [4], got [3]: give one weight for each target",
    ),
    (
        lambda: SoftmaxFocalLoss()(torch.zeros(4, 3), ids, sample_weight=-torch.ones(4)),
        "expected sample_weight to be finite and >= 0, got -1: give rows that should not count the weight 0",
    ),
]


@pytest.mark.parametrize(("call", "message"), FOCAL, ids=[m[:40] for _, m in FOCAL])
def test_inputs_of_focal_losses_are_checked(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert str(error.value) == message


def test_settings_that_cannot_change_are_named_with_those_that_can():
    with pytest.raises(ValueError) as error:  # noqa: PT011
        PAUCAtBudgetLoss(2).reconfigure(beta=0.1, num_classes=3)
    assert str(error.value) == (
        "expected settings that PAUCAtBudgetLoss can change during training, which are 'queue_size', "
        "'temperature', 'gather_distributed', 'max_pool_size', 'tau_scale', 'pos_numerator', got 'beta', "
        "'num_classes': build a new loss to change others"
    )


def test_a_rejected_change_changes_nothing():
    loss_fn = PAUCAtBudgetLoss(2)
    before = loss_fn.config()
    with pytest.raises(ValueError, match="expected pos_numerator to be one of 'pool', 'live', got 'x'"):
        loss_fn.reconfigure(temperature=0.5, queue_size=3, pos_numerator="x")
    assert loss_fn.config() == before
    loss_fn.reconfigure(temperature=0.5, queue_size=3, pos_numerator="live")
    assert loss_fn.config() == {**before, "temperature": 0.5, "queue_size": 3, "pos_numerator": "live"}


@pytest.mark.parametrize(
    "loss_fn",
    [
        *(make(3) for make in RANKING.values()),
        SigmoidFocalLoss(alpha=-1),
        SoftmaxFocalLoss(alpha=[0.1, 0.2, 0.3], label_smoothing=0.1),
    ],
    ids=lambda loss_fn: loss_fn.kind,
)
def test_a_configuration_builds_the_same_loss_again(loss_fn):
    assert type(loss_fn)(**loss_fn.config()).config() == loss_fn.config()


@pytest.mark.parametrize("loss_fn", [SmoothAPLoss(3), SigmoidFocalLoss(gamma=1.5), Recall(2, 0.1)])
def test_a_loss_prints_its_settings(loss_fn):
    for name, value in loss_fn.config().items():
        assert f"{name}={value!r}" in repr(loss_fn)


def test_a_required_process_group_must_exist():
    with pytest.raises(
        RuntimeError, match="expected an initialised process group for gather_distributed=True"
    ):
        SmoothAPLoss(1, gather_distributed=True)(torch.zeros(2, 1), torch.tensor([0, 1]))
    with pytest.raises(
        RuntimeError, match="expected an initialised process group for gather_distributed=True"
    ):
        wrapper = LossWarmupWrapper(torch.nn.CrossEntropyLoss(), SmoothAPLoss(3), 1, gather_distributed=True)
        wrapper.eval()(torch.zeros(4, 3), ids)


@pytest.mark.parametrize("value", [float("inf"), "1", None, True])
def test_numbers_are_finite_numbers(value):
    with pytest.raises(ValueError, match="expected x to be a finite number"):
        check_number("x", value)
