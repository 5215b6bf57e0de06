"""Kills at random moments: what was due two seconds before is on disk, and the next session goes on."""

from __future__ import annotations

import logging
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from imbalance_doctor import Doctor, diagnose, load_run
from tests.promise.runs import LOSSES, Loop
from tests.promise.trials import Tried

SESSIONS = 3

#: Seconds after which a record is promised to be on disk.
PROMISED = 2.0

#: Runs at the same time: most of a run is waiting.
TOGETHER = 8


def _train(run_dir: Path, clock: Path, loss: str, hangs_at: int, pause: float) -> None:
    """A process that is going to be killed; each step that is over is noted with its time."""
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    with clock.open("ab", buffering=0) as file:
        doctor = Doctor(run_dir, every=1, on_finding="log")
        loop = Loop(doctor, loss)
        loop.step = _next(run_dir)
        while True:
            step = loop.step
            loop.run(step + 1)
            file.write(f"{step} {time.monotonic()}\n".encode())
            time.sleep(3600 if step >= hangs_at else pause)


def _next(run_dir: Path) -> int:
    if not any(run_dir.glob("*.jsonl")):
        return 0
    return 1 + max((record.step for record in load_run(run_dir).steps()), default=-1)


def _session(folder: Path, number: int, loss: str, draw: random.Random) -> list[str]:
    run_dir, clock = folder / "run", folder / f"clock{number}"
    hangs_at = draw.choice([10**6, _next(run_dir) + draw.randint(1, 40)])
    pause, lives = draw.uniform(0, 0.02), draw.uniform(0.1, 1.5)
    child = os.fork()
    if child == 0:
        try:
            _train(run_dir, clock, loss, hangs_at, pause)
        finally:
            os._exit(1)
    time.sleep(lives)
    if hangs_at < 10**6:
        _wait_for(clock, hangs_at)
        time.sleep(PROMISED + 0.1)
    os.kill(child, signal.SIGKILL)
    killed = time.monotonic()
    os.waitpid(child, 0)
    noted = [line.split() for line in clock.read_text().splitlines()] if clock.exists() else []
    due = {int(step) for step, at in noted if float(at) <= killed - PROMISED}
    try:
        run = load_run(run_dir) if noted else None
        diagnosis = None if run is None else diagnose(run)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    if run is None or diagnosis is None:
        return []
    there = {record.step for record in run.steps()}
    wrong = [f"steps {sorted(due - there)} are not on disk"] if due - there else []
    if there and sorted(there) != list(range(max(there) + 1)):
        wrong.append(f"steps {sorted(set(range(max(there))) - there)} are missing in the middle")
    return wrong


def _wait_for(clock: Path, step: int) -> None:
    """Until a step is over; a minute at the most."""
    for _ in range(600):
        if clock.exists() and f"{step} " in clock.read_text():
            return
        time.sleep(0.1)


def _run(label: str) -> list[str]:
    seed, loss = label.split()
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        found = (_session(Path(folder), number, loss, draw) for number in range(SESSIONS))
        return [f"session {number}: {fault}" for number, faults in enumerate(found) for fault in faults]


def trials(count: int, seed: int = 0) -> list[Tried]:
    """As many runs of three sessions, each of which is killed."""
    names = list(LOSSES)
    labels = [f"{seed}-{number} {names[number % len(names)]}" for number in range(count)]
    result = Tried("kill -9, three sessions each")
    with ThreadPoolExecutor(TOGETHER) as pool:
        faults: Iterable[list[str]] = pool.map(_run, labels)
        for label, found in zip(labels, faults, strict=True):
            result.add(found, label)
    return [result]
