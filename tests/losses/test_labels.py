"""Labels mean the same in every integer type, whatever the ignored id."""

import sys

import pytest
import torch
from loss_cases import RANKING
from torch import nn

from losses import LossWarmupWrapper, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss
from losses.diagnostics.likelihood import labels_of, likelihood_stats
from losses.diagnostics.listening import Detail

CLASSES = 200
TYPES = [torch.uint8, torch.int16, torch.uint16, torch.float32]


def every_class(dtype=torch.int64):
    """Two rows of each of 200 classes: 156 is -100 in uint8."""
    logits = torch.randn(2 * CLASSES, CLASSES, generator=torch.Generator().manual_seed(0))
    return logits, (torch.arange(2 * CLASSES) % CLASSES).to(dtype)


def a_mask(dtype=torch.int64):
    """Ids of 19 classes, and 255 where there is none."""
    logits = torch.randn(60, 19, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(60) % 20
    return logits, torch.where(ids == 19, 255, ids).to(dtype)


def warmup(loss, main):
    wrapper = LossWarmupWrapper(loss, main, warmup_steps=1, temp_end=0.05)
    wrapper.on_train_batch_start(0)
    return wrapper


def main(ignore_index, classes):
    return SmoothAPLoss(classes, queue_size=0, temperature=0.3, ignore_index=ignore_index, reduction="none")


LOSSES = {
    **{
        name: lambda ignored, c, make=make: make(c, queue_size=0, reduction="none", ignore_index=ignored)
        for name, make in RANKING.items()
    },
    "softmax_focal": lambda ignored, c: SoftmaxFocalLoss(ignore_index=ignored),
    "under cross-entropy": lambda ignored, c: warmup(nn.CrossEntropyLoss(), main(ignored, c)),
    "under BCE": lambda ignored, c: warmup(nn.BCEWithLogitsLoss(), main(ignored, c)),
    "under softmax focal": lambda ignored, c: warmup(SoftmaxFocalLoss(), main(ignored, c)),
    "under sigmoid focal": lambda ignored, c: warmup(SigmoidFocalLoss(), main(ignored, c)),
}


@pytest.fixture(params=[False, True], ids=["on the host", "as on a device"])
def _looks(request, monkeypatch):
    """As it is, or where no code may look at a value."""
    if request.param:
        for name, module in sys.modules.items():
            if name.startswith("losses.") and hasattr(module, "looks_are_free"):
                monkeypatch.setattr(module, "looks_are_free", lambda _: False)


@pytest.mark.usefixtures("_looks")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("data", "ignored"), [(every_class, -100), (a_mask, 255)])
@pytest.mark.parametrize("name", LOSSES)
def test_ids_of_every_type_are_those_of_int64(name, data, ignored, dtype):
    if dtype.is_floating_point and "softmax_focal" in name:
        return  # takes integers only
    logits, ids = data()
    expected = LOSSES[name](ignored, logits.shape[1])(logits, ids)
    got = LOSSES[name](ignored, logits.shape[1])(*data(dtype))
    assert torch.equal(got.nan_to_num(-1.0), expected.nan_to_num(-1.0))
    assert not expected.isnan().all()


@pytest.mark.usefixtures("_looks")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.bool])
@pytest.mark.parametrize("name", [*RANKING, "sigmoid_focal", "under BCE", "under sigmoid focal"])
def test_binary_labels_of_every_type_are_those_of_int64(name, dtype):
    logits = torch.randn(40, 1, generator=torch.Generator().manual_seed(2))
    labels = (torch.arange(40) % 4 == 0).long()[:, None]
    make = {**LOSSES, "sigmoid_focal": lambda *_: SigmoidFocalLoss()}[name]
    expected = make(-255, 1)(logits, labels)  # -255 is 1 in uint8
    assert torch.equal(make(-255, 1)(logits, labels.to(dtype)), expected)


@pytest.mark.parametrize("detail", [Detail.COUNTS, Detail.HISTOGRAMS])
@pytest.mark.parametrize(
    ("logits", "labels", "ignored"),
    [
        (*every_class(), -100),
        (*a_mask(), 255),
        (torch.linspace(-1, 1, 40)[:, None], (torch.arange(40) % 4 == 0).long()[:, None], -255),
    ],
    ids=["200 classes", "mask", "binary"],
)
def test_statistics_read_labels_of_every_type_alike(logits, labels, ignored, detail):
    narrow = labels.to(torch.uint8)
    expected = likelihood_stats(logits, labels, detail=detail, ignore_index=ignored)
    got = likelihood_stats(logits, narrow, detail=detail, ignore_index=ignored)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name].nan_to_num(-1.0), value.nan_to_num(-1.0)), name
    for ours, theirs in zip(
        labels_of(logits, narrow, ignore_index=ignored),
        labels_of(logits, labels, ignore_index=ignored),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["smooth_ap", "softmax_focal", "under cross-entropy", "under BCE"])
def test_gradients_that_are_told_are_split_by_labels_of_every_type_alike(name):
    told = []
    for dtype in (torch.int64, torch.uint8):
        logits, ids = every_class(dtype)
        loss_fn = LOSSES[name](-100, CLASSES)
        loss_fn.register_diagnostics_hook(
            lambda *_: None, gradients=lambda _, stats: told.append(stats), wants=lambda: Detail.SCORES
        )
        loss_fn(logits.requires_grad_(), ids).nansum().backward()
    for norm, expected in zip(told[1].values(), told[0].values(), strict=True):
        assert torch.equal(norm, expected)
