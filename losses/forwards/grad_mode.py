"""Work without gradients that leaves torch's grad mode as it was, whatever comes in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def without_grad(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of ``work(*args, **kwargs)``, computed without a graph.

    The mode is set back twice: Ctrl-C, or a handler that raises, may strike between any two instructions,
    those of a context manager's end among them, and a training loop whose gradients are off is lost.
    """
    if torch.compiler.is_compiling():
        with torch.no_grad():
            return work(*args, **kwargs)
    before = torch.is_grad_enabled()
    try:
        try:
            torch._C._set_grad_enabled(False)
            return work(*args, **kwargs)
        finally:
            torch._C._set_grad_enabled(before)
    finally:
        torch._C._set_grad_enabled(before)
