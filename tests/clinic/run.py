"""Carries out many runs on several processes."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.clinic.clinic import ClinicRun, train

T = TypeVar("T")

#: Lines that a pipe gets for each batch of runs, where a terminal has a bar.
LINES = 10

#: Handed to the workers by forking: a run holds functions, which no pickle takes.
_runs: dict[str, ClinicRun] = {}


def carry_out(
    runs: Mapping[str, ClinicRun],
    workers: int,
    what: str,
    measure: Callable[[ClinicRun], T] = train,  # type: ignore[assignment]
) -> dict[str, T]:
    """Train every run, each in one thread of one of `workers` processes, and say how far it has got.

    `measure` carries a run out and returns what is wanted of it; by default that is its whole outcome.
    A run that goes by several names, as the healthy twin of several faults, is trained once.
    """
    name_of: dict[ClinicRun, str] = {}
    for name, run in runs.items():
        name_of.setdefault(run, name)
    _runs.clear()
    _runs.update({name: runs[name] for name in name_of.values()})
    outcomes: dict[str, T] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    fork = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(workers, mp_context=fork) as pool,
        Progress(*columns, disable=not sys.stdout.isatty()) as bar,
    ):
        task = bar.add_task(what, total=len(_runs))
        waiting = {pool.submit(_measured, name, measure): name for name in _runs}
        for done, future in enumerate(as_completed(waiting), 1):
            outcomes[waiting[future]] = future.result()
            bar.advance(task)
            if bar.disable and done * LINES // len(_runs) > (done - 1) * LINES // len(_runs):
                print(f"{what}: {done} of {len(_runs)}", flush=True)
    return {name: outcomes[name_of[run]] for name, run in runs.items()}


def _measured(name: str, measure: Callable[[ClinicRun], T]) -> T:
    torch.set_num_threads(1)
    try:
        return measure(_runs[name])
    except Exception as error:
        raise RuntimeError(f"the run {name!r} failed") from error
