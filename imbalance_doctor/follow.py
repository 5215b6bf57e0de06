"""Follows a run while it is written: what to show is decided here, how is the caller's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imbalance_doctor.diagnose import diagnose
from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.records import EndRecord
from imbalance_doctor.run import load_run
from imbalance_doctor.runlog import LogError
from imbalance_doctor.selection import Choice


@dataclass(frozen=True)
class Look:
    """The run at one moment. Before its log is there, there is no diagnosis."""

    diagnosis: Diagnosis | None
    ended: bool


def follow(
    run: Path, project: Choice, *, interval: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Look]:
    """A look at a run each time its log has grown, until the run ends.

    The log is read anew each time: a run of 100,000 steps takes a fraction of a second.

    Args:
        run: A run directory or a log file; it may not be there yet.
        project: What holds where the run itself says nothing.
        interval: Seconds from one look to the next.
        sleep: How to wait.

    Raises:
        LogError: There is a log that cannot be read.
    """
    seen: tuple[int, ...] | None = None
    while True:
        sizes = tuple(file.stat().st_size for file in _logs(run))
        if sizes != seen:
            seen = sizes
            look = _look(run, project) if sizes else Look(None, ended=False)
            yield look
            if look.ended:
                return
        sleep(interval)


def _look(run: Path, project: Choice) -> Look:
    loaded = load_run(run)
    return Look(diagnose(loaded, project=project), any(isinstance(r, EndRecord) for r in loaded.records[-1:]))


def _logs(run: Path) -> list[Path]:
    if run.is_dir():
        return sorted(file for file in run.glob("diagnostics-rank*.jsonl") if file.stat().st_size)
    if run.exists() or run.suffix:
        return [run] if run.exists() and run.stat().st_size else []
    if not run.parent.exists():
        raise LogError(f"{run}: no such file or directory, and nor is {run.parent}; give a run directory")
    return []
