"""A loss knows its settings once: construction, `config` and `reconfigure` say the same."""

import inspect
import math
import re
from pathlib import Path

import pytest
from torch import nn

import losses
from losses import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)
from losses.settings import Configurable

#: What must be given to each loss.
REQUIRED = {
    SmoothAPLoss: lambda: {"num_classes": 3},
    RecallAtQuantileLoss: lambda: {"num_classes": 3},
    PAUCAtBudgetLoss: lambda: {"num_classes": 3},
    SigmoidFocalLoss: dict,
    SoftmaxFocalLoss: dict,
    LossWarmupWrapper: lambda: {"warmup_loss": nn.CrossEntropyLoss(), "main_loss": SmoothAPLoss(3)},
}
SETTINGS = [(loss, name) for loss in REQUIRED for name in loss._SETTINGS]

#: Some of what a setting may be; each is refused by some settings, and each setting refuses some.
VALUES = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    0.001,
    0.5,
    1.5,
    math.nan,
    "x",
    "sum",
    "iqr",
    "band",
    "live",
    [-1.0],
    [0.3],
]


def make(loss, **settings):
    return loss(**{**REQUIRED[loss](), **settings})


def refused(call, **settings):
    """What is said of values that may not be; None where they may."""
    try:
        call(**settings)
    except (TypeError, ValueError) as error:
        return str(error)


def parameters_described(loss):
    arguments = inspect.getdoc(loss).partition("\nArgs:\n")[2].partition("\n\n")[0]
    return re.findall(r"^ {4}(\w+): ", arguments, re.MULTILINE)


def of_each_setting(test):
    return pytest.mark.parametrize(
        ("loss", "name"), SETTINGS, ids=[f"{loss.kind}-{name}" for loss, name in SETTINGS]
    )(test)


def test_every_loss_of_this_package_is_tried():
    exported = {getattr(losses, name) for name in losses.__all__}
    assert {each for each in exported if isinstance(each, type)} == set(REQUIRED)
    assert all(issubclass(loss, Configurable) for loss in REQUIRED)


@pytest.mark.parametrize("loss", REQUIRED)
def test_the_settings_are_the_parameters_of_the_constructor(loss):
    parameters = inspect.signature(loss).parameters
    assert set(parameters) - {"process_group"} == set(loss._SETTINGS)
    assert not any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters.values())


@pytest.mark.parametrize("loss", REQUIRED)
def test_each_parameter_is_described_once(loss):
    described = parameters_described(loss)
    if "Others" in described:  # as in Smooth-AP
        described = [name for name in described if name != "Others"]
        described += set(parameters_described(SmoothAPLoss)) - set(described)
    assert sorted(described) == sorted(inspect.signature(loss).parameters)


@pytest.mark.parametrize("loss", REQUIRED)
def test_a_configuration_builds_the_same_loss_again(loss):
    config = make(loss).config()
    assert list(config) == list(loss._SETTINGS)
    wrapped = {name: value for name, value in REQUIRED[loss]().items() if isinstance(value, nn.Module)}
    assert loss(**{**config, **wrapped}).config() == config


@of_each_setting
def test_a_change_is_refused_as_at_construction_and_otherwise_shown(loss, name):
    said = [refused(make, loss=loss, **{name: value}) for value in VALUES]
    assert any(said)
    for value, expected in zip(VALUES, said, strict=True):
        loss_fn = make(loss)
        before = loss_fn.config()
        answer = refused(loss_fn.reconfigure, **{name: value})
        if not loss._SETTINGS[name].changes:
            assert "can change during training, which are" in answer
            assert f", got {name!r}: build a new loss" in answer
        else:
            assert answer == expected
            assert answer is not None or loss_fn.config()[name] == make(loss, **{name: value}).config()[name]
        if answer is not None:
            assert loss_fn.config() == before


@of_each_setting
def test_what_can_change_is_on_the_page(loss, name):
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Settings that can change during training")
    table = section.partition("\n## ")[0]
    assert not loss._SETTINGS[name].changes or f"`{name}`" in table


def test_losses_that_have_a_setting_in_common_say_alike_what_it_may_be():
    for name in ("gather_distributed", "gamma", "ignore_index", "quantile_interpolation", "num_classes"):
        owners = [loss for loss in REQUIRED if name in loss._SETTINGS]
        for value in VALUES:
            assert len({refused(make, loss=loss, **{name: value}) for loss in owners}) == 1
