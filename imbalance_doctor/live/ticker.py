"""A clock of the monitor's own: what waits for the next step is not lost where that step never comes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

#: Seconds from one look at the clock to the next. Two looks a second cost a training loop some 20
#: microseconds, and keep the two seconds that are promised with room for a slow one.
TICK = 0.5


class Ticker:
    """Calls a method again and again, on a thread that neither keeps its object nor the process alive.

    Args:
        call: A bound method.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = weakref.WeakMethod(call)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun: a fork has no thread of its parent's."""
        if self._thread is None or not self._thread.is_alive():
            self._over = threading.Event()
            self._thread = threading.Thread(
                target=_tick, args=(self._call, self._over), name="imbalance-doctor", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._over.set()


def _tick(method: weakref.WeakMethod[Callable[[], object]], over: threading.Event) -> None:
    while not over.wait(TICK):
        call = method()
        if call is None:
            return
        call()
        del call
