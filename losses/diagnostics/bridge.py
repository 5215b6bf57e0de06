"""Likelihood losses beside a ranking loss: the same logits and targets, whatever form the targets have.

A ranking loss takes class ids, a column of them, or 0/1 labels with ignored entries. `nn.BCEWithLogitsLoss`
takes float labels of the logits' shape, `nn.CrossEntropyLoss` class ids. `evaluate` bridges the two.
"""

from __future__ import annotations

import inspect
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .. import kinds
from .._checks import require
from ..distributed import mean_over_ranks, should_gather
from ..focal import SigmoidFocalLoss, SoftmaxFocalLoss, element_weight, not_class_ids, one_logit
from ..functional import counted_rows
from ..interrupts import attempt
from ..ranking.labels import class_ids, widened
from ..ranking.pool import wide_dtype
from .listening import ConfigValue, Diagnosable
from .plain_values import plain

#: Torch's own losses that have a kind; any other module is of the kind `OTHER`. The last of a kind is what
#: its name stands for where a loss is made from a name.
PLAIN_KINDS: Mapping[type[nn.Module], str] = {
    nn.BCELoss: kinds.BCE,
    nn.SoftMarginLoss: kinds.BCE,
    nn.MultiLabelSoftMarginLoss: kinds.BCE,
    nn.NLLLoss: kinds.CROSS_ENTROPY,
    nn.BCEWithLogitsLoss: kinds.BCE,
    nn.CrossEntropyLoss: kinds.CROSS_ENTROPY,
}

#: Attributes of other modules that are settings, and what they may be: rules reckon with numbers. A weight
#: that is no list of numbers, such as the matrix of a margin head, is described in words.
_PLAIN_SETTINGS: Mapping[str, tuple[type, ...]] = {
    "reduction": (str,),
    "ignore_index": (int,),
    "label_smoothing": (int, float),
    "weight": (list, int, float, str),
    "pos_weight": (list, int, float, str),
}


def kind_of(loss: nn.Module) -> str:
    """The stable name of a loss in logs: its `kind`, one of `PLAIN_KINDS`, or `OTHER`. Nothing raises."""
    if isinstance(loss, Diagnosable):
        kind = plain(attempt(getattr, loss, "kind"))
        return kind if isinstance(kind, str) else kinds.OTHER
    return next((kind for known, kind in PLAIN_KINDS.items() if isinstance(loss, known)), kinds.OTHER)


def config_of(loss: nn.Module) -> dict[str, ConfigValue]:
    """The settings of any loss, its kind included, as small plain values. Nothing raises."""
    return {"kind": kind_of(loss)} | settings_of(loss)


def settings_of(loss: nn.Module) -> dict[str, ConfigValue]:
    """The settings of any loss as small plain values; of one that cannot tell them, none. Nothing raises."""
    if isinstance(loss, Diagnosable):
        settings = plain(attempt(loss.config))
        return settings if isinstance(settings, dict) else {}
    found = {name: plain(attempt(getattr, loss, name)) for name in _PLAIN_SETTINGS}
    return {name: value for name, value in found.items() if isinstance(value, _PLAIN_SETTINGS[name])}


def original(loss: nn.Module) -> nn.Module:
    """The module that `torch.compile` made a copy of, or the module itself."""
    # Not by getattr, which takes 7 microseconds to miss on a module.
    if "_orig_mod" not in loss._modules:
        return loss
    inner = loss._modules["_orig_mod"]
    assert inner is not None
    return inner


def _is_bridged(loss: nn.Module) -> bool:
    """Whether `evaluate` computes a loss: BCE, cross-entropy, focal, or a subclass with the same forward."""
    # By classes, because a compiler does not see that two functions are one.
    plain = (nn.BCEWithLogitsLoss, nn.CrossEntropyLoss, SigmoidFocalLoss, SoftmaxFocalLoss)
    definer = next(kind for kind in type(loss).__mro__ if "forward" in kind.__dict__)
    return definer in plain and "forward" not in loss.__dict__


class _Everything:
    """The names of a ``**kwargs``."""

    def __contains__(self, name: object) -> bool:
        return True


def keywords_of(loss: nn.Module) -> Container[str]:
    """The names of what a loss takes besides logits and targets."""
    loss = original(loss)
    if _is_bridged(loss):
        return {"sample_weight"}
    scripted = getattr(loss.forward, "schema", None)
    if scripted is not None:
        _self, _logits, _targets, *others = (argument.name for argument in scripted.arguments)
        return set(others)
    parameters = list(inspect.signature(loss.forward).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return _Everything()
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    others = [p for p in parameters if p not in by_place[:2]]
    return {p.name for p in others if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


@dataclass(frozen=True)
class Evaluated:
    """A loss, and what its statistics are computed from.

    Attributes:
        loss: What the loss returned.
        logits: The logits, in the type that was computed in.
        targets: In the form that the loss took, nan where a label does not count.
        elements: The loss of each element (sigmoid) or row (softmax), where known.
        multiclass: Whether classes exclude each other; None where unknown.
        ignore_index: Class ids with this value do not count.
    """

    loss: Tensor
    logits: Tensor
    targets: Tensor
    elements: Tensor | None = None
    multiclass: bool | None = None
    ignore_index: int | None = None


def evaluate(
    loss: nn.Module,
    logits: Tensor,
    targets: Tensor,
    *,
    ignore_index: int,
    keywords: Mapping[str, Any],
    gather: bool | None,
    group: dist.ProcessGroup | None = None,
) -> Evaluated:
    """Call a likelihood loss with targets in the form that a ranking loss takes.

    Ignored rows and entries do not count, a keyword `sample_weight` `[N]` weighs rows, and means are those of
    all ranks' rows. A module that is none of BCE, cross-entropy and focal, or has a forward of its own, gets
    logits, targets and keywords as they are.

    Raises:
        TypeError: Such a module returns something else than a tensor.
    """
    inner = original(loss)
    if not _is_bridged(inner):
        value = loss(logits, targets, **keywords)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"expected {type(inner).__name__} to return a tensor, got {type(value).__name__}: return the "
                "loss alone, for instance from a module that wraps it"
            )
        return Evaluated(value, logits, targets, ignore_index=ignore_index)
    bridge = _sigmoid if isinstance(inner, nn.BCEWithLogitsLoss | SigmoidFocalLoss) else _softmax
    return bridge(inner, logits, targets, ignore_index, keywords.get("sample_weight"), gather, group)


def _sigmoid(
    loss: nn.Module,
    logits: Tensor,
    targets: Tensor,
    ignore_index: int,
    sample_weight: Tensor | None,
    gather: bool | None,
    group: dist.ProcessGroup | None,
) -> Evaluated:
    x = logits.to(wide_dtype(logits.dtype))
    labels, counted = as_labels(x, targets, ignore_index)
    known = torch.where(counted, labels, torch.nan)
    if isinstance(loss, SigmoidFocalLoss):
        value = loss.masked_forward(x, labels, counted, sample_weight=sample_weight)
        assert isinstance(value, Tensor)
        return Evaluated(value, x, known, multiclass=False)
    assert isinstance(loss, nn.BCEWithLogitsLoss)
    weight = counted.to(x.dtype)
    if sample_weight is not None:
        weight = weight * element_weight(sample_weight, x)
    # A nan in an entry that does not count must not reach the others through 0 · nan.
    elements = F.binary_cross_entropy_with_logits(
        torch.where(counted, x, 0.0),
        labels,
        weight=loss.weight,
        pos_weight=loss.pos_weight,
        reduction="none",
    )
    value = _reduce(loss, x, elements * weight, weight, gather, group)
    return Evaluated(value, x, known, elements, multiclass=False)


def _softmax(
    loss: nn.Module,
    logits: Tensor,
    targets: Tensor,
    ignore_index: int,
    sample_weight: Tensor | None,
    gather: bool | None,
    group: dist.ProcessGroup | None,
) -> Evaluated:
    x = logits.to(wide_dtype(logits.dtype))
    ids = targets
    if ids.dim() == x.dim() and ids.shape[1:] == (1,):
        ids = ids[:, 0]
    name = type(loss).__name__
    if x.dim() < 2 or x.shape[1] == 1:
        instead = "SigmoidFocalLoss" if isinstance(loss, SoftmaxFocalLoss) else "torch.nn.BCEWithLogitsLoss"
        raise one_logit(name, instead, x, x)  # a wrapper reshapes the targets itself
    if ids.shape == x.shape and (not ids.is_floating_point() or isinstance(loss, SoftmaxFocalLoss)):
        raise not_class_ids(name, ids)
    if ids.shape == x.shape:
        return _of_probabilities(loss, x, ids, sample_weight, gather, group)
    own_ignore = loss.ignore_index
    assert isinstance(own_ignore, int)
    ids = class_ids(ids)
    ids = torch.where(ids == ignore_index, own_ignore, ids)
    counted = ids != own_ignore
    weight = counted.to(x.dtype)
    if sample_weight is not None:
        sample_weight = element_weight(sample_weight, weight)
    if isinstance(loss, SoftmaxFocalLoss):
        value: Tensor = loss(x, ids, sample_weight=sample_weight)
        return Evaluated(value, x, ids, multiclass=True, ignore_index=own_ignore)
    assert isinstance(loss, nn.CrossEntropyLoss)
    elements = F.cross_entropy(
        counted_rows(x, counted),
        ids,
        weight=loss.weight,
        ignore_index=own_ignore,
        reduction="none",
        label_smoothing=loss.label_smoothing,
    )
    if sample_weight is not None:
        weight = weight * sample_weight
    known = torch.where(counted, ids, 0)
    share = weight if loss.weight is None else weight * loss.weight.to(x.dtype)[known]
    value = _reduce(loss, x, elements * weight, share, gather, group)
    return Evaluated(value, x, ids, elements, multiclass=True, ignore_index=own_ignore)


def _of_probabilities(
    loss: nn.Module,
    x: Tensor,
    targets: Tensor,
    sample_weight: Tensor | None,
    gather: bool | None,
    group: dist.ProcessGroup | None,
) -> Evaluated:
    """Cross-entropy with class probabilities; a mean is over rows, as in torch, class weights or not."""
    assert isinstance(loss, nn.CrossEntropyLoss)
    lowest, highest = targets.detach().aminmax() if targets.numel() else (x.new_zeros(()),) * 2
    require(
        (lowest >= 0) & (highest <= 1),
        lambda: (
            f"expected class probabilities to lie in [0, 1], got values from {lowest:g} to {highest:g}: give "
            "class ids [N], or use BCEWithLogitsLoss if some labels should not count"
        ),
    )
    elements = F.cross_entropy(
        x,
        targets.to(x.dtype),
        weight=loss.weight,
        reduction="none",
        label_smoothing=loss.label_smoothing,
    )
    weight = torch.ones_like(elements)
    if sample_weight is not None:
        weight = weight * element_weight(sample_weight, weight)
    value = _reduce(loss, x, elements * weight, weight, gather, group)
    return Evaluated(value, x, targets, elements, multiclass=True)


def as_labels(logits: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Float labels of the logits' shape, and which of them count.

    Args:
        logits: `[N]`, `[N, 1]` or `[N, C]`.
        targets: Of the logits' shape; or 0/1 `[N]` or `[N, 1]` for one logit a row; or class ids, which
            become one label for each class.
        ignore_index: Targets with this value do not count.
    """
    targets = widened(targets)
    counted = targets != ignore_index
    known = torch.where(counted, targets, 0)
    if _places(targets) == _places(logits):
        if known.numel():
            lowest, highest = known.detach().aminmax()
            require(
                (lowest >= 0) & (highest <= 1),
                lambda: (
                    f"expected labels to lie in [0, 1] or to equal ignore_index={ignore_index}, got values "
                    f"from {lowest:g} to {highest:g}: mark labels to leave out with {ignore_index}, or "
                    "build the main loss with another ignore_index"
                ),
            )
        shape = logits.shape
        return known.reshape(shape).to(logits.dtype), counted.reshape(shape)
    if logits.dim() != 2 or _places(targets) != logits.shape[:1]:
        raise ValueError(
            f"expected targets to be labels of the logits' shape {list(logits.shape)}, or one class id per "
            f"row, got {list(targets.shape)}: give a target for each row, or for each logit"
        )
    ids = known.reshape(-1, 1)
    classes = logits.shape[1]
    require(
        ((ids >= 0) & (ids < classes) & (ids == ids.round())).all(),
        lambda: (
            f"expected class ids to be whole numbers in [0, {classes - 1}] or to equal ignore_index="
            f"{ignore_index}, got values from {ids.min():g} to {ids.max():g}: give the model a logit for "
            f"each class, and mark ids to leave out with {ignore_index}"
        ),
    )
    labels = ids == torch.arange(classes, device=logits.device)
    return labels.to(logits.dtype), counted.reshape(-1, 1).expand_as(logits)


def _places(x: Tensor) -> torch.Size:
    """The shape without a second dimension of one, which a binary problem may have or not."""
    return x.shape[:1] + x.shape[2:] if x.shape[1:2] == (1,) else x.shape


def _reduce(
    loss: nn.BCEWithLogitsLoss | nn.CrossEntropyLoss,
    logits: Tensor,
    weighted: Tensor,
    weight: Tensor,
    gather: bool | None,
    group: dist.ProcessGroup | None,
) -> Tensor:
    """As the loss reduces, over all ranks where they take part."""
    if loss.reduction == "none":
        return weighted
    divisor = None if loss.reduction == "sum" else weight.sum()
    gathers = should_gather(gather, logits, group)
    return mean_over_ranks(weighted.sum(), divisor, gathers, group, type(loss).__name__)
