"""Exceptions from outside, at any instruction of ours: Ctrl-C, time limits, notices of preemption."""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from imbalance_doctor import Doctor, diagnose, load_run
from tests.promise.runs import EVERY, LOSSES, STEPS, Loop, settings
from tests.promise.trials import Tried, tried

OURS = tuple(str(Path(__file__).parents[2] / package) for package in ("imbalance_doctor", "losses"))


class PreemptedError(Exception):
    """As a handler of SIGTERM raises it."""


KINDS = {"KeyboardInterrupt": KeyboardInterrupt, "TimeoutError": TimeoutError, "Preempted": PreemptedError}


class Striker:
    """Counts our instructions, and raises at one of them, as the handler of a signal would."""

    def __init__(self, at: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.at, self.error = at, error
        self.count = 0
        self.where = ""

    @contextmanager
    def on(self) -> Iterator[None]:
        """Count, or strike, in what runs here."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._instruction

    def _instruction(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise self.error
        return self._instruction


def instructions(loss: str, logged: bool) -> int:
    """Instructions of ours in a whole run."""
    striker = Striker()
    _run(loss, logged, striker)
    return striker.count


def _run(loss: str, logged: bool, striker: Striker) -> list[str]:
    """One run that goes on after each exception; what was wrong with it."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        given = settings(Path(folder) / "run" if logged else None)
        doctor = Doctor(**given)
        loop = Loop(doctor, loss)
        raised = 0
        for _ in range(3):
            try:
                with striker.on():
                    loop.run()
                    doctor.close()
                break
            except striker.error:
                raised += 1
                if not torch.is_grad_enabled():
                    wrong.append("grad mode is off")
                    torch.set_grad_enabled(True)
        doctor.close()
        if raised != bool(striker.where):
            wrong.append(f"{raised} exceptions reached the loop")
        records = [record.step for record in doctor.run.steps()]
        due = range(0, STEPS, EVERY)
        if len(records) < len(due) - 2 or records[-1] < STEPS - 2 * EVERY:
            wrong.append(f"records of {records}")
        (calls,) = (sink.calls for sink in given["sinks"])
        if (calls[0], calls[-1], calls.count("close")) != ("begin", "close", 1):
            wrong.append(f"calls of a sink {calls}")
        live, later = doctor.diagnosis, diagnose(load_run(Path(folder) / "run") if logged else doctor.run)
        if _told(live) != _told(later):
            wrong.append(f"live {_told(live)}, report {_told(later)}")
        wrong += [str(each.message) for each in told if "failed" in str(each.message)]
    return wrong


def _told(diagnosis: Any) -> list[dict[str, Any]]:
    return [finding.to_dict() for finding in diagnosis.findings]


def trials(count: int, seed: int = 0) -> list[Tried]:
    """As many trials, over all losses, runs with and without a log, and kinds of exceptions."""
    draw = random.Random(seed)
    known: dict[tuple[str, bool], int] = {}
    results = []
    for name, error in KINDS.items():
        labels = []
        for _ in range(-(-count // len(KINDS))):
            case = draw.choice(list(LOSSES)), draw.random() < 0.7
            known.setdefault(case, 0) or known.update({case: instructions(*case)})
            labels.append(f"{case[0]} {'log' if case[1] else 'memory'} {draw.randint(1, known[case])}")

        def trial(label: str, error: type[BaseException] = error) -> Iterable[str]:
            loss, place, at = label.split()
            striker = Striker(int(at), error)
            faults = _run(loss, place == "log", striker)
            if not striker.where:  # what ran for the first time, when instructions were counted, took more
                striker = Striker(int(at) // 2, error)
                faults = _run(loss, place == "log", striker)
            return [f"{fault} ({striker.where or 'nowhere'})" for fault in faults]

        results.append(tried(f"{name} at any instruction", labels, trial))
    return results
