"""From a loss's forward to a record: listens to a module, holds what it said, moves it to the host once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from imbalance_doctor.plain_losses import Call
from imbalance_doctor.records import Array, LossInfo
from imbalance_doctor.schedule import Schedule
from losses.diagnostics import Detail, Diagnosable
from losses.gradients import gradient_norms
from losses.likelihood import config_of, kind_of

#: Losses of single steps that are kept for their mean: ten times what lies between two records.
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
    """A forward hook that a copied or saved module leaves behind: the copy is not the one being watched."""

    def __init__(self, hear: Callable[..., None] | None = None) -> None:
        self._hear = hear

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        if self._hear is not None:
            self._hear(module, args, kwargs, out)

    def __reduce__(self) -> tuple[type[_PlainHook], tuple[()]]:
        return type(self), ()


@dataclass(frozen=True)
class Heard:
    """What a step that was due leaves behind.

    Attributes:
        main: The statistics of one forward, or that forward, yet to be described.
        losses: The loss of each forward.
    """

    main: dict[str, Any] | Call
    losses: list[Tensor]

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
        guarded: Runs work that must not harm the training.
    """

    def __init__(self, name: str, module: nn.Module, schedule: Schedule, guarded: Callable[..., Any]) -> None:
        # A compiled module forwards to the loss it was made from, which is the one with settings and hooks.
        module = getattr(module, "_orig_mod", module)
        self.name, self.module, self.schedule = name, module, schedule
        #: Whether it was called at all, and whether in training.
        self.called = self.trained = False
        #: Steps that were due and left nothing.
        self.missed = 0
        #: Whether only what differs between ranks is recorded here.
        self.rank_local = False
        self._guarded = guarded
        self._detail = Detail.LOSS
        self._pending: dict[str, Any] | Call | None = None
        self._losses: list[Tensor] = []
        self._phase: float | None = None
        self._handle: Handle | None = None
        if isinstance(module, Diagnosable):
            self._handle = module.register_diagnostics_hook(
                self._receive, wants=self._wants, gradients=self._receive_gradients
            )

    @property
    def info(self) -> LossInfo:
        """The loss and its settings as they are now."""
        module = self.module
        if isinstance(module, Diagnosable):
            return LossInfo(self.name, module.kind, module.config())
        settings = {name: value for name, value in config_of(module).items() if name != "kind"}
        return LossInfo(self.name, kind_of(module), {"class": type(module).__name__, **settings})

    def next_step(self, step: int) -> None:
        """The step with this number, counted from 0, is about to begin."""
        due = step == self.schedule.due
        self._detail = self.schedule.detail if due else Detail.LOSS
        if isinstance(self.module, Diagnosable) or due == (self._handle is not None):
            return
        # A module with a forward hook is called on torch's slow path, even if the hook does nothing: 2 % of
        # a step of half a millisecond. So it has one only in the steps that leave a record.
        if due:
            self._handle = self.module.register_forward_hook(_PlainHook(self._heard), with_kwargs=True)
        else:
            self.remove()

    def take(self) -> Heard | None:
        """What a step that was due leaves behind; None where it leaves nothing."""
        pending, self._pending = self._pending, None
        losses, self._losses = self._losses, []
        return None if pending is None else Heard(pending, losses)

    def read(self, heard: Heard) -> dict[str, Any] | None:
        """The statistics of what was taken; None if they cannot be made."""
        stats: dict[str, Any] | None = self._guarded(self._read, heard)
        return stats

    def _read(self, heard: Heard) -> dict[str, Any]:
        stats = heard.main.stats() if isinstance(heard.main, Call) else heard.main
        if heard.losses:
            several = len(heard.losses) > 1
            stats["interval_loss"] = torch.stack(heard.losses).float().mean() if several else heard.losses[0]
        if self.rank_local:
            stats = {name: value for name, value in stats.items() if name in RANK_LOCAL}
        return stats

    def recorded(self, step: int, stats: Mapping[str, Array]) -> None:
        """The step with this number, counted from 0, has left a record."""
        phase = float(stats["phase"]) if "phase" in stats else self._phase
        if phase != self._phase and self._phase is not None:
            self.schedule.restart(step + 1)
        self._phase = phase

    def remove(self) -> None:
        """Stop listening."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

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
        if loss.dim():  # unreduced: nan stands for an invalid class there, and says nothing
            return
        if len(self._losses) == MOST_LOSSES:  # no record comes: the loss is not called in steps that are due
            self._losses = [torch.stack(self._losses).mean()]
        self._losses.append(loss)

    def _heard(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        detail = self._wants()
        if detail > Detail.NOTHING:
            self._guarded(self._hear_call, module, args, kwargs, out, detail)

    def _hear_call(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, detail: Detail
    ) -> None:
        call = Call.of(module, args, kwargs, out, detail)
        if call.loss is not None:
            self._hear_loss(call.loss)
        if detail is Detail.LOSS:
            return
        # All of it after the step, in one go: torch and NumPy take three times as long for their first call
        # in the middle of a training step as for the next ones. A large batch has no such cold start to save.
        small = call.is_small
        self._pending = call.kept() if small else call.stats()
        if detail >= Detail.SCORES and call.logits.requires_grad:
            hook = self._keep_gradient if small else partial(self._split_gradient, call.labels())
            call.logits.register_hook(partial(self._guarded, hook))  # type: ignore[no-untyped-call]

    def _keep_gradient(self, gradient: Tensor) -> None:
        if isinstance(self._pending, Call):
            self._pending.gradient = gradient.clone()

    def _split_gradient(self, labels: tuple[Tensor, Tensor | None], gradient: Tensor) -> None:
        self._receive_gradients(self.module, gradient_norms(gradient, *labels))


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
