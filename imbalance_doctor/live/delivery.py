"""The way to one sink: a thread of its own, so that one that is slow or fails is nobody else's matter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from imbalance_doctor.findings import Finding
from imbalance_doctor.guard import Guard, failures, warn
from imbalance_doctor.live.sinks import Sink, name_of
from imbalance_doctor.records import Record, RunInfo, StepRecord
from imbalance_doctor.render.cleaned import Cleaned

#: Calls that wait for a sink before records are left out: as many records as the rules keep of a loss, so
#: that a sink that hangs holds no more memory than they do.
MOST_WAITING = 200

#: Seconds that the end of a run waits for a sink. Slurm and Kubernetes give a process that they end 30.
PATIENCE = 30.0


class Delivery:
    """Calls one sink from a thread, in the order in which it is called itself.

    What the sink raises is told where the next call comes by, in the thread of the training loop.

    Args:
        sink: The sink.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink, self._name = sink, name_of(sink)
        self._guard = Guard(self._name, "nothing more is sent there")
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        #: Whether a session has begun and the run is not over, here and as far as the thread has come.
        self._open = self._begun = False
        self._error: Exception | None = None
        self._left_out = 0
        self._cleaned = Cleaned()  # of the thread

    @property
    def notes(self) -> list[str]:
        """What a reader of the diagnosis should know."""
        slow = f"{self._name} was slower than the run: {self._left_out:,} records were not sent to it"
        return [*failures(self._guard), *([slow] if self._left_out else [])]

    def begin(self, info: RunInfo) -> None:
        """A session begins."""
        self._open = True
        self._send(partial(self._begin, info))

    def record(self, record: Record) -> None:
        """Send a record, if there is a session."""
        dispensable = isinstance(record, StepRecord)
        self._send(lambda: self._sink.record(self._cleaned.record(record)), dispensable=dispensable)

    def finding(self, finding: Finding) -> None:
        """Send a finding, if there is a session."""
        self._send(lambda: self._sink.finding(self._cleaned.finding(finding)))

    def close(self) -> None:
        """The run is over; nothing if there is no session."""
        self._send(self._close)
        self._open = False

    def join(self, until: float) -> None:
        """Wait until the sink has taken everything, after `close`.

        Args:
            until: When to wait no longer, by the monotonic clock.
        """
        self._guard(self._join, until)

    def _send(self, call: Callable[[], None], *, dispensable: bool = False) -> None:
        if self._open:
            self._guard(self._put, call, dispensable)

    def _put(self, call: Callable[[], None], dispensable: bool) -> None:
        if self._error is not None:
            raise self._error
        if dispensable and self._calls.qsize() >= MOST_WAITING:
            self._leave_out()
            return
        self._calls.put(call)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="imbalance-doctor", daemon=True)
            self._thread.start()

    def _leave_out(self) -> None:
        self._left_out += 1
        if self._left_out == 1:
            warn(
                f"imbalance-doctor: {self._name} is slower than the run: {MOST_WAITING} calls wait for it. "
                "Step records are not sent there until it has caught up; the run log has all of them."
            )

    def _join(self, until: float) -> None:
        thread = self._thread
        if self._open or thread is None or thread is threading.current_thread():
            return
        thread.join(max(0.0, until - time.monotonic()))
        if self._error is not None:
            raise self._error
        if thread.is_alive():
            raise TimeoutError(f"it had not finished {PATIENCE:.0f} s after the end of the run")

    # --- in the thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        """One call after the other, until the sink is closed or fails."""
        try:
            while True:
                self._calls.get()()
                if not self._begun:
                    return
        except Exception as error:
            self._error = error

    def _begin(self, info: RunInfo) -> None:
        self._begun = True
        self._sink.begin(self._cleaned.info(info))

    def _close(self) -> None:
        if self._begun:  # an interruption may have it sent twice
            self._begun = False
            self._sink.close()
