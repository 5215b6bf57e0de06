"""The border between a training loop and the monitor: everything that a loop calls goes through here.

A failure of ours costs a warning and what was asked for, and never the run. What is not ours, Ctrl-C or a
time limit that the handler of a signal raises, passes at once, wherever it strikes; so what a call has left
half done is not tidied up while the exception passes, where a second one could strike, but before the next
call.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial, wraps
from types import FrameType
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import torch

from imbalance_doctor.guard import attempt, described, from_outside, warn

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

#: Seconds after which a call that finds another thread inside does without its turn. A record takes
#: milliseconds, an evaluation of millions of rows seconds, or minutes on a busy machine.
PATIENCE = 600.0


#: Calls of the loop that fail in a row, after which the monitor leaves it alone: one may be bad luck.
MOST_IN_A_ROW = 3


class Guarded(Protocol):
    """Something with methods that a training loop calls."""

    def failed(self, call: str, error: Exception, lost: str) -> None:
        """Say that a call has failed, and what is lost with it."""


def guarded(
    call: str,
    lost: str,
    otherwise: Callable[[Any], Any],
    *,
    passes: tuple[type[Exception], ...] = (),
) -> Callable[[F], F]:
    """Keep what fails in a method from the training loop that calls it.

    Torch's grad mode is afterwards what it was: an exception may come between our switching it off and on.

    Args:
        call: What users know it as.
        lost: What is lost where it fails, as a clause.
        otherwise: Makes what is returned then, from the object whose method it is.
        passes: Errors that the method is documented to raise.
    """

    def decorate(method: F) -> F:
        @wraps(method)
        def within(self: Guarded, *args: Any, **kwargs: Any) -> Any:
            graded = torch.is_grad_enabled()
            try:
                try:
                    return method(self, *args, **kwargs)
                finally:
                    torch._C._set_grad_enabled(graded)
            except passes:
                raise
            except Exception as error:
                if from_outside(error):
                    raise
                attempt(self.failed, call, error, lost)
                return otherwise(self)
            finally:  # once more, for what strikes in the `finally` above
                torch._C._set_grad_enabled(graded)

        return cast(F, within)

    return decorate


class Failures:
    """What has failed of the calls into one monitor: said once for each kind, and kept for the diagnosis."""

    def __init__(self) -> None:
        self._in_a_row = 0  # calls that have failed, without one that went well between them
        self._said: dict[str, str] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the diagnosis should know."""
        return tuple(self._said.values())

    def add(self, call: str, error: Exception, lost: str) -> bool:
        """A call has failed, and something is lost with it; whether that has now been so too often."""
        self._in_a_row += 1
        self.say(call, f"{call} failed ({described(error)}); {lost}", " Training goes on.")
        if self._in_a_row != MOST_IN_A_ROW:
            return False
        text = f"{MOST_IN_A_ROW} calls in a row failed; nothing more is recorded"
        self.say("all", text, " Training goes on.")
        return True

    def went_well(self) -> None:
        """A call has not failed."""
        self._in_a_row = 0

    def say(self, kind: str, text: str, also: str = "") -> None:
        """Warn of something, unless that is what was last said of its kind.

        Args:
            kind: The kind.
            text: What to say, and to keep.
            also: What is said besides.
        """
        if self._said.get(kind) != text:
            self._said[kind] = text
            warn(f"imbalance-doctor: {text}.{also}")


class Turns:
    """Calls into one monitor, one at a time, each of them after a tidy one.

    Args:
        tidy: A method, called where the call before was cut short, before the next one does anything. Its
            object is not kept alive.
    """

    def __init__(self, tidy: Callable[[], None]) -> None:
        self._tidy = weakref.WeakMethod(tidy)
        self._lock = threading.RLock()
        #: The call that has not said that it is over.
        self._frame: FrameType | None = None
        _all.add(self)

    def take(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of ``work(*args, **kwargs)``, once no other thread is inside.

        Raises:
            TimeoutError: Another thread has been inside for ten minutes.
        """
        return self._in_turn((), partial(work, *args, **kwargs))

    def ask(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for work that may refuse, by a `TypeError` or `ValueError`, before it changes a thing."""
        return self._in_turn((TypeError, ValueError), partial(work, *args, **kwargs))

    def _in_turn(self, refusals: tuple[type[Exception], ...], work: Callable[[], T]) -> T:
        if not self._lock.acquire(timeout=PATIENCE):
            raise TimeoutError(f"another thread has used the monitor for {PATIENCE:.0f} s")
        try:
            return self._next(refusals, work)
        finally:
            self._lock.release()

    def take_if_free(self, work: Callable[[], T]) -> T | None:
        """The same where nobody is inside; None where somebody is."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._next((), work)
        finally:
            self._lock.release()

    def _next(self, refusals: tuple[type[Exception], ...], work: Callable[[], T]) -> T:
        if self._frame is not None:
            if _is_running(self._frame):
                return work()
            tidy = self._tidy()
            if tidy is not None:
                tidy()
        self._frame = sys._getframe()
        try:
            result = work()
        except refusals as error:
            if not from_outside(error):
                self._frame = None
            raise
        self._frame = None
        return result

    def after_fork(self) -> None:
        """The thread that may have been inside is not in this process."""
        self._lock = threading.RLock()


def _is_running(frame: FrameType) -> bool:
    """Whether a call is one of those that led here."""
    each: FrameType | None = sys._getframe()
    while each is not None:
        if each is frame:
            return True
        each = each.f_back
    return False


_all: weakref.WeakSet[Turns] = weakref.WeakSet()


def _renew() -> None:
    for turns in list(_all):
        turns.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
