"""From a loss's forward to a record: listens to a module, holds what it said, moves it to the host once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from imbalance_doctor.guard import Guard, warn
from imbalance_doctor.live.listening.loss_info import info_of
from imbalance_doctor.live.listening.own_gradient import hear_own_gradient
from imbalance_doctor.live.listening.plain_losses import Call, classes_second, reading_of
from imbalance_doctor.live.listening.schedule import Schedule
from imbalance_doctor.losses import _checks, diagnostics, forwards
from imbalance_doctor.records import Array, LossInfo
from imbalance_doctor.statistics import RANK_LOCAL

Detail = diagnostics.Detail
T = TypeVar("T")

#: Losses of single forwards that are kept before they are added up: adding each at once costs a call a step.
MOST_LOSSES = 1000

#: What is said of a loss that is part of a graph without breaks, after its name.
COMPILED_IN = (
    "is compiled into a graph that may not break (fullgraph=True, or an export), so it is not recorded "
    "there. Compile the model without the loss, or leave fullgraph=True out."
)


class Handle(Protocol):
    """What torch's hooks return."""

    def remove(self) -> None:
        """End the hook."""


class _ForwardHook:
    """What torch calls after a forward. A copied or saved module has one that hears nothing.

    It holds its watcher and not the other way round, so that both are gone once it is removed.
    """

    def __init__(self, watcher: Watcher | None = None) -> None:
        self.watcher = watcher
        if watcher is not None:
            self._hear = watcher.guarded(watcher.hear_forward)
            self._breaks = forwards.compiling.breaks(watcher.compiled_in)

    def __call__(self, module: nn.Module, *call: Any) -> None:
        if self.watcher is None:
            return
        if not torch.compiler.is_compiling():
            self._hear(*call)
        elif self._breaks():
            forwards.compiling.outside_the_graph(self._hear, *call)

    def __reduce__(self) -> tuple[type[_ForwardHook], tuple[()]]:
        return type(self), ()


class LossMean:
    """The mean loss of the forwards since the record before."""

    def __init__(self) -> None:
        #: Sum and number of those that were added up, and those yet to be, each with whether it has no loss.
        #: One tuple, so that whatever interrupts a change, a loss counts once or not at all.
        self._kept: tuple[Tensor | None, int | Tensor, list[tuple[Tensor, Tensor | None]]] = (None, 0, [])

    def add(self, loss: Tensor, empty: Tensor | None = None) -> None:
        """One more forward; `empty` says, where it may be so, that it has no loss, and is not to count."""
        if len(self._kept[2]) >= MOST_LOSSES:
            self._kept = (*self._added_up(), [])
        self._kept[2].append((loss, empty))

    def value(self) -> Tensor | None:
        """The mean, nan where no forward had a loss; None where there was no forward."""
        total, _, recent = self._kept
        if total is None and not recent:
            return None
        if total is None and len(recent) == 1 and recent[0][1] is None:
            return recent[0][0]
        total, count = self._added_up()
        return None if total is None else total / count

    def _added_up(self) -> tuple[Tensor | None, int | Tensor]:
        """Sum and number of all forwards."""
        total, count, recent = self._kept
        recent = recent[:]  # another thread may add to it
        if not recent:
            return total, count
        losses = [loss if empty is None else torch.where(empty, 0.0, loss) for loss, empty in recent]
        for _, empty in recent:
            if empty is not None:
                count = count - empty.int()
        added = torch.stack(losses).float().sum()
        return added if total is None else total + added, count + len(recent)


@dataclass
class Heard:
    """What a step that is due leaves behind.

    Attributes:
        step: Which one it is, counted from 0.
        mean: The loss of all forwards since the one before.
        main: The statistics of one forward, or that forward, yet to be described; None where there was none.
    """

    step: int
    mean: LossMean
    main: dict[str, Any] | Call | None = None

    @property
    def may_wait(self) -> bool:
        """Whether it can be read later as well."""
        return isinstance(self.main, Call) and self.main.may_wait


class Watcher:
    """Listens to one loss: sums up every training forward, and keeps what one of them reports in full.

    A step with gradient accumulation has several forwards; they are draws of the same kind, and one in full
    is what a record costs.

    The loop calls it at any moment, from any thread, and may be interrupted in it: state that belongs
    together is changed by one assignment.

    Args:
        name: What the loss is called in this run.
        module: The loss.
        schedule: Which of its steps leave a record.
        since: The step from which it is listened to, counted from 0.
    """

    def __init__(self, name: str, module: nn.Module, schedule: Schedule, since: int) -> None:
        # A compiled module runs hooks of its own; those of the one inside stay as they were when compiled.
        self._hooked = module
        #: The loss, which has the settings.
        self.module = diagnostics.bridge.original(module)
        self.name, self.schedule = name, schedule
        #: Whether it was called at all, and whether in training.
        self.called = self.trained = False
        #: Whether it was compiled into a graph that leaves no room to listen.
        self.unheard = False
        #: The step since which it has left no record, and whether that has been said.
        self.since, self.silence_told = since, False
        #: Whether it has been said that only its loss is followed.
        self.alone_told = False
        #: Whether only what differs between ranks is recorded here.
        self.rank_local = False
        self.guard = Guard(f"the statistics of {name!r}", "it is no longer recorded")
        self._reading = reading_of(self.module)
        self._detail = Detail.LOSS
        self._pending = Heard(since, LossMean())
        self._phase: float | None = None
        #: What tells a forward that is computed again; our own losses know it themselves.
        self._forwards = forwards.repeats.Forwards()
        #: What ends the listening; always this list.
        self.handles: list[Handle] = []
        if isinstance(self.module, diagnostics.Diagnosable):
            handle = self.module.register_diagnostics_hook(
                self.guarded(self._receive),
                wants=self.guarded(self._wants),
                gradients=self.guarded(self._receive_gradients),
                unheard=self.compiled_in,
            )
            self.handles.append(handle)

    def take_part(self, rank: int) -> None:
        """A session begins on a rank: of a loss that gathers, others than 0 record what differs there."""
        self.rank_local = rank > 0 and self.info.gathers

    def resume(self, records: int) -> None:
        """Go on from a session with this many records, which the rules count along."""
        self.schedule.resume(records)

    def restart(self, step: int) -> None:
        """Take close records again: the loss is another one from this step on, counted from 0."""
        self.schedule.restart(step)

    @property
    def follows_the_loss_alone(self) -> bool:
        """Whether it is no loss of classes, as far as its type and its calls have shown."""
        return not self._reading.of_classes

    @property
    def info(self) -> LossInfo:
        """The loss and its settings as they are now."""
        return info_of(self.name, self.module)

    def next_step(self, step: int) -> None:
        """The step with this number, counted from 0, is about to begin."""
        if self.guard.failure is not None:
            self.remove()
            return
        due = step >= self.schedule.due  # later, where an exception has cut the monitor short
        self._detail = self.schedule.detail if due else Detail.LOSS
        if due and self._pending.step != step:
            # One that is left over from a step that was interrupted is no record of this one.
            self._pending = Heard(step, self._pending.mean)
        # A module with a forward hook is called on torch's slow path, even if the hook does nothing: 2 % of
        # a step of half a millisecond. So it has one only in the steps that leave a record.
        if not isinstance(self.module, diagnostics.Diagnosable) and due != self._is_hooked():
            self.guard(self._listen if due else self.remove)

    def take(self) -> Heard | None:
        """What a step that was due leaves behind; None where it leaves nothing."""
        heard = self._pending
        if heard.main is None:
            return None
        self._pending = Heard(heard.step, LossMean())
        return heard

    def read(self, heard: Heard) -> dict[str, Any] | None:
        """The statistics of what was taken; None if they cannot be made."""
        return self.guard(self._read, heard)

    def _read(self, heard: Heard) -> dict[str, Any]:
        stats = heard.main.stats() if isinstance(heard.main, Call) else dict(heard.main or {})
        mean = heard.mean.value()
        if mean is not None:
            stats["interval_loss"] = mean
        if self.rank_local:
            stats = {name: value for name, value in stats.items() if name in RANK_LOCAL}
        return stats

    def follow_phase(self, step: int, stats: Mapping[str, Array]) -> None:
        """Take close records again if a wrapper is in another phase; `step` is counted from 0."""
        phase = float(stats["phase"]) if "phase" in stats else self._phase
        if phase != self._phase and self._phase is not None:
            self.restart(step + 1)
        self._phase = phase

    def remove(self) -> None:
        """Stop listening."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        for key in self._own_hooks():  # what an interruption has left behind has no handle
            self._hooked._forward_hooks.pop(key, None)

    def give_way(self) -> None:
        """Stop listening for a newer doctor of the same run."""
        self.remove()
        self._pending = Heard(self._pending.step, LossMean())
        self.guard.failure = "a newer Doctor in this process watches it for the same run directory"

    def guarded(self, work: Callable[..., T]) -> Callable[..., T | None]:
        """The same for others to call: until it fails."""
        run: Callable[..., T | None] = self.guard
        return partial(run, work)

    def _is_hooked(self) -> bool:
        """Whether the hook is at its place, and whole: an interruption may leave half of it."""
        return any(key in self._hooked._forward_hooks_with_kwargs for key in self._own_hooks())

    def _own_hooks(self) -> list[int]:
        hooks = list(self._hooked._forward_hooks.items())
        return [key for key, hook in hooks if isinstance(hook, _ForwardHook) and hook.watcher is self]

    def _listen(self) -> None:
        self.remove()
        # By way of the class: a scripted module refuses hooks, and is called by Python all the same.
        handle = nn.Module.register_forward_hook(self._hooked, _ForwardHook(self), with_kwargs=True)
        self.handles.append(handle)

    def compiled_in(self) -> None:
        """The loss is being compiled into a graph that may not break. Said once: it runs for each graph."""
        if not self.unheard:
            self.unheard = True
            warn(f"imbalance-doctor: {self.name!r} {COMPILED_IN}")

    def _wants(self) -> Detail:
        # A forward in eval mode or without gradient is validation, not a training step.
        self.called = True
        if not (self.module.training and torch.is_grad_enabled()):
            return Detail.NOTHING
        self.trained = True
        if self._pending.main is not None:
            return Detail.LOSS
        return min(self._detail, Detail.COUNTS) if self.rank_local else self._detail

    def _receive(self, module: nn.Module, stats: dict[str, Any]) -> None:
        pending = self._pending
        if "loss" in stats and not stats["loss"].dim():  # unreduced, nan is an invalid class and says nothing
            pending.mean.add(stats["loss"])
        if len(stats) > 1:
            pending.main = stats

    def _receive_gradients(self, module: nn.Module, stats: dict[str, Tensor]) -> None:
        main = self._pending.main
        if isinstance(main, dict):
            main.update(stats)

    def hear_forward(self, *call: Any) -> None:
        """A forward of a loss that knows nothing of us: arguments by place and name, and result."""
        if len(call) != 3:  # half a hook: see `_is_hooked`
            return
        self.called = True
        if self._forwards.recomputes() or _checks.in_transform():
            return
        detail = self._wants()
        if detail > Detail.NOTHING:
            forwards.grad_mode.without_grad(self._hear_call, *call, detail)

    def _hear_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, detail: Detail) -> None:
        pending = self._pending
        call = Call.of(self.module, self._reading, args, kwargs, out, detail)
        self._reading = call.reading
        if call.loss is not None:
            pending.mean.add(call.loss, call.empty)
        if detail is Detail.LOSS:  # one more forward of this step
            if isinstance(pending.main, Call):
                pending.main.may_wait &= call.is_finite
            return
        # All of it after the step, in one go: torch and NumPy take three times as long for their first call
        # in the middle of a training step as for the next ones. A large batch has no such cold start to save.
        kept = call.kept() if call.is_small else None
        main = pending.main = call.stats() if kept is None else kept
        if detail < Detail.SCORES or call.given is None or call.returned is None:
            return
        hear: Callable[[Tensor], None]
        if isinstance(main, Call):
            hear = main.hear_gradient
        else:
            hear = partial(_add_gradient, main, call.gradient_splitter(), call.classes_last)
        hear_own_gradient(call.returned, call.given, hear, self.guard)


def _add_gradient(
    stats: dict[str, Any],
    split: Callable[[Tensor], dict[str, Tensor]],
    classes_last: bool,
    gradient: Tensor,
) -> None:
    stats.update(split(classes_second(gradient, classes_last)))


def to_host(stats: Mapping[str, Any]) -> dict[str, Array]:
    """All statistics, tensors of one device or NumPy's, as float32: those of a device in one transfer."""
    tensors = {name: value for name, value in stats.items() if isinstance(value, Tensor)}
    if all(value.is_cpu and value.dtype is not torch.bfloat16 for value in tensors.values()):
        return {
            # Copied, because a tensor's memory may change; NumPy's results are nobody else's.
            name: np.array(value.numpy(), np.float32) if name in tensors else np.asarray(value, np.float32)
            for name, value in stats.items()
        }
    parts = [value.reshape(-1).float() for value in tensors.values()]
    flat = torch.cat(parts).cpu().numpy()
    result = {name: np.asarray(value, np.float32) for name, value in stats.items() if name not in tensors}
    start = 0
    for (name, value), part in zip(tensors.items(), parts, strict=True):
        end = start + part.numel()
        result[name] = flat[start:end].reshape(tuple(value.shape))
        start = end
    return result
