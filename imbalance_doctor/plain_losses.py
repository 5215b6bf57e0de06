"""Losses that know nothing of us, plain torch ones among them: what is said of one forward of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from losses._checks import looks_are_free
from losses.diagnostics import Detail
from losses.gradients import gradient_norms
from losses.likelihood import kind_of
from losses.likelihood_statistics import described, labels_of
from losses.pool import wide_dtype

#: Logits of a forward that is described after its step and not in it: a copy of 65,536 takes some 20
#: microseconds, and statistics of more take so long that a cold start of half a millisecond is little.
MOST_KEPT = 1 << 16


@dataclass
class Call:
    """One forward of a loss that knows nothing of us.

    Attributes:
        module: The loss.
        logits: As it was given them.
        targets: The same.
        loss: What it returned, or the mean of that; None if it was no tensor.
        detail: What a record of it is to hold.
        gradient: That of the logits, where it is wanted and the backward has been.
    """

    module: nn.Module
    logits: Tensor
    targets: Tensor
    loss: Tensor | None
    detail: Detail
    gradient: Tensor | None = None

    @classmethod
    def of(
        cls, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any, detail: Detail
    ) -> Call:
        """What a forward hook is told.

        Raises:
            TypeError: These are not logits and targets.
        """
        given = [*args, *kwargs.values()]
        if len(given) < 2 or not all(isinstance(value, Tensor) for value in given[:2]):
            raise TypeError(
                "expected the watched loss to be called with (logits, targets) tensors; "
                f"got {[type(value).__name__ for value in given]}"
            )
        loss = None
        if isinstance(out, Tensor):  # a copy, because a loop may scale its loss in place
            loss = out.detach().mean() if out.dim() else out.detach().clone()
        return cls(module, given[0], given[1], loss, detail)

    @property
    def is_small(self) -> bool:
        """Whether a copy of it on the host costs next to nothing."""
        at_hand = looks_are_free(self.logits) and looks_are_free(self.targets)
        return at_hand and self.logits.numel() <= MOST_KEPT

    @property
    def may_wait(self) -> bool:
        """Whether a rule is in no hurry to see it: it is of counts alone, and finite."""
        return (
            self.detail is Detail.COUNTS
            and self.loss is not None
            and math.isfinite(self.loss)
            and math.isfinite(self.logits.sum())
        )

    def kept(self) -> Call:
        """The same with tensors of its own, because those of a loop are its to change."""
        logits, targets = self.logits.detach().clone(), self.targets.detach().clone()
        return Call(self.module, logits, targets, self.loss, self.detail)

    def stats(self) -> dict[str, Any]:
        """Its statistics, where they were computed."""
        elements = None
        if self.detail >= Detail.SCORES:
            elements = _elements(self.module, self.logits.detach(), self.targets)
        multiclass, ignored = self._reading
        stats = dict(described(self.logits, self.targets, self.detail, elements, multiclass, ignored))
        if self.loss is not None:
            stats["loss"] = self.loss
        if self.gradient is not None:
            stats |= gradient_norms(self.gradient, *self.labels())
        return stats

    def labels(self) -> tuple[Tensor, Tensor]:
        """Positive entries and entries that count."""
        multiclass, ignored = self._reading
        return labels_of(self.logits, self.targets, multiclass=multiclass, ignore_index=ignored)

    @property
    def _reading(self) -> tuple[bool | None, int | None]:
        """Whether classes exclude each other (None where the inputs must tell), and the id not to count."""
        kind = kind_of(self.module)
        ignored: int | None = getattr(self.module, "ignore_index", None)
        return None if kind == "other" else kind == "cross_entropy", ignored


def _elements(module: nn.Module, logits: Tensor, targets: Tensor) -> Tensor | None:
    """The loss of each element (BCE) or row (cross-entropy); None where the module keeps it to itself."""
    logits = logits.to(wide_dtype(logits.dtype))  # as autocast does, which is off after the forward
    if type(module) is nn.BCEWithLogitsLoss:
        weights = [None if each is None else each.to(logits) for each in (module.weight, module.pos_weight)]
        return F.binary_cross_entropy_with_logits(
            logits, targets.to(logits), weights[0], pos_weight=weights[1], reduction="none"
        )
    if type(module) is nn.CrossEntropyLoss and not targets.is_floating_point():
        return F.cross_entropy(
            logits,
            targets,
            None if module.weight is None else module.weight.to(logits),
            ignore_index=module.ignore_index,
            label_smoothing=module.label_smoothing,
            reduction="none",
        )
    return None
