"""The watched losses of one run, and when each of them leaves its next record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from imbalance_doctor.checkup import LOOK_EVERY
from imbalance_doctor.guard import Guard, warn
from imbalance_doctor.recorder import Heard, Watcher, to_host
from imbalance_doctor.records import Array, StepRecord
from imbalance_doctor.schedule import Schedule

#: Steps that were due and left nothing, before a loss that was never called is asked about.
PATIENCE = 20

#: Seconds from one step that is due to the next, up to which a record may wait for the look that it belongs
#: to. At most four wait, so that a process that is killed loses about a second of records; where steps are
#: slower than that, what waiting saves, a millisecond or two a look, is less than 0.2 % of them.
SHORT_GAP = 0.25


@dataclass(frozen=True)
class _Waiting:
    """A record that is yet to be made of what was heard."""

    step: int  # counted from 0
    number: int  # as the user calls it
    watcher: Watcher
    heard: Heard
    metrics: dict[str, float]


class Watchers:
    """The losses that are listened to. Steps are counted from 0 here, whatever the user calls them.

    Counts of a small batch are made some records at once: the first call of torch or NumPy after a training
    step finds the caches full of something else and takes three times as long as the next. So what was heard
    waits, until something else is to be told or the rules look.

    Args:
        every: As in `Doctor`.
        total_steps: As in `Doctor`.
        note: Told what a reader of the run should know.
    """

    def __init__(self, every: int, total_steps: int | None, note: Callable[[str], None]) -> None:
        self.every, self._total_steps, self._note = every, total_steps, note
        #: The first step after which there is something to do again: to arm a loss, or to take its record.
        self.wake = 0
        self.statistics = Guard("the statistics of a watched loss", "it is no longer recorded")
        self.transfer = Guard("reading the statistics", "nothing more is recorded")
        self._by_name: dict[str, Watcher] = {}
        self._waiting: list[_Waiting] = []
        self._last = time.monotonic()

    def __iter__(self) -> Iterator[Watcher]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Watcher | None:
        """The watcher of this name, if there is one."""
        return self._by_name.get(name)

    def add(self, loss_fn: nn.Module, name: str | None, step: int) -> Watcher:
        """Listen to a loss from a step on.

        Raises:
            TypeError: It is not a module.
            ValueError: The name is taken, or the loss is watched already.
        """
        if not isinstance(loss_fn, nn.Module):
            raise TypeError(
                f"expected a loss module; got {type(loss_fn).__name__}. Wrap a function in an nn.Module "
                "whose forward takes (logits, targets)"
            )
        if any(watcher.module is loss_fn for watcher in self):
            raise ValueError("this loss is watched already")
        if name is not None and name in self._by_name:
            raise ValueError(f"a loss is watched as {name!r} already; give another name")
        kind = str(getattr(loss_fn, "kind", type(loss_fn).__name__))
        chosen = name or kind
        while chosen in self._by_name:
            chosen = f"{kind}_{len(self._by_name) + 1}"
        schedule = Schedule(self.every, self._total_steps, step)
        watcher = self._by_name[chosen] = Watcher(chosen, loss_fn, schedule, self.statistics)
        self.arm(step)
        return watcher

    def arm(self, step: int) -> None:
        """A step is about to begin: what it is to leave, and when the next look is due."""
        for watcher in self:
            watcher.next_step(step)
        self.wake = min((watcher.schedule.due for watcher in self), default=0)

    def take(self, step: int, number: int, metrics: Callable[[], dict[str, float]]) -> list[StepRecord]:
        """The step is over.

        Args:
            step: Counted from 0.
            number: What the user calls it.
            metrics: Reads what to keep beside its records.

        Returns:
            The records that are ready, in the order of the run.
        """
        due = [watcher for watcher in self if watcher.schedule.due == step]
        if not due:
            return []
        values, hurry = metrics(), False
        for watcher in due:
            heard = watcher.take()
            watcher.schedule.recorded()
            if heard is not None:
                hurry |= not heard.may_wait
                self._waiting.append(_Waiting(step, number, watcher, heard, values))
                continue
            watcher.missed += 1
            if watcher.missed == PATIENCE and not watcher.trained:
                _ask_about(watcher, step)
        now = time.monotonic()
        gap, self._last = now - self._last, now
        many = len(self._waiting) >= LOOK_EVERY * len(self._by_name)  # a loss is not called at its looks
        return self.settle() if hurry or many or gap > SHORT_GAP else []

    def settle(self) -> list[StepRecord]:
        """The records of all that waits, in the order of the run."""
        waiting, self._waiting = self._waiting, []
        records = []
        for item in waiting:
            found = item.watcher.read(item.heard)
            stats = self.transfer(to_host, found) if found else None
            if stats:
                item.watcher.recorded(item.step, stats)
                self._widen(item.watcher, stats)
                records.append(StepRecord(item.number, item.watcher.name, stats, item.metrics))
        return records

    def _widen(self, watcher: Watcher, stats: dict[str, Array]) -> None:
        """Make the records of a loss with many classes rarer."""
        if "pool_pos_count" not in stats or watcher.schedule.every != self.every:
            return
        classes = stats["pool_pos_count"].shape[0]
        if watcher.schedule.widen(classes):
            self._note(
                f"{watcher.name} has {classes:,} classes: after its first record it is recorded every "
                f"{watcher.schedule.every} steps instead of every {self.every}"
            )


def _ask_about(watcher: Watcher, steps: int) -> None:
    how = "only in eval mode or without gradient" if watcher.called else "not once"
    warn(
        f"imbalance-doctor: {watcher.name!r} is watched but was called {how} in {steps} steps, so that "
        "nothing can be said of it. Watch the very module that the training step calls (not a copy of it), "
        "and call it as a module: loss_fn(logits, targets)."
    )
