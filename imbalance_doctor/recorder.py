"""From a loss's forward to a record: listens to a module, holds what it said, moves it to the host once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imbalance_doctor.records import Array, LossInfo
from imbalance_doctor.schedule import Schedule
from losses.diagnostics import Detail, Diagnosable
from losses.gradients import gradient_norms
from losses.likelihood import config_of, kind_of
from losses.likelihood_statistics import described, labels_of

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
        self._pending: dict[str, Any] | None = None
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

    def take(self) -> dict[str, Array] | None:
        """What a step that was due leaves behind, on the host; None where it leaves nothing."""
        pending, self._pending = self._pending, None
        losses, self._losses = self._losses, []
        if pending is None:
            return None
        if losses:
            several = len(losses) > 1
            pending["interval_loss"] = torch.stack(losses).float().mean() if several else losses[0]
        if self.rank_local:
            pending = {name: value for name, value in pending.items() if name in RANK_LOCAL}
        return to_host(pending)

    def recorded(self, stats: Mapping[str, Array] | None) -> None:
        """A step that was due is over."""
        step = self.schedule.due
        self.schedule.recorded()
        self.missed += stats is None
        phase = float(stats["phase"]) if stats is not None and "phase" in stats else self._phase
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
        if self._pending is not None:
            self._pending |= stats

    def _hear_loss(self, loss: Tensor) -> None:
        if loss.dim():  # unreduced: nan stands for an invalid class there, and says nothing
            return
        if len(self._losses) == MOST_LOSSES:  # no record comes: the loss is not called in steps that are due
            self._losses = [torch.stack(self._losses).mean()]
        self._losses.append(loss)

    def _heard(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        detail = self._wants()
        if detail is Detail.LOSS:
            if isinstance(out, Tensor):
                self._hear_loss(out.detach())
        elif detail > Detail.LOSS:
            stats = self._guarded(_plain_stats, module, args, kwargs, out, detail)
            if stats:
                self._receive(module, stats)
                if detail >= Detail.SCORES:
                    self._guarded(self._watch_gradient, module, args, kwargs)

    def _watch_gradient(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        logits, targets = _read(args, kwargs)
        if logits.requires_grad:
            labels = labels_of(logits, targets, multiclass=_excludes(module), ignore_index=_ignored(module))
            logits.register_hook(partial(self._guarded, self._gradient, labels))  # type: ignore[no-untyped-call]

    def _gradient(self, labels: tuple[Tensor, Tensor | None], gradient: Tensor) -> None:
        self._receive_gradients(self.module, gradient_norms(gradient, *labels))


def _read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The logits and targets that a loss was called with."""
    given = [*args, *kwargs.values()]
    if len(given) < 2 or not all(isinstance(value, Tensor) for value in given[:2]):
        raise TypeError(
            "expected the watched loss to be called with (logits, targets) tensors; "
            f"got {[type(value).__name__ for value in given]}"
        )
    return given[0], given[1]


def _excludes(module: nn.Module) -> bool | None:
    """Whether the loss takes classes that exclude each other; None where its inputs must tell."""
    kind = kind_of(module)
    return None if kind == "other" else kind == "cross_entropy"


def _ignored(module: nn.Module) -> int | None:
    return getattr(module, "ignore_index", None)


def _plain_stats(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, detail: Detail
) -> dict[str, Any]:
    """Statistics of a loss that knows nothing of us, from the logits, targets and loss of its call."""
    logits, targets = _read(args, kwargs)
    elements = _elements(module, logits.detach(), targets) if detail >= Detail.SCORES else None
    stats = dict(described(logits, targets, detail, elements, _excludes(module), _ignored(module)))
    if isinstance(out, Tensor):
        stats["loss"] = out.detach().mean() if out.dim() else out.detach()
    return stats


def _elements(module: nn.Module, logits: Tensor, targets: Tensor) -> Tensor | None:
    """The loss of each element (BCE) or row (cross-entropy); None where the module keeps it to itself."""
    if type(module) is nn.BCEWithLogitsLoss:
        return F.binary_cross_entropy_with_logits(
            logits, targets.to(logits), module.weight, pos_weight=module.pos_weight, reduction="none"
        )
    if type(module) is nn.CrossEntropyLoss and not targets.is_floating_point():
        return F.cross_entropy(
            logits,
            targets,
            module.weight,
            ignore_index=module.ignore_index,
            label_smoothing=module.label_smoothing,
            reduction="none",
        )
    return None


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
