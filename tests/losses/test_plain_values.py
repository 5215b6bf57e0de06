"""Settings in a log are small plain values, whatever a loss has among its attributes."""

import enum
import json
import math
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from losses import LossWarmupWrapper, SmoothAPLoss
from losses.diagnostics.bridge import config_of
from losses.diagnostics.listening import Diagnosable
from losses.diagnostics.plain_values import plain


class Choice(enum.IntEnum):
    ONE = 1


class Untouchable:
    def __getattribute__(self, name):
        raise RuntimeError(name)


class Endless(dict):
    def items(self):
        while True:
            yield "a", 1


class OfItsOwn(torch.Tensor):
    pass


def circle(make):
    holder = make()
    holder.update(a=holder) if isinstance(holder, dict) else holder.append(holder)
    return holder


AS_THEY_ARE = {
    "nothing": (None, None),
    "truth": (True, True),
    "text": ("mean", "mean"),
    "a number of NumPy": (np.float32(1.5), 1.5),
    "an integer of NumPy": (np.int64(3), 3),
    "a choice": (Choice.ONE, 1),
    "a fraction": (Fraction(1, 4), 0.25),
    "a scalar of torch": (torch.tensor(2.5), 2.5),
    "infinity": (math.inf, "inf"),
    "weights": (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
    "weights of an image": (torch.tensor([1.0, 2.0]).reshape(2, 1, 1), [1.0, 2.0]),
    "trained weights": (nn.Parameter(torch.ones(2)), [1.0, 1.0]),
    "half weights": (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
    "a weight that is infinite": (torch.tensor([1.0, math.inf]), [1.0, "inf"]),
    "weights of NumPy": (np.array([[1, 2]]), [1, 2]),
    "a tuple": ((1, None, "a"), [1, None, "a"]),
    "settings in settings": ({"main": {"beta": 0.5}}, {"main": {"beta": 0.5}}),
}
DESCRIBED = {
    "a matrix": (torch.ones(3, 3), "Tensor of shape [3, 3]"),
    "a large matrix": (torch.empty(1).expand(10_000, 10_000), "Tensor of shape [10000, 10000]"),
    "too many": (torch.ones(1).expand(10**9), "Tensor of shape [1000000000]"),
    "without memory": (torch.empty(3, device="meta"), "Tensor of shape [3]"),
    "complex": (torch.ones(3, dtype=torch.complex64), "Tensor of shape [3]"),
    "sparse": (torch.eye(3).to_sparse(), "Tensor of shape [3, 3]"),
    "yet without a shape": (nn.UninitializedParameter(), "UninitializedParameter"),
    "of a class of its own": (torch.ones(3).as_subclass(OfItsOwn), "OfItsOwn of shape [3]"),
    "an array of objects": (np.array([object()]), "ndarray of shape [1]"),
    "a long list": (list(range(10**5)), "list"),
    "a list of lists": ([[1]], "list"),
    "a list that holds itself": (circle(list), "list"),
    "a module": (nn.Linear(2, 2), "Linear"),
    "a function": (len, "builtin_function_or_method"),
    "an integer of 400 digits": (10**400, "int"),
    "what cannot be looked at": (Untouchable(), "Untouchable"),
}


@pytest.mark.parametrize(("value", "expected"), AS_THEY_ARE.values(), ids=AS_THEY_ARE)
def test_what_is_small_and_plain_is_kept(value, expected):
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


@pytest.mark.parametrize(("value", "expected"), DESCRIBED.values(), ids=DESCRIBED)
def test_of_anything_else_type_and_shape_are_said(value, expected):
    assert plain(value) == expected


@pytest.mark.parametrize(
    "value", [circle(dict), Endless(a=1), "x" * 10**7, {"a" * 10**6: 1}, {1: 2}], ids=type
)
def test_whatever_it_is_the_line_is_short(value):
    assert len(json.dumps(plain(value), allow_nan=False)) < 1000


def test_a_weight_for_each_class_of_imagenet_is_read():
    assert plain(torch.ones(21_841)) == [1.0] * 21_841


def test_ctrl_c_while_a_setting_is_read_is_not_swallowed():
    class Slow:
        @property
        def shape(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plain(Slow())


class _Odd(Diagnosable):
    kind = property(lambda self: 1 / 0)

    def config(self):
        return self.config()

    def forward(self, logits, targets):
        return logits.mean()


class _Raises(nn.Module):
    @property
    def weight(self):
        raise RuntimeError("not built yet")

    def forward(self, logits, targets):
        return logits.mean()


def test_a_loss_that_cannot_tell_its_settings_has_none():
    assert config_of(_Odd()) == {"kind": "other"}
    assert config_of(_Raises()) == {"kind": "other"}


def test_settings_that_rules_reckon_with_are_numbers_or_left_out():
    loss_fn = nn.CrossEntropyLoss(weight=torch.ones(3))
    loss_fn.label_smoothing, loss_fn.ignore_index = "much", torch.tensor(255)
    assert config_of(loss_fn) == {
        "kind": "cross_entropy",
        "reduction": "mean",
        "ignore_index": 255,
        "weight": [1.0, 1.0, 1.0],
    }


def test_the_settings_of_a_wrapper_are_read_with_the_same_care():
    warmup = _Raises()
    settings = LossWarmupWrapper(warmup, SmoothAPLoss(1), warmup_epochs=1).config()
    assert settings["warmup_loss"] == {"kind": "other"}
    assert settings["main_loss"]["kind"] == "smooth_ap"


def test_reading_a_huge_weight_copies_nothing():
    matrix = torch.empty(1).expand(1 << 20, 1 << 20)
    start = time.perf_counter()
    plain(matrix)
    assert time.perf_counter() - start < 1.0  # a copy has 4 TiB
