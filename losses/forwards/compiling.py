"""Listeners of a loss inside a compiled graph: called between two graphs, where the graph may break."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")


#: Calls something without the compiler, and all that it calls. Made late, because it imports the compiler.
_without: Callable[..., Any] | None = None


def outside_the_graph(call: Callable[..., T], *arguments: Any) -> T:
    """Call a listener from a compiled loss, between two graphs.

    Traced too, each change of its state would recompile the loss.
    """
    global _without
    if _without is None:
        _without = torch.compiler.disable(_call)  # type: ignore[no-untyped-call]
    result: T = _without(call, *arguments)
    return result


# What `torch.compiler.disable` leaves on a function.
outside_the_graph._torchdynamo_disable = True  # type: ignore[attr-defined]


def _call(call: Callable[..., T], *arguments: Any) -> T:
    return call(*arguments)


def breaks(otherwise: Callable[[], None]) -> Callable[[], bool]:
    """A question for compiled code: whether its graph may break, for a listener to be called there.

    It is asked once for each graph, while that is traced. ``torch.compile(fullgraph=True)`` and an export
    allow no break.

    Args:
        otherwise: Called each time that the answer is no; it must not raise.
    """

    def asked() -> bool:
        allowed = _may_break()
        if not allowed:
            otherwise()
        return allowed

    # What `torch.compiler.assume_constant_result` leaves on a function: the compiler runs it, untraced.
    asked._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return asked


def _may_break() -> bool:
    """Whether the code that is traced now may be split; False where nobody can tell."""
    compiler = sys.modules.get("torch._dynamo.symbolic_convert")
    try:
        translator = compiler.InstructionTranslator.current_tx()  # type: ignore[union-attr]
        # The first is that of the whole compilation, the second that of a part of it, since torch 2.9.
        return not (translator.one_graph or getattr(translator, "error_on_graph_break", False))
    except AttributeError:  # nothing is traced, or by a compiler that has other names
        return False
