"""Failures of our own: each function that a training loop leads into raises, one after the other."""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import torch

from imbalance_doctor import Doctor
from tests.promise.runs import LOSSES, Loop, settings
from tests.promise.trials import Tried, tried

ROOT = Path(__file__).parents[2] / "imbalance_doctor"

#: What catches failures, and has nobody to catch its own.
BORDER = ("guard.py", "boundary.py")


#: What a loop and torch call first, a few lines that only hand on.
FIRST = ("Doctor.step", "_ForwardHook.__call__")


def _fail(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("planted")


def functions_of(loss: str) -> dict[str, CodeType]:
    """What a run calls of ours after the doctor is made, by a name for each."""
    found: dict[str, CodeType] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(ROOT) and file.name not in BORDER:
            name = f"{file.relative_to(ROOT)}:{frame.f_code.co_firstlineno}:{frame.f_code.co_qualname}"
            if frame.f_code.co_qualname not in FIRST:
                found[name] = frame.f_code

    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(Doctor(**settings(Path(folder) / "run")), loss)
        sys.setprofile(note)
        try:
            loop.run()
            loop.doctor.close()
        finally:
            sys.setprofile(None)
    return found


@contextmanager
def failing(code: CodeType) -> Iterator[None]:
    """Let the functions with this code raise."""
    owners = [
        each for each in gc.get_referrers(code) if isinstance(each, FunctionType) and each.__code__ is code
    ]
    broken = _fail.__code__.replace(co_freevars=code.co_freevars)
    for owner in owners:
        owner.__code__ = broken
    try:
        yield
    finally:
        for owner in owners:
            owner.__code__ = code


def _alone(loss: str) -> torch.Tensor:
    """What is learnt where nobody watches."""

    class Nobody:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: []

    loop = Loop(Nobody(), loss)  # type: ignore[arg-type]
    loop.run()
    return loop.weights()


def _run(loss: str, code: CodeType, expected: torch.Tensor) -> list[str]:
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        doctor = Doctor(**settings(Path(folder) / "run"))
        loop = Loop(doctor, loss)
        try:
            with failing(code):
                loop.run()
                doctor.close()
                state = doctor.state_dict()
                doctor.findings, str(doctor.diagnosis.notes)
        except Exception as error:
            return [f"{type(error).__name__} ended the run: {error}"]
        if not torch.equal(loop.weights(), expected):
            wrong.append("other weights were learnt")
        if not isinstance(state, dict):
            wrong.append(f"state {state}")
        if len(told) > 60:  # one for each rule, where all of them fail
            wrong.append(f"{len(told)} warnings")
    return wrong


def trials_of(loss: str, count: int | None = None, seed: int = 0) -> Tried:
    """A trial for each function of a run, or for some of them."""
    codes = functions_of(loss)
    chosen = sorted(codes) if count is None else random.Random(seed).sample(sorted(codes), count)
    expected = _alone(loss)
    return tried(
        f"a failure in each function, {loss}", chosen, lambda name: _run(loss, codes[name], expected)
    )


def trials() -> list[Tried]:
    """A trial for each function of each loss's run."""
    return [trials_of(loss) for loss in LOSSES]
