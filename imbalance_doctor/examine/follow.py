"""Follows a run while it is written: what to show is decided here, how is the caller's."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imbalance_doctor.examine.diagnose import Examination
from imbalance_doctor.examine.selection import Choice
from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.log import LogError
from imbalance_doctor.log.run import RunReader
from imbalance_doctor.records import EndRecord


@dataclass(frozen=True)
class Look:
    """The run at one moment. Before its log is there, there is no diagnosis."""

    diagnosis: Diagnosis | None
    ended: bool


def follow(
    run: Path, project: Choice, *, interval: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Look]:
    """A look at a run each time its log has grown, until the run ends.

    What was read and examined before is not read again, unless a new session supersedes it.

    Args:
        run: A run directory or a log file; it may not be there yet.
        project: What holds where the run itself says nothing.
        interval: Seconds from one look to the next.
        sleep: How to wait.

    Raises:
        LogError: There is a log that cannot be read.
    """
    reader = RunReader(run)
    examination = Examination(Choice(), None, project)
    seen: object = None
    while True:
        logs = _logs(run)
        if logs != seen:
            seen = logs
            look = _look(reader, examination) if logs else Look(None, ended=False)
            yield look
            if look.ended:
                return
        sleep(interval)


def _look(reader: RunReader, examination: Examination) -> Look:
    run = reader.read_on()
    return Look(examination.read_on(run), any(isinstance(r, EndRecord) for r in run.records[-1:]))


def _logs(run: Path) -> list[tuple[Path, int, int]]:
    """The logs of a run as they are now: which files, and how long."""
    if run.is_dir():
        files = sorted(run.glob("diagnostics-rank*.jsonl"))
    elif run.exists() or run.suffix or run.parent.exists():
        files = [run]
    else:
        raise LogError(
            f"{run}: no such file or directory, and its parent does not exist either; give a run directory"
        )
    found = []
    for file in files:
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        if status.st_size or not stat.S_ISREG(status.st_mode):  # or an empty log, yet to be written
            found.append((file, status.st_ino, status.st_size))
    return found
