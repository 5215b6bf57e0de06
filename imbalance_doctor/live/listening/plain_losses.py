"""Losses that know nothing of us, plain torch ones among them: what is said of one forward of theirs."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imbalance_doctor.losses import _checks, diagnostics, ranking
from imbalance_doctor.statistics import EMPTY

Detail = diagnostics.Detail

#: Logits of a forward that is described after its step and not in it: a copy of 65,536 takes some 20
#: microseconds, and statistics of more take so long that a cold start of half a millisecond is little.
MOST_KEPT = 1 << 16

#: What `nn.BCELoss` makes of log 0.
LOG_OF_ZERO = -100.0

#: Whole values outside [0, 1] that the float targets of one batch may have and still be labels: data sets
#: mark void, unlabelled and uncertain entries. Of quantities, such as ratings from 1 to 5, there are more.
MOST_MARKS = 3


# ------------------------------------------------------------------------------------------ the losses


@dataclass(frozen=True)
class Reading:
    """How the arguments of a loss are read.

    Attributes:
        of_classes: Whether it is a loss of classes; of any other the loss alone is followed.
        exclusive: Whether classes exclude each other; None where the shapes must tell.
        scale: What its scores are.
        signed: Whether labels are 1 and -1.
    """

    of_classes: bool = True
    exclusive: bool | None = None
    scale: Literal["logits", "probabilities", "log-probabilities"] = "logits"
    signed: bool = False

    def logits(self, scores: Tensor) -> Tensor:
        """The logits of scores ``(N, C, ...)``, whose sigmoid or softmax is what the loss is of."""
        scores = scores.to(ranking.pool.wide_dtype(scores.dtype))
        if self.scale == "log-probabilities":
            return scores.masked_fill(scores == -math.inf, LOG_OF_ZERO)
        if self.scale == "logits":
            return scores
        log_odds = scores.log().clamp_min(LOG_OF_ZERO) - (-scores).log1p().clamp_min(LOG_OF_ZERO)
        return torch.where(_are_probabilities(scores), log_odds, scores)

    def gradient(self, scores: Tensor, gradient: Tensor) -> Tensor:
        """The gradient at the logits, from that at the scores."""
        if self.scale == "log-probabilities":
            classes = min(1, scores.dim() - 1)
            return gradient - scores.softmax(classes) * gradient.sum(classes, keepdim=True)
        if self.scale == "logits":
            return gradient
        return gradient * torch.where(_are_probabilities(scores), scores * (1 - scores), 1.0)

    def labels(self, targets: Tensor) -> Tensor:
        """Targets as the statistics take them."""
        if not self.signed:
            return targets
        return torch.where(targets == 1, 1.0, torch.where(targets == -1, 0.0, math.nan))


def _are_probabilities(scores: Tensor) -> Tensor:
    """Whether no score lies outside [0, 1]: a loss derived from `nn.BCELoss` may take logits."""
    return ~((scores < 0) | (scores > 1)).any()


LOSS_ALONE = Reading(of_classes=False)
BY_SHAPE = Reading()
COLUMNS = Reading(exclusive=False)
CLASSES = Reading(exclusive=True)

#: Torch's own losses, and what derives from them. Not of classes are also those whose targets are lists of
#: labels, sequences or pairs.
READINGS: Mapping[type[nn.Module], Reading] = {
    nn.BCEWithLogitsLoss: COLUMNS,
    nn.MultiLabelSoftMarginLoss: COLUMNS,
    nn.BCELoss: Reading(exclusive=False, scale="probabilities"),
    nn.SoftMarginLoss: Reading(exclusive=False, signed=True),
    nn.CrossEntropyLoss: CLASSES,
    nn.MultiMarginLoss: CLASSES,
    nn.NLLLoss: Reading(exclusive=True, scale="log-probabilities"),
    **dict.fromkeys(
        (
            nn.AdaptiveLogSoftmaxWithLoss,
            nn.CTCLoss,
            nn.CosineEmbeddingLoss,
            nn.GaussianNLLLoss,
            nn.HingeEmbeddingLoss,
            nn.HuberLoss,
            nn.KLDivLoss,
            nn.L1Loss,
            nn.MSELoss,
            nn.MarginRankingLoss,
            nn.MultiLabelMarginLoss,
            nn.PoissonNLLLoss,
            nn.SmoothL1Loss,
            nn.TripletMarginLoss,
            nn.TripletMarginWithDistanceLoss,
        ),
        LOSS_ALONE,
    ),
}

#: The losses whose elements we can compute, and so split over classes, positives and negatives.
_WITH_ELEMENTS = (
    nn.BCEWithLogitsLoss,
    nn.BCELoss,
    nn.SoftMarginLoss,
    nn.MultiLabelSoftMarginLoss,
    nn.CrossEntropyLoss,
    nn.NLLLoss,
)


def reading_of(module: nn.Module) -> Reading:
    """How the arguments of a loss are read, as far as its type tells."""
    return next((reading for kind, reading in READINGS.items() if isinstance(module, kind)), BY_SHAPE)


def _are_quantities(targets: Tensor, scores: Tensor) -> bool:
    """Whether targets that the loss's type says nothing of are no labels: the loss is a regression."""
    if not targets.is_floating_point() or targets.numel() != scores.numel():
        return False
    rounding = 4 * torch.finfo(targets.dtype).eps
    outside = targets[(targets < -rounding) | (targets > 1 + rounding)].float()
    return bool((outside != outside.round()).any()) or len(torch.unique(outside)) > MOST_MARKS


# -------------------------------------------------------------------------------------------- one call


@dataclass
class Call:
    """One forward of a loss.

    Attributes:
        module: The loss.
        reading: How its arguments are read, which may show only in a call.
        scores: Those that it was called with; classes that came last are second here. None where the loss
            alone is wanted, or is all that there is to follow.
        targets: Those that it was called with, or None.
        loss: What it returned, or the mean of the entries that count; None if it returned no tensor.
        empty: Whether the loss is nan because no target counts, 0-dim; None where it is known not to be.
        detail: What a record of it is to hold.
        weights: The `weight` and `pos_weight` that it had, where they say what its elements were.
        classes_last: Whether classes came last, as they do in the gradient that is heard.
        gradient: That of the scores, where it is wanted and the backward has been.
        may_wait: Whether a rule is in no hurry to see it: it is kept, of counts alone, and finite.
        given: The scores as they were, with their place in the graph; None in a copy.
        returned: The loss as it was returned, with its own; None in a copy.
    """

    module: nn.Module
    reading: Reading
    scores: Tensor | None
    targets: Tensor | None
    loss: Tensor | None
    detail: Detail
    empty: Tensor | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    classes_last: bool = False
    gradient: Tensor | None = None
    may_wait: bool = False
    given: Tensor | None = None
    returned: Tensor | None = None

    @classmethod
    def of(
        cls,
        module: nn.Module,
        reading: Reading,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        out: Any,
        detail: Detail,
    ) -> Call:
        """What a forward hook is told.

        Raises:
            TypeError: These are not logits and targets.
            ValueError: They do not fit each other.
        """
        loss = _loss_in(out)
        returned = None if loss is None else loss.detach()
        alone = None if returned is None else returned.mean()
        if not reading.of_classes or (detail is Detail.LOSS and _is_a_number(returned)):
            return cls(module, reading, None, None, alone, detail)
        found = _roles(module, args, kwargs)
        if found is None:
            given = [type(value).__name__ for value in (*args, *kwargs.values())]
            raise TypeError(
                f"expected the watched loss to be called with (logits, targets) tensors, got {given}"
            )
        scores, targets = found
        if reading is BY_SHAPE and _are_quantities(targets.detach(), scores):
            return cls(module, LOSS_ALONE, None, None, alone, detail)
        weights = {}
        if detail >= Detail.SCORES and type(module) in _WITH_ELEMENTS:
            named = {name: getattr(module, name, None) for name in ("weight", "pos_weight")}
            weights = {name: value.detach() for name, value in named.items() if value is not None}
        # (N, ..., C) as models of tokens have it, where it cannot be torch's (N, C, ...).
        last = scores.dim() > 2 and targets.shape == scores.shape[:-1] != (len(scores), *scores.shape[2:])
        call = cls(
            module,
            reading,
            classes_second(scores.detach(), last),
            targets.detach(),
            None,
            detail,
            weights=weights,
            classes_last=last,
            given=scores,
            returned=loss,
        )
        if returned is not None:
            call.loss = call._reduced(returned)
            call.empty = call._is_empty(returned)
        return call

    @property
    def is_small(self) -> bool:
        """Whether a copy of it on the host costs next to nothing."""
        if self.scores is None or self.targets is None:
            return True
        at_hand = _checks.looks_are_free(self.scores) and _checks.looks_are_free(self.targets)
        return at_hand and self.scores.numel() <= MOST_KEPT

    def kept(self) -> Call:
        """The same with tensors of its own, because those of a loop and of a loss are theirs to change."""
        if self.scores is None or self.targets is None:
            return self
        scores, targets = self.scores.clone(), self.targets.clone()
        weights = {name: value.clone() for name, value in self.weights.items()}
        may_wait = self.detail is Detail.COUNTS and self.is_finite and math.isfinite(scores.sum())
        return replace(
            self,
            scores=scores,
            targets=targets,
            weights=weights,
            may_wait=may_wait,
            given=None,
            returned=None,
        )

    @property
    def is_finite(self) -> bool:
        """Whether the loss is a number that is finite."""
        return self.loss is not None and math.isfinite(self.loss)

    def hear_gradient(self, gradient: Tensor) -> None:
        """Keep the gradient of the scores."""
        self.gradient = classes_second(gradient, self.classes_last).clone()

    def stats(self) -> dict[str, Any]:
        """Its statistics, where they were computed."""
        if self.scores is None or self.targets is None:
            return {} if self.loss is None else {"loss": self.loss}
        logits, labels = self.reading.logits(self.scores), self.reading.labels(self.targets)
        elements = self._elements(logits, labels) if self.detail >= Detail.SCORES else None
        stats = dict(
            diagnostics.likelihood.described(
                logits, labels, self.detail, elements, self.reading.exclusive, self._ignored
            )
        )
        if self.loss is not None:
            stats["loss"] = self.loss
        if self.empty is not None:
            stats[EMPTY] = self.empty
        if self.gradient is not None:
            stats |= self.gradient_splitter()(self.gradient)
        return stats

    def gradient_splitter(self) -> Callable[[Tensor], dict[str, Tensor]]:
        """Splits the gradient of the scores, with classes second, into norms at the logits."""
        assert self.scores is not None
        assert self.targets is not None
        scores, reading = self.scores, self.reading
        labels = diagnostics.likelihood.labels_of(
            reading.logits(scores),
            reading.labels(self.targets),
            multiclass=reading.exclusive,
            ignore_index=self._ignored,
        )
        return lambda gradient: diagnostics.gradients.gradient_norms(
            reading.gradient(scores, gradient), *labels
        )

    @property
    def _ignored(self) -> int | None:
        """The class id that does not count."""
        ignored = getattr(self.module, "ignore_index", None)
        return ignored if isinstance(ignored, int) else None

    def _counted(self) -> Tensor:
        """Which targets count, in the shape of an unreduced loss."""
        assert self.scores is not None
        assert self.targets is not None
        return diagnostics.likelihood.counted(
            self.scores,
            self.reading.labels(self.targets),
            multiclass=self.reading.exclusive,
            ignore_index=self._ignored,
        )

    def _reduced(self, returned: Tensor) -> Tensor:
        """The loss; of an unreduced one the mean where targets count, because the loop will mask the rest."""
        if not returned.dim():
            return returned.clone()  # a loop may scale its loss in place
        counted = self._counted()
        if returned.shape != counted.shape[: returned.dim()]:
            return returned.mean()
        counted = counted.reshape(*returned.shape, -1).any(-1)
        return torch.where(counted, returned, 0.0).sum() / counted.sum()

    def _is_empty(self, returned: Tensor) -> Tensor | None:
        assert self.loss is not None
        assert self.targets is not None
        if _is_a_number(self.loss):
            return None
        if type(self.module) in _WITH_ELEMENTS and not self.reading.exclusive and not returned.dim():
            # These know of no label that does not count: a nan among them is in the gradient, too.
            return self.loss.new_full((), not self.targets.numel(), dtype=torch.bool)
        return self.loss.isnan() & ~self._counted().any()

    def _elements(self, logits: Tensor, labels: Tensor) -> Tensor | None:
        """The loss of each element (columns) or row (classes); None where it is not ours to compute."""
        module = self.module
        if type(module) not in _WITH_ELEMENTS:
            return None
        weights: dict[str, Any] = {name: value.to(logits) for name, value in self.weights.items()}
        if not self.reading.exclusive:
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none", **weights)
        if labels.is_floating_point():
            return None
        return F.cross_entropy(
            logits,
            labels,
            ignore_index=getattr(module, "ignore_index", -100),
            label_smoothing=getattr(module, "label_smoothing", 0.0),
            reduction="none",
            **weights,
        )


def classes_second(values: Tensor, last: bool) -> Tensor:
    """Scores, or their gradient, as torch's losses have them: ``(N, C, ...)``."""
    return values.movedim(-1, 1) if last else values


def _is_a_number(loss: Tensor | None) -> bool:
    """Whether a look at a scalar, if that is free, shows that it is not nan."""
    return loss is not None and not loss.dim() and _checks.looks_are_free(loss) and not math.isnan(loss)


def _loss_in(out: Any) -> Tensor | None:
    """The loss in what a module returned: what a dictionary or tuple calls so, or its first scalar."""
    if isinstance(out, Tensor):
        return out
    named = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    parts = out.values() if isinstance(out, Mapping) else out if isinstance(out, (tuple, list)) else ()
    found = [value for value in (named, *parts) if isinstance(value, Tensor)]
    if isinstance(named, Tensor):
        return found[0]
    return next((value for value in found if not value.dim()), found[0] if found else None)


# ------------------------------------------------------------------------------------- which is which

#: Words in the names of arguments: ``y_true``, ``pred_logits``, ``classLabels``.
_OF_TARGETS = {"target", "targets", "label", "labels", "true", "truth", "gt", "tgt", "ytrue", "ygt"}
_OF_SCORES = {
    "input", "inputs", "logit", "logits", "pred", "preds", "predicted", "prediction", "predictions",
    "output", "outputs", "score", "scores", "hat", "yhat", "ypred", "prob", "probs",
}  # fmt: skip
_OF_NEITHER = {"weight", "weights", "mask", "masks", "length", "lengths"}


def _roles(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Tensor, Tensor] | None:
    """Scores and targets of a call: by their names, else in the order declared.

    Names give way to what the tensors are: targets are integers or need no gradient where scores are not.
    """
    declared = _parameters(module)
    order = {name: at for at, name in enumerate(declared)}
    given = [(declared[at] if at < len(declared) else "", value) for at, value in enumerate(args)]
    given += sorted(kwargs.items(), key=lambda each: order.get(each[0], len(order)))
    found = [
        (_lean(name), value)
        for name, value in given
        if isinstance(value, Tensor) and not _words(name) & _OF_NEITHER
    ]
    if len(found) < 2:
        return None
    scores = max(found, key=lambda each: each[0])
    targets = min((each for each in found if each is not scores), key=lambda each: each[0])
    if _is_target_of(scores[1], targets[1]) and not _is_target_of(targets[1], scores[1]):
        scores, targets = targets, scores
    return scores[1], targets[1]


def _is_target_of(one: Tensor, other: Tensor) -> bool:
    """Whether the one cannot be the scores while the other can."""
    if one.is_floating_point() != other.is_floating_point():
        return other.is_floating_point()
    return other.requires_grad and not one.requires_grad


def _parameters(module: nn.Module) -> tuple[str, ...]:
    forward = getattr(module.forward, "__func__", module.forward)
    names = _names_of(forward)
    return names[1:] if forward is not module.forward else names


@lru_cache(maxsize=64)
def _names_of(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of a function, in order."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):  # none that Python knows of
        return ()
    return tuple(each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))


@lru_cache(maxsize=256)
def _words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))


def _lean(name: str) -> int:
    """1 for the name of scores, -1 for that of targets, 0 where it says neither, or both."""
    words = _words(name)
    return bool(words & _OF_SCORES) - bool(words & _OF_TARGETS)
