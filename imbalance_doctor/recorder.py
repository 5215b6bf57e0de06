"""From a loss's forward to a record: listens to a module, holds what it said, moves it to the host once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from imbalance_doctor.guard import Guard
from imbalance_doctor.losses import _checks, diagnostics, likelihood, repeats
from imbalance_doctor.plain_losses import (
    Call,
    classes_second,
    hear_next_gradient,
    reading_of,
    with_own_logits,
)
from imbalance_doctor.records import Array, LossInfo
from imbalance_doctor.schedule import Schedule

Detail = diagnostics.Detail

#: Losses of single forwards that are kept before they are added up: adding each at once costs a call a step.
MOST_LOSSES = 1000

#: Statistics that differ between ranks although they gather; the others are rank 0's to record.
RANK_LOCAL = frozenset(
    {"loss", "interval_loss", "pool_size", "queue_fill", "ranks_apart", "pos_grad_norm", "neg_grad_norm"}
)


class Handle(Protocol):
    """What torch's hooks return."""

    def remove(self) -> None:
        """End the hook."""


class _PlainHook:
    """A hook that a copied or saved module leaves behind: the copy is not the one being watched."""

    def __init__(self, hear: Callable[..., Any] | None = None) -> None:
        self._hear = hear

    def __call__(self, module: nn.Module, *call: Any) -> Any:
        return None if self._hear is None else self._hear(*call)

    def __reduce__(self) -> tuple[type[_PlainHook], tuple[()]]:
        return type(self), ()


class LossMean:
    """The mean loss of the forwards since the record before."""

    def __init__(self) -> None:
        self._recent: list[Tensor] = []
        self._sum: Tensor | None = None
        self._count: int | Tensor = 0

    def add(self, loss: Tensor, empty: Tensor | None = None) -> None:
        """One more forward; `empty` says, where it may be so, that it has no loss, and is not to count."""
        if empty is not None:
            loss = torch.where(empty, 0.0, loss)
            self._count = self._count - empty.int()
        if len(self._recent) == MOST_LOSSES:
            total = torch.stack(self._recent).float().sum()
            self._sum = total if self._sum is None else self._sum + total
            self._count = self._count + len(self._recent)
            self._recent = []
        self._recent.append(loss)

    def value(self) -> Tensor | None:
        """The mean, nan where no forward had a loss; None where there was no forward."""
        if not self._recent:
            return None
        if self._sum is None and isinstance(self._count, int) and len(self._recent) == 1:
            return self._recent[0]
        total = torch.stack(self._recent).float().sum()
        total = total if self._sum is None else total + self._sum
        return total / (self._count + len(self._recent))


@dataclass(frozen=True)
class Heard:
    """What a step that was due leaves behind.

    Attributes:
        main: The statistics of one forward, or that forward, yet to be described.
        mean: The loss of all of them.
    """

    main: dict[str, Any] | Call
    mean: LossMean

    @property
    def may_wait(self) -> bool:
        """Whether it can be read later as well."""
        return isinstance(self.main, Call) and self.main.may_wait


class Watcher:
    """Listens to one loss: sums up every training forward, and keeps what one of them reports in full.

    A step with gradient accumulation has several forwards; they are draws of the same kind, and one in full
    is what a record costs.

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
        self.module = getattr(module, "_orig_mod", module)
        self.name, self.schedule = name, schedule
        #: Whether it was called at all, and whether in training.
        self.called = self.trained = False
        #: The step since which it has left no record, and whether that has been said.
        self.since, self.silence_told = since, False
        #: Whether it has been said that only its loss is followed.
        self.alone_told = False
        #: Whether only what differs between ranks is recorded here.
        self.rank_local = False
        self.guard = Guard(f"the statistics of {name!r}", "it is no longer recorded")
        self._reading = reading_of(self.module)
        self._detail = Detail.LOSS
        self._pending: dict[str, Any] | Call | None = None
        self._mean = LossMean()
        self._phase: float | None = None
        #: What tells a forward that is computed again; our own losses know it themselves.
        self._forwards = repeats.Forwards()
        #: What ends the listening; always this list.
        self.handles: list[Handle] = []
        if isinstance(self.module, diagnostics.Diagnosable):
            handle = self.module.register_diagnostics_hook(
                self._receive, wants=self._wants, gradients=self._receive_gradients
            )
            self.handles.append(handle)

    @property
    def follows_the_loss_alone(self) -> bool:
        """Whether it is no loss of classes, as far as its type and its calls have shown."""
        return not self._reading.of_classes

    @property
    def info(self) -> LossInfo:
        """The loss and its settings as they are now."""
        module = self.module
        if isinstance(module, diagnostics.Diagnosable):
            return LossInfo(self.name, module.kind, module.config())
        settings = {name: value for name, value in likelihood.config_of(module).items() if name != "kind"}
        return LossInfo(self.name, likelihood.kind_of(module), {"class": type(module).__name__, **settings})

    def next_step(self, step: int) -> None:
        """The step with this number, counted from 0, is about to begin."""
        if self.guard.failure is not None:
            self.remove()
            return
        due = step == self.schedule.due
        self._detail = self.schedule.detail if due else Detail.LOSS
        if isinstance(self.module, diagnostics.Diagnosable):
            return
        # A module with a forward hook is called on torch's slow path, even if the hook does nothing: 2 % of
        # a step of half a millisecond. So it has one only in the steps that leave a record.
        wanted = due + (self._detail >= Detail.SCORES and self._reading.of_classes)
        if len(self.handles) > wanted:
            self.remove()
        if due and not self.handles:
            hear = _PlainHook(self._heard)
            self.handles.append(self._hooked.register_forward_hook(hear, with_kwargs=True))
        if len(self.handles) < wanted:
            lend = _PlainHook(self._lend_logits)
            self.handles.append(self._hooked.register_forward_pre_hook(lend, with_kwargs=True))

    def take(self) -> Heard | None:
        """What a step that was due leaves behind; None where it leaves nothing."""
        if self._pending is None:
            return None
        heard = Heard(self._pending, self._mean)
        self._pending, self._mean = None, LossMean()
        return heard

    def read(self, heard: Heard) -> dict[str, Any] | None:
        """The statistics of what was taken; None if they cannot be made."""
        return self.guard(self._read, heard)

    def _read(self, heard: Heard) -> dict[str, Any]:
        stats = heard.main.stats() if isinstance(heard.main, Call) else heard.main
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
            self.schedule.restart(step + 1)
        self._phase = phase

    def remove(self) -> None:
        """Stop listening."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def give_way(self) -> None:
        """Stop listening for a newer doctor of the same run."""
        self.remove()
        self._pending = None
        self.guard.failure = "a newer Doctor of this process watches it for the same run directory"

    def _wants(self) -> Detail:
        # A forward in eval mode or without gradient is validation, not a training step.
        self.called = True
        if not (self.module.training and torch.is_grad_enabled()):
            return Detail.NOTHING
        self.trained = True
        if self._pending is not None:
            return Detail.LOSS
        return min(self._detail, Detail.COUNTS) if self.rank_local else self._detail

    def _receive(self, module: nn.Module, stats: dict[str, Any]) -> None:
        if "loss" in stats:
            self._hear_loss(stats["loss"])
        if len(stats) > 1:
            self._pending = stats

    def _receive_gradients(self, module: nn.Module, stats: dict[str, Tensor]) -> None:
        if isinstance(self._pending, dict):
            self._pending |= stats

    def _hear_loss(self, loss: Tensor) -> None:
        if loss.dim() == 0:  # unreduced, nan stands for an invalid class and says nothing
            self._mean.add(loss)

    def _lend_logits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.guard(with_own_logits, self.module, args, kwargs)

    def _heard(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        self.called = True
        if self._forwards.recomputes() or _checks.in_transform():
            return
        detail = self._wants()
        if detail > Detail.NOTHING:
            self.guard(self._hear_call, args, kwargs, out, detail)

    def _hear_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, detail: Detail) -> None:
        call = Call.of(self.module, self._reading, args, kwargs, out, detail)
        self._reading = call.reading
        if call.loss is not None:
            self._mean.add(call.loss, call.empty)
        if detail is Detail.LOSS:  # one more forward of this step
            if isinstance(self._pending, Call):
                self._pending.may_wait &= call.is_finite
            return
        # All of it after the step, in one go: torch and NumPy take three times as long for their first call
        # in the middle of a training step as for the next ones. A large batch has no such cold start to save.
        kept = call.kept() if call.is_small else None
        self._pending = call.stats() if kept is None else kept
        logits = call.given
        if detail >= Detail.SCORES and logits is not None and logits.requires_grad:
            hear: Callable[[Tensor], None]
            if kept is None:
                hear = partial(self._split_gradient, call.gradient_splitter(), call.classes_last)
            else:
                hear = kept.hear_gradient
            hear_next_gradient(logits, lambda gradient: self.guard(hear, gradient))

    def _split_gradient(
        self, split: Callable[[Tensor], dict[str, Tensor]], classes_last: bool, gradient: Tensor
    ) -> None:
        self._receive_gradients(self.module, split(classes_second(gradient, classes_last)))


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
