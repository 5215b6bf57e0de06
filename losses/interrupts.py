"""Exceptions that come from outside into the middle of somebody's code.

A handler of a signal may raise: a time limit, a preemption notice, an alarm. Python runs it between two
instructions of whatever code is running, ours among it. Code that survives its own failures must let such an
exception pass: it is meant for the program.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Packages of this distribution, and those whose errors they meet.
_OURS = frozenset({"losses", "imbalance_doctor"})
_MET = _OURS | {"builtins", "torch", "numpy", "pandas", "tensorboard"} | sys.stdlib_module_names

#: Local variables of a handler that are looked at: its parameters, which come first.
_PARAMETERS = 4


def from_outside(error: BaseException) -> bool:
    """Whether an exception was raised by something that interrupted the code which it came through.

    A handler of a signal, like a trace function, is handed the frame that it interrupts: no other function is
    given the very frame that it was called from. What another thread raises here, as some time limits do,
    appears in a line of ours with a type that no line of ours has at hand. An exception that was raised while
    such a one was handled, or because of it, is one too. What is no `Exception` is never ours.
    """
    return not isinstance(error, Exception) or any(map(_is_from_outside, _chain(error)))


def attempt(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """The result of ``work(*args, **kwargs)``, or None where it failed, whatever the reason."""
    try:
        return work(*args, **kwargs)
    except Exception as error:
        if from_outside(error):
            raise
        return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, None if each.__suppress_context__ else each.__context__]


def _is_from_outside(error: BaseException) -> bool:
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        if _was_given(trace.tb_next.tb_frame, trace.tb_frame):
            return True
        trace = trace.tb_next
    raised_here = _root(trace.tb_frame.f_globals.get("__name__")) in _OURS
    return raised_here and _root(type(error).__module__) not in _MET


def _root(module: object) -> str:
    return str(module).partition(".")[0]


def _was_given(frame: FrameType, caller: FrameType) -> bool:
    code = frame.f_code
    values = frame.f_locals
    for name in code.co_varnames[:_PARAMETERS]:
        value = values.get(name)
        if value is caller or (type(value) is tuple and any(each is caller for each in value)):
            return True
    return False
