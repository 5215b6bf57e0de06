"""From a loss's forward to a record: listens to a module, holds what it said, moves it to the host once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from imbalance_doctor.records import Array, LossInfo
from losses.diagnostics import Detail, Diagnosable
from losses.statistics import likelihood_stats

#: Plain torch losses that have a kind of their own; any other module is "other".
PLAIN_KINDS: Mapping[type[nn.Module], str] = {
    nn.BCEWithLogitsLoss: "bce",
    nn.CrossEntropyLoss: "cross_entropy",
}


def plain_kind(module: nn.Module) -> str:
    """The kind of a loss that is none of ours."""
    return next((kind for cls, kind in PLAIN_KINDS.items() if isinstance(module, cls)), "other")


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
    """Listens to one loss and keeps the statistics of the first training forward of a step.

    A step with gradient accumulation has several forwards; they are draws of the same kind, and one
    is what a record costs.

    Args:
        name: What the loss is called in this run.
        module: The loss.
        wants: How much detail the current step asks for.
        guarded: Runs work that must not harm the training.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        wants: Callable[[], Detail],
        guarded: Callable[..., Any],
    ) -> None:
        # A compiled module forwards to the loss it was made from, which is the one with settings and hooks.
        module = getattr(module, "_orig_mod", module)
        self.name, self.module = name, module
        self._step_wants, self._guarded = wants, guarded
        self._pending: dict[str, Tensor] | None = None
        self._handle: Handle
        if isinstance(module, Diagnosable):
            self._handle = module.register_diagnostics_hook(self._receive, wants=self._wants)
        else:
            self._handle = module.register_forward_hook(_PlainHook(self._heard), with_kwargs=True)

    @property
    def info(self) -> LossInfo:
        """The loss and its settings as they are now."""
        module = self.module
        if isinstance(module, Diagnosable):
            return LossInfo(self.name, module.kind, module.config())
        return LossInfo(self.name, plain_kind(module), {"class": type(module).__name__})

    def take(self) -> dict[str, Array] | None:
        """What was said since the last call, on the host; None where nothing was."""
        pending, self._pending = self._pending, None
        return None if pending is None else to_host(pending)

    def remove(self) -> None:
        """Stop listening."""
        self._handle.remove()

    def _wants(self) -> Detail:
        # A forward in eval mode or without gradient is validation, not a training step.
        training = self.module.training and torch.is_grad_enabled()
        return self._step_wants() if training and self._pending is None else Detail.NOTHING

    def _receive(self, module: nn.Module, stats: dict[str, Tensor]) -> None:
        self._pending = stats

    def _heard(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        detail = self._wants()
        if detail is not Detail.NOTHING:
            self._pending = self._guarded(_plain_stats, module, args, kwargs, out, detail)


def _plain_stats(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, detail: Detail
) -> dict[str, Tensor]:
    """Statistics of a loss that knows nothing of us, from the logits, targets and loss of its call."""
    given = [*args, *kwargs.values()]
    if len(given) < 2 or not all(isinstance(value, Tensor) for value in given[:2]):
        raise TypeError(
            "expected the watched loss to be called with (logits, targets) tensors; "
            f"got {[type(value).__name__ for value in given]}"
        )
    kind = plain_kind(module)
    return likelihood_stats(
        given[0],
        given[1],
        detail=detail,
        loss=out.detach().mean() if isinstance(out, Tensor) else None,
        multiclass=None if kind == "other" else kind == "cross_entropy",
        ignore_index=getattr(module, "ignore_index", None),
    )


def to_host(stats: Mapping[str, Tensor]) -> dict[str, Array]:
    """Move all statistics to the host in one transfer, as float32."""
    parts = [value.detach().reshape(-1).float() for value in stats.values()]
    flat = torch.cat(parts).cpu().numpy() if parts else None
    result, start = {}, 0
    for (name, value), part in zip(stats.items(), parts, strict=True):
        assert flat is not None
        end = start + part.numel()
        result[name] = flat[start:end].reshape(tuple(value.shape))
        start = end
    return result
