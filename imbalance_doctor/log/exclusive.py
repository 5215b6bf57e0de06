"""One writer for each file: across processes by a lock of the system, within a process by name."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path
from typing import IO, Protocol

from imbalance_doctor.losses import interrupts

with contextlib.suppress(ImportError):  # no such lock on Windows: two processes are not kept apart there
    import fcntl


class Writer(Protocol):
    """Something that holds a file open."""

    def close(self, why: str = ...) -> None:
        """Let go of the file."""


_writers: weakref.WeakValueDictionary[Path, Writer] = weakref.WeakValueDictionary()


def displace(path: Path) -> None:
    """Close the writer that a file has in this process.

    That happens where a cell of a notebook runs twice, or a training function is called again after an error.
    """
    older = _writers.pop(path, None)
    if older is not None:
        older.close(f"a newer Doctor of this process writes to {path}")


def claim(path: Path, writer: Writer) -> None:
    """Make this the writer of a file of this process; an older one is closed."""
    displace(path)
    _writers[path] = writer


def lock(file: IO[bytes], path: Path) -> None:
    """Keep other processes from writing to an open file, until it is closed or this process ends.

    Raises:
        BlockingIOError: Another process has it.
    """
    if "fcntl" not in globals():
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if interrupts.from_outside(error):  # a time limit is an OSError too
            raise
        if isinstance(error, BlockingIOError):
            raise BlockingIOError(
                f"another process writes to {path}; give each run a directory of its own"
            ) from None
        # Otherwise a file system without locks, or no file of the system at all.


def _let_go_after_fork() -> None:
    """A forked worker must neither write to the run's log nor keep its lock when the run has ended."""
    for writer in list(_writers.values()):
        with contextlib.suppress(Exception):
            writer.close("this process is a forked worker, not the training process")
    _writers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_after_fork)
