"""Checks of settings and inputs, and warnings that point at the caller.

Every error says what came, what was expected and what to do about it.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import numbers
import operator
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

_OWN_FOLDERS = tuple(f"{Path(file).parent}{os.sep}" for file in (__file__, torch.__file__))


_Choice = TypeVar("_Choice")


def check_choice(name: str, value: object, choices: Sequence[_Choice]) -> _Choice:
    """The one of `choices` that `value` is; `ValueError` if it is none. 0 and 1 are not False and True."""
    for choice in choices:
        if value is choice or (isinstance(value, str) and value == choice):
            return choice
    raise ValueError(f"expected {name} to be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_integer(name: str, value: object, *, least: int | None = None) -> int:
    """The integer that `value` is, numpy's included; `ValueError` if it is none or below `least`."""
    whole = None
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            whole = operator.index(value)  # type: ignore[arg-type]
    if whole is None or (least is not None and whole < least):
        expected = "an integer" if least is None else f"an integer of at least {least}"
        raise ValueError(f"expected {name} to be {expected}, got {value!r}")
    return whole


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """The finite number that `value` is, numpy's included; `ValueError` if it is none or out of bounds."""
    bounds = [
        f"{sign} {bound}"
        for sign, bound in ((">", above), (">=", least), ("<=", most), ("<", below))
        if bound is not None
    ]
    expected = " and ".join(["a finite number", *bounds])
    if type(value) is not bool and isinstance(value, numbers.Real) and math.isfinite(value):
        # numpy's numbers become plain ones, which every log can hold.
        number = int(value) if isinstance(value, numbers.Integral) else float(value)
        inside = (
            (above is None or number > above)
            and (least is None or number >= least)
            and (most is None or number <= most)
            and (below is None or number < below)
        )
        if inside:
            return number
    raise ValueError(f"expected {name} to be {expected}, got {value!r}")


def check_tensors(**values: object) -> None:
    """Raise `TypeError` unless all are tensors."""
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"expected {name} to be a torch.Tensor, got {type(value).__name__}")


def looks_are_free(x: Tensor) -> bool:
    """Whether the host may look at a value of `x` at no cost: on the CPU, in plain eager mode.

    A device would be waited for, and a compiled graph cannot branch on a value, nor can `torch.func.vmap`.
    Whatever a look decides is therefore a shortcut: without it the same result is computed with masks.
    """
    return x.is_cpu and not torch.compiler.is_compiling() and not is_transformed(x)


def is_transformed(x: Tensor) -> bool:
    """Whether `x` stands for another tensor in a transform of `torch.func`, such as a batch of them."""
    return not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(x)


def in_transform() -> bool:
    """Whether this runs inside a transform of `torch.func`, where values stand for others."""
    return not torch.compiler.is_compiling() and torch._C._functorch.maybe_current_level() is not None


def check_plain_autograd(name: str, x: Tensor) -> None:
    """Raise `RuntimeError` inside a transform of `torch.func` and for a tensor with a forward-mode tangent.

    For losses that leave torch's operations, which no transform follows.
    """
    if torch.compiler.is_compiling():
        return
    # The level is looked at first, because it is an attribute, and below 0 almost always.
    forward_mode = forward_ad._current_level >= 0
    if (forward_mode and forward_ad.unpack_dual(x).tangent is not None) or is_transformed(x):  # type: ignore[no-untyped-call]
        raise RuntimeError(
            f"expected {name} to be differentiated by autograd, got a transform of torch.func or "
            "forward-mode differentiation, which it does not support: use torch.autograd.grad, with "
            "create_graph=True for a second derivative"
        )


def require(condition: Tensor, message: Callable[[], str]) -> None:
    """Raise `ValueError` where a 0-dim bool tensor is false.

    On the CPU the look is free. A device is not waited for: there, and inside a compiled graph, the check
    runs on the device as an assertion, as torch's own indexing checks do. Inside a transform of `torch.func`
    it looks at the CPU's values alone, and a message cannot show them.
    """
    if is_transformed(condition):
        if not _holds_inside(condition):
            raise ValueError("invalid input to a loss: call it outside torch.func for the details")
    elif not looks_are_free(condition):
        torch._assert_async(condition, "invalid input to a loss: run this batch on the CPU for the details")
    elif not bool(condition):
        raise ValueError(message())


def check_weight(sample_weight: Tensor) -> None:
    """`ValueError` unless weights are finite and not negative."""
    good = sample_weight.isfinite() & (sample_weight >= 0)
    require(
        good.all(),
        lambda: (
            f"expected sample_weight to be finite and >= 0, got {sample_weight[~good][0].item():g}: give "
            "rows that should not count the weight 0"
        ),
    )


def _holds_inside(condition: Tensor) -> bool:
    """Whether the condition is true for all that it stands for inside transforms of `torch.func`."""
    while is_transformed(condition):
        condition = torch._C._functorch.get_unwrapped(condition)
    # In NumPy, because an operation of torch would be transformed too.
    return not condition.is_cpu or bool(np.all(condition.tolist()))


def warn(message: str) -> None:
    """Issue a `UserWarning` that points at the first caller outside this package and torch."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_OWN_FOLDERS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
