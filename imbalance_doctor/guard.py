"""A monitor never ends a training run: whatever fails in it costs one warning and that part of it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from imbalance_doctor.findings import ImbalanceWarning
from imbalance_doctor.losses import interrupts
from imbalance_doctor.texts import clean

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("imbalance_doctor")

attempt, from_outside = interrupts.attempt, interrupts.from_outside

#: Folders whose frames are not the user's: ours, and torch's module calls in between. Reports have no torch.
_FOREIGN = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (__file__, interrupts.__file__, getattr(find_spec("torch"), "origin", None))
    if file
)


def warn(message: str) -> None:
    """Warn at the line of the user's code that led here.

    To say something may fail: an encoding that lacks a letter, a stream that is closed, a filter that makes
    errors of warnings. It is then said through the logger ``imbalance_doctor``, and training goes on.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOREIGN):
        frame, level = frame.f_back, level + 1
    text = clean(message)
    for words in (text, text.encode("ascii", "replace").decode()):
        try:
            warnings.warn(words, ImbalanceWarning, stacklevel=level)
            return
        except UnicodeError:  # the stream has no such letter
            continue
        except Exception as error:
            if from_outside(error):
                raise
            break
    log(logging.WARNING, text)


def log(level: int, message: str) -> None:
    """Say something through the logger ``imbalance_doctor``; a handler that fails loses it."""
    attempt(logger.log, level, "%s", clean(message))


def described(error: BaseException) -> str:
    """An error in words; what it says of itself may fail as well."""
    return clean(f"{type(error).__name__}: {attempt(str, error)}")


class Guard:
    """Runs one part of the monitor until it fails, then says so once and runs it no more.

    What comes from outside into the middle of it, such as a time limit that a handler raises, passes.

    Args:
        part: What it is, as users know it: ``"the run log"``.
        lost: What is no longer done, as a clause.
    """

    def __init__(self, part: str, lost: str) -> None:
        self.part, self.lost = part, lost
        self.failure: str | None = None

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result of ``work(*args, **kwargs)``, or None if it failed now or before."""
        if self.failure is not None:
            return None
        try:
            return work(*args, **kwargs)
        except Exception as error:
            if from_outside(error):
                raise
            self.failure = described(error)
            warn(f"imbalance-doctor: {self.part} failed ({self.failure}); {self.lost}. Training goes on.")
            return None


def failures(*parts: Guard) -> list[str]:
    """What has failed, and what is lost with it."""
    return [f"{part.part} failed: {part.failure}; {part.lost}" for part in parts if part.failure]
