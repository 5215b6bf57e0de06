"""A warning that is raised once, about values on a device, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._checks import warn


class LateWarning:
    """Looks at flags until one is set, warns once, and never looks again.

    On the CPU the look is immediate. Flags on a device are copied in the background and read at the first
    forward after the copy has arrived: a step or two late, and never a wait.
    """

    def __init__(self) -> None:
        self._done = False
        self._waiting: tuple[Tensor, Any] | None = None

    def _read(self, flags: Tensor, message: Callable[[list[bool]], str]) -> None:
        if flags.device.type == "cpu":
            self._decide(flags, message)
            return
        if self._waiting is not None:
            copy, event = self._waiting
            if not event.query():
                return
            self._waiting = None
            self._decide(copy, message)
        if not self._done and flags.device.type == "cuda":
            copy = flags.to("cpu", non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self._waiting = (copy, event)

    def look(self, flags: Tensor, message: Callable[[list[bool]], str]) -> None:
        """Warn with ``message(flags)`` if any of `[C]` bool `flags` is set. Compiled graphs skip it."""
        if not self._done and not torch.compiler.is_compiling():
            self._read(flags, message)

    def _decide(self, flags: Tensor, message: Callable[[list[bool]], str]) -> None:
        found = [bool(flag) for flag in flags.tolist()]
        if any(found):
            self._done = True
            warn(message(found))

    def __getstate__(self) -> dict[str, Any]:
        # A copy under way belongs to this process.
        return {"_done": self._done, "_waiting": None}
