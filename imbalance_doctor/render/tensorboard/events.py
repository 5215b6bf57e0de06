"""An event file of TensorBoard's, written in the thread that draws: what fails there is caught there.

torch's ``SummaryWriter`` writes in a thread of its own, which dies with a traceback on a full disk.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary as _summary

summary: Any = _summary  # has no types


class EventFile:
    """Takes what panels give to a ``SummaryWriter``; what was added is in the file after `flush`.

    Args:
        folder: Where the file goes; made if it is not there.
        first_step: What earlier files of the folder hold from this step on is hidden; 0 hides nothing.

    Raises:
        OSError: The file cannot be made or, later, written; it is closed then.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names: by the second they were made.
        name = f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
        self._file = next(filter(None, (_made(folder / f"{name}.{number:03}") for number in count())))
        self._links = os.fstat(self._file.fileno()).st_nlink
        self._waiting = io.BytesIO()
        self._records = RecordWriter(self._waiting)
        self._add(Event(file_version="brain.Event:2"))
        if first_step:
            self._add(Event(session_log=SessionLog(status=SessionLog.START)), first_step)
        self.flush()

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """A point of a line."""
        self._add(Event(summary=summary.scalar(tag, value)), step)

    def add_text(self, tag: str, text: str, step: int) -> None:
        """A text in Markdown."""
        self._add(Event(summary=summary.text(tag, text)), step)

    def add_histogram_raw(self, tag: str, *, global_step: int, **bins: Any) -> None:
        """A histogram of counts and edges."""
        self._add(Event(summary=summary.histogram_raw(tag, **bins)), global_step)

    def add_custom_scalars(self, layout: Mapping[str, Any]) -> None:
        """The layout of the charts that show several lines."""
        self._add(Event(summary=summary.custom_scalars(layout)))

    def flush(self) -> None:
        """Put down what was added."""
        waiting = memoryview(self._waiting.getvalue())
        self._waiting.seek(0)
        self._waiting.truncate()
        try:
            if os.fstat(self._file.fileno()).st_nlink < self._links:
                raise OSError(errno.ENOENT, "the file was removed")
            while waiting:
                waiting = waiting[self._file.write(waiting) :]
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError):
                error.filename = self._file.name
            raise

    def close(self) -> None:
        """Put down the rest, and close the file."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def _add(self, event: Event, step: int = 0) -> None:
        event.wall_time, event.step = time.time(), int(step)
        self._records.write(event.SerializeToString())


def _made(path: Path) -> io.FileIO | None:
    """A new file; None where there is something by that name, be it a link."""
    try:
        return open(path, "xb", buffering=0)
    except FileExistsError:
        return None
