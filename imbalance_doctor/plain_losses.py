"""Losses that know nothing of us, plain torch ones among them: what is said of one forward of theirs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imbalance_doctor.losses import _checks, diagnostics, gradients, likelihood, likelihood_statistics, pool

Detail = diagnostics.Detail

#: Logits of a forward that is described after its step and not in it: a copy of 65,536 takes some 20
#: microseconds, and statistics of more take so long that a cold start of half a millisecond is little.
MOST_KEPT = 1 << 16

#: The losses whose elements we can compute, and so split over classes, positives and negatives.
_WITH_ELEMENTS = (nn.BCEWithLogitsLoss, nn.CrossEntropyLoss)


@dataclass
class Call:
    """One forward of a loss.

    Attributes:
        module: The loss.
        logits: Those that it was called with; classes that came last are second here.
        targets: Those that it was called with.
        loss: What it returned, or the mean of that; None if it was no tensor.
        detail: What a record of it is to hold.
        weights: The `weight` and `pos_weight` that it had, where they say what its elements were.
        classes_last: Whether classes came last, as they do in the gradient that is heard.
        gradient: That of the logits, where it is wanted and the backward has been.
        may_wait: Whether a rule is in no hurry to see it: it is kept, of counts alone, and finite.
        given: The logits as they were, with their place in the graph; None in a copy.
    """

    module: nn.Module
    logits: Tensor
    targets: Tensor
    loss: Tensor | None
    detail: Detail
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    classes_last: bool = False
    gradient: Tensor | None = None
    may_wait: bool = False
    given: Tensor | None = None

    @classmethod
    def of(
        cls,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        out: Any,
        detail: Detail,
    ) -> Call:
        """What a forward hook is told.

        Raises:
            TypeError: These are not logits and targets.
        """
        arguments = [value for _, value in _in_order(module, args, kwargs)]
        if len(arguments) < 2 or not all(isinstance(value, Tensor) for value in arguments[:2]):
            raise TypeError(
                "expected the watched loss to be called with (logits, targets) tensors; "
                f"got {[type(value).__name__ for value in arguments]}"
            )
        loss = None
        if isinstance(out, Tensor):  # a copy, because a loop may scale its loss in place
            loss = out.detach().mean() if out.dim() else out.detach().clone()
        weights = {}
        if detail >= Detail.SCORES and type(module) in _WITH_ELEMENTS:
            named = {name: getattr(module, name, None) for name in ("weight", "pos_weight")}
            weights = {name: value.detach() for name, value in named.items() if value is not None}
        logits, targets = arguments[:2]
        # (N, ..., C) as models of tokens have it, where it cannot be torch's (N, C, ...).
        last = logits.dim() > 2 and targets.shape == logits.shape[:-1] != (len(logits), *logits.shape[2:])
        return cls(module, classes_second(logits, last), targets, loss, detail, weights, last, given=logits)

    @property
    def is_small(self) -> bool:
        """Whether a copy of it on the host costs next to nothing."""
        at_hand = _checks.looks_are_free(self.logits) and _checks.looks_are_free(self.targets)
        return at_hand and self.logits.numel() <= MOST_KEPT

    def kept(self) -> Call:
        """The same with tensors of its own, because those of a loop and of a loss are theirs to change."""
        logits, targets = self.logits.detach().clone(), self.targets.detach().clone()
        weights = {name: value.clone() for name, value in self.weights.items()}
        may_wait = self.detail is Detail.COUNTS and self.is_finite and math.isfinite(logits.sum())
        return replace(self, logits=logits, targets=targets, weights=weights, may_wait=may_wait, given=None)

    @property
    def is_finite(self) -> bool:
        """Whether the loss is a number that is finite."""
        return self.loss is not None and math.isfinite(self.loss)

    def hear_gradient(self, gradient: Tensor) -> None:
        """Keep the gradient of the logits."""
        self.gradient = classes_second(gradient, self.classes_last).clone()

    def stats(self) -> dict[str, Any]:
        """Its statistics, where they were computed."""
        elements = self._elements() if self.detail >= Detail.SCORES else None
        multiclass, ignored = self._reading
        stats = dict(
            likelihood_statistics.described(
                self.logits, self.targets, self.detail, elements, multiclass, ignored
            )
        )
        if self.loss is not None:
            stats["loss"] = self.loss
        if self.gradient is not None:
            stats |= gradients.gradient_norms(self.gradient, *self.labels())
        return stats

    def labels(self) -> tuple[Tensor, Tensor]:
        """Positive entries and entries that count."""
        multiclass, ignored = self._reading
        return likelihood_statistics.labels_of(
            self.logits, self.targets, multiclass=multiclass, ignore_index=ignored
        )

    @property
    def _reading(self) -> tuple[bool | None, int | None]:
        """Whether classes exclude each other (None where the inputs must tell), and the id not to count."""
        kind = likelihood.kind_of(self.module)
        ignored: int | None = getattr(self.module, "ignore_index", None)
        return None if kind == "other" else kind == "cross_entropy", ignored

    def _elements(self) -> Tensor | None:
        """The loss of each element (BCE) or row (cross-entropy); None where it is not ours to compute."""
        module, targets = self.module, self.targets
        # As autocast does, which is off after the forward.
        logits = self.logits.detach().to(pool.wide_dtype(self.logits.dtype))
        weights: dict[str, Any] = {name: value.to(logits) for name, value in self.weights.items()}
        if type(module) is nn.BCEWithLogitsLoss:
            return F.binary_cross_entropy_with_logits(logits, targets.to(logits), reduction="none", **weights)
        if type(module) is nn.CrossEntropyLoss and not targets.is_floating_point():
            return F.cross_entropy(
                logits,
                targets,
                ignore_index=module.ignore_index,
                label_smoothing=module.label_smoothing,
                reduction="none",
                **weights,
            )
        return None


def classes_second(values: Tensor, last: bool) -> Tensor:
    """Logits, or their gradient, as torch's losses have them: ``(N, C, ...)``."""
    return values.movedim(-1, 1) if last else values


def with_own_logits(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of a call with an alias of the logits, so that its gradient is that of this loss alone.

    None where there is no gradient to hear, or a compiler is to see the call as it is.
    """
    (place, logits), *_ = _in_order(module, args, kwargs) or [(0, None)]
    if not isinstance(logits, Tensor) or not logits.requires_grad or torch.compiler.is_compiling():
        return None
    alias = logits.view_as(logits)
    if isinstance(place, str):
        return args, {**kwargs, place: alias}
    return (alias, *args[1:]), dict(kwargs)


def hear_next_gradient(logits: Tensor, hear: Callable[[Tensor], None]) -> None:
    """Be told the next gradient of the logits, once: a leaf that is used again keeps its hooks."""

    def once(gradient: Tensor) -> None:
        handle.remove()
        hear(gradient.detach())

    handle = logits.register_hook(once)  # type: ignore[no-untyped-call]


def _in_order(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[int | str, Any]]:
    """The arguments of a call with their places, in the order in which the loss declares them."""
    named: list[tuple[int | str, Any]] = list(kwargs.items())
    if len(named) > 1:
        declared = list(inspect.signature(module.forward).parameters)
        named.sort(key=lambda item: declared.index(item[0]) if item[0] in declared else len(declared))
    return [*enumerate(args), *named]
