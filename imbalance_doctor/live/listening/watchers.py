"""The watched losses of one run, and when each of them leaves its next record."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from torch import nn

from imbalance_doctor.guard import Guard, attempt, warn
from imbalance_doctor.live.journal import Draft
from imbalance_doctor.live.listening.loss_info import name_of
from imbalance_doctor.live.listening.schedule import Schedule
from imbalance_doctor.live.listening.watcher import COMPILED_IN, Handle, Heard, Watcher, to_host
from imbalance_doctor.losses import diagnostics
from imbalance_doctor.records import Array, StepRecord
from imbalance_doctor.statistics import EMPTY, LOSSES

#: Steps without a record after which a loss is asked about, in units of `every`.
PATIENCE = 20

#: Seconds from one step that is due to the next, up to which a record may wait for the look that it belongs
#: to. At most four of a loss wait, so that a process that is killed loses two seconds of records. Where steps
#: are slower than that, what waiting saves, a millisecond or two a look, is less than 0.1 % of them.
SHORT_GAP = 0.5

#: Who listens to a loss for a run, by its directory and the loss's id: a watcher keeps its loss alive. A cell
#: of a notebook that runs again makes a new doctor while something, a traceback or an output, still holds the
#: one before.
_listening: weakref.WeakValueDictionary[tuple[Path | None, int], Watcher] = weakref.WeakValueDictionary()


class Watchers:
    """The losses that are listened to. Steps are counted from 0 here, whatever the user calls them.

    Args:
        every: As in `Doctor`.
        total_steps: As in `Doctor`.
        note: Told what a reader of the run should know.
        run_dir: Of the run, whose newest doctor is the one that listens to a loss; None for a run in memory.
    """

    def __init__(
        self,
        every: int,
        total_steps: int | None,
        note: Callable[[str], None],
        run_dir: Path | None = None,
    ) -> None:
        self.every, self._total_steps, self._note = every, total_steps, note
        self._run_dir = run_dir
        #: What ends the listening, of each loss.
        self.handles: list[list[Handle]] = []
        self._transfer = Guard("reading the statistics", "nothing more is recorded")
        self._by_name: dict[str, Watcher] = {}
        self._half: Watcher | None = None  # the one that is being added
        self._last = time.monotonic()

    @property
    def guards(self) -> list[Guard]:
        """What may have failed."""
        return [*(watcher.guard for watcher in self), self._transfer]

    def __iter__(self) -> Iterator[Watcher]:
        return iter(list(self._by_name.values()))  # another thread may begin to watch one

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
                f"expected loss_fn to be a loss module, got {type(loss_fn).__name__}. Wrap a function in an "
                "nn.Module whose forward takes (logits, targets)"
            )
        self._forget_half()
        if any(watcher.module is diagnostics.bridge.original(loss_fn) for watcher in self):
            raise ValueError("this loss is watched already; watch each loss once")
        if name is not None and name in self._by_name:
            raise ValueError(f"expected a name that no watched loss has, got {name!r}: give another name")
        kind = name_of(diagnostics.bridge.original(loss_fn))
        chosen = name or kind
        while chosen in self._by_name:
            chosen = f"{kind}_{len(self._by_name) + 1}"
        schedule = Schedule(self.every, self._total_steps, step)
        watcher = self._half = Watcher(chosen, loss_fn, schedule, step)
        self.handles.append(watcher.handles)
        if self._run_dir is not None:
            key = self._run_dir, id(watcher.module)
            older = _listening.get(key)
            if older is not None:
                older.give_way()
            _listening[key] = watcher
        self._by_name[chosen] = watcher
        self.arm(step)
        self._half = None
        return watcher

    def _forget_half(self) -> None:
        """An exception from outside has struck while a loss was added: whoever adds it again may do so."""
        if self._half is not None:
            self._half.remove()
            self._by_name = {name: each for name, each in self._by_name.items() if each is not self._half}
            self._half = None

    def remove(self) -> None:
        """Stop listening, for good."""
        for watcher in self:
            watcher.remove()
            if _listening.get(key := (self._run_dir, id(watcher.module))) is watcher:
                del _listening[key]

    def let_go(self) -> None:
        """Stop listening, whatever fails in it."""
        for handle in chain(*self.handles):
            attempt(handle.remove)

    def speaks_of(self, name: str) -> bool:
        """Whether this rank tells of a loss: what all of them see alike is rank 0's to tell."""
        watcher = self.get(name)
        return watcher is None or not watcher.rank_local

    def restart(self, step: int) -> None:
        """All losses are others from this step on, as where a run goes back to a checkpoint."""
        for watcher in self:
            watcher.restart(step)

    def arm(self, step: int) -> int:
        """A step is about to begin, which is to leave what is due.

        Returns:
            The first step after which there is something to do again: to arm a loss, or to take its record.
        """
        for watcher in self:
            watcher.next_step(step)
        return min((watcher.schedule.due for watcher in self), default=0)

    def take(
        self, step: int, number: int, metrics: Callable[[], dict[str, float]]
    ) -> tuple[list[Draft], bool]:
        """The step is over.

        Args:
            step: Counted from 0.
            number: What the user calls it.
            metrics: Reads what to keep beside its records.

        Returns:
            The records that it leaves, in the making, and whether they may wait for those of later steps.
        """
        due = [watcher for watcher in self if watcher.schedule.due <= step]
        if not due:
            return [], True
        drafts: list[Draft] = []
        values, may_wait = metrics(), True
        for watcher in due:
            heard = watcher.take()
            if heard is None:
                watcher.schedule.passed(step)
                self._tell_of_silence(watcher, step)
            else:
                watcher.schedule.recorded(step)
                watcher.since = step
                make = partial(self._record, watcher, heard, number, values)
                drafts.append(Draft(number, watcher.name, make, partial(self._follow, watcher, step)))
                may_wait &= heard.may_wait
        now = time.monotonic()
        gap, self._last = now - self._last, now
        return drafts, may_wait and gap <= SHORT_GAP

    def _record(
        self, watcher: Watcher, heard: Heard, number: int, metrics: dict[str, float]
    ) -> StepRecord | None:
        found = watcher.read(heard)
        stats = self._transfer(to_host, found) if found else None
        return StepRecord(number, watcher.name, _without_empty_losses(stats), metrics) if stats else None

    def _follow(self, watcher: Watcher, step: int, record: StepRecord) -> None:
        watcher.follow_phase(step, record.stats)
        self._widen(watcher, record.stats)
        self._tell_of_the_loss_alone(watcher)

    def _widen(self, watcher: Watcher, stats: Mapping[str, Array]) -> None:
        """Make the records of a loss with many classes rarer."""
        if "pool_pos_count" not in stats or watcher.schedule.every != self.every:
            return
        classes = stats["pool_pos_count"].shape[0]
        if watcher.schedule.widen(classes):
            self._note(
                f"{watcher.name} has {classes:,} classes: after its first record it is recorded every "
                f"{watcher.schedule.every} steps instead of every {self.every}"
            )

    def _tell_of_the_loss_alone(self, watcher: Watcher) -> None:
        """Once, where a loss turns out to be none of classes."""
        if watcher.follows_the_loss_alone and not watcher.alone_told:
            watcher.alone_told = True
            self._note(
                f"{watcher.name} is not a classification loss, by its type or by its targets: only its loss "
                "is recorded, and rules about classes and scores do not examine it"
            )

    def _tell_of_silence(self, watcher: Watcher, step: int) -> None:
        """Once, where a loss leaves no record for long."""
        if watcher.unheard and not watcher.silence_told:
            watcher.silence_told = True
            self._note(f"{watcher.name} {COMPILED_IN.rstrip('.')}")
        since = watcher.since
        if step - since < (PATIENCE - 1) * self.every or watcher.silence_told or watcher.guard.failure:
            return
        watcher.silence_told = True
        if watcher.trained:  # it was called, in other steps or before: nothing need be wrong
            self._note(
                f"{watcher.name} was not recorded between steps {since} and {step}: it was not called, or "
                "only through a torch.compile copy, which is a different module"
            )
            return
        how = "never called"
        if watcher.called:
            how = "called only in eval mode, without gradient or inside torch.func"
        warn(
            f"imbalance-doctor: {watcher.name!r} is watched but was {how} in {step - since} steps, so it "
            "cannot be diagnosed. Watch the module your training step calls, not a copy, and call it as "
            "loss_fn(logits, targets)."
        )


def _without_empty_losses(stats: dict[str, Array]) -> dict[str, Array]:
    """Statistics without losses that are nan because no target of the batch counts: it has none."""
    if not stats.pop(EMPTY, False):
        return stats
    return {name: value for name, value in stats.items() if name not in LOSSES or not np.isnan(value)}
