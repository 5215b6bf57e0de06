"""The watched losses of one run, and when each of them leaves its next record."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from imbalance_doctor.guard import Guard, warn
from imbalance_doctor.recorder import Watcher
from imbalance_doctor.records import Array
from imbalance_doctor.schedule import Schedule

#: Steps that were due and left nothing, before a loss that was never called is asked about.
PATIENCE = 20


class Watchers:
    """The losses that are listened to. Steps are counted from 0 here, whatever the user calls them.

    Args:
        every: As in `Doctor`.
        total_steps: As in `Doctor`.
    """

    def __init__(self, every: int, total_steps: int | None) -> None:
        self.every, self._total_steps = every, total_steps
        #: The first step after which there is something to do again: to arm a loss, or to take its record.
        self.wake = 0
        self.statistics = Guard("the statistics of a watched loss", "it is no longer recorded")
        self.transfer = Guard("reading the statistics", "nothing more is recorded")
        self._by_name: dict[str, Watcher] = {}

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

    def take(self, step: int) -> Iterator[tuple[Watcher, dict[str, Array] | None, str | None]]:
        """The step is over: of each loss that was due, what it leaves, and what is to be noted of it."""
        for watcher in self:
            if watcher.schedule.due == step:
                stats = self.transfer(watcher.take)
                watcher.recorded(stats)
                if watcher.missed == PATIENCE and not watcher.trained:
                    _ask_about(watcher, step)
                yield watcher, stats, self._widened(watcher, stats)

    def _widened(self, watcher: Watcher, stats: dict[str, Array] | None) -> str | None:
        if not stats or "pool_pos_count" not in stats or watcher.schedule.every != self.every:
            return None
        classes = stats["pool_pos_count"].shape[0]
        if not watcher.schedule.widen(classes):
            return None
        return (
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
