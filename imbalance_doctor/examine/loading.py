"""A run from wherever its log is: our own, or one that something else wrote."""

from __future__ import annotations

from pathlib import Path

from imbalance_doctor.foreign import format_of
from imbalance_doctor.log.run import Run, RunPath, RunReader


def load_run(run: RunPath) -> Run:
    """Read a run: a run directory, one of its log files, or a log in one of the formats of `foreign`.

    Raises:
        LogError: There is nothing to read, or it cannot be read; the message says what and where.
    """
    form = format_of(Path(run))
    if form is None:
        return RunReader(run, pipe=True).read_on()
    found: Run = form.read(Path(run))
    return found
