"""Gradient accumulation: what each batch counts for in the accumulated one.

A mean is a sum over a divisor: rows, class weights, positives. The gradient of one large batch is that of its
parts' sums over the sum of their divisors, so each part's mean counts by its share of the divisors. A
framework that takes the mean of the parts' means is exact only where all divisors are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from imbalance_doctor.guard import Guard, warn
from imbalance_doctor.integrations.common import Named, Removable, original
from imbalance_doctor.losses import (
    LossWarmupWrapper,
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    distributed,
    ranking,
)

#: Labels that are no label, where a loss does not say which: torch's own default.
IGNORED = -100

#: Batches whose divisors are compared before a mean of means is judged: from 16 the variance is known to
#: within 40 %.
COMPARED = 16

#: Squared coefficient of variation of the divisors from which a mean of means is more than noise. Its bias is
#: about that share (Cochran, Sampling Techniques, 3rd ed., section 6.8), and class weights are hardly ever
#: chosen to 10 %.
UNEVEN = 0.1

_OURS = (SigmoidFocalLoss, SoftmaxFocalLoss, ranking.RankingLoss, LossWarmupWrapper)


def label(name: str | None, loss: nn.Module) -> str:
    """What to call a loss."""
    return name or type(original(loss)).__name__


# --- what a loss divides by -----------------------------------------------------------------------------


def counting(loss: nn.Module) -> nn.Module:
    """The loss whose divisor counts: of a wrapper the warmup loss, as long as that has a weight."""
    loss = original(loss)
    if isinstance(loss, LossWarmupWrapper):
        return original(loss.warmup_loss if loss.main_weight < 1 else loss.main_loss)
    return loss


def is_known(loss: nn.Module) -> bool:
    """Whether a loss computes what its class says: its forward is torch's or ours, not a subclass's own."""
    forward = type(loss).forward
    return forward.__module__ == "torch.nn.modules.loss" or any(forward is ours.forward for ours in _OURS)


def ranks_batch(loss: nn.Module) -> bool:
    """Whether a loss, now or later, ranks a batch and so cannot be put together from its parts."""
    loss = original(loss)
    return isinstance(loss.main_loss if isinstance(loss, LossWarmupWrapper) else loss, ranking.RankingLoss)


def is_sum(loss: nn.Module) -> bool:
    """Whether a loss is a sum over rows, which has no divisor."""
    chosen = counting(loss)
    return getattr(chosen, "reduction", None) == "sum" and not isinstance(chosen, ranking.RankingLoss)


def has_divisor(loss: nn.Module) -> bool:
    """Whether `divisor` knows the loss; if not, it takes it for a mean over labels."""
    chosen = counting(loss)
    return is_known(chosen) or is_sum(loss) or callable(getattr(chosen, "divisor", None))


def divisor(loss: nn.Module, labels: Tensor) -> Tensor:
    """What a loss divides the sum of a batch by, 0-dim, up to a factor that all batches share.

    A ranking loss has none: each batch counts as 1. A loss of a user's own may have a method
    ``divisor(labels)``.
    """
    chosen = counting(loss)
    if isinstance(chosen, ranking.RankingLoss):
        return torch.ones((), device=labels.device)
    if not is_known(chosen) and callable(getattr(chosen, "divisor", None)):
        return torch.as_tensor(cast(Any, chosen).divisor(labels), device=labels.device)
    counted = torch.ones_like(labels, dtype=torch.bool)
    for index in _ignored(loss):
        counted &= labels != index
    if labels.is_floating_point():  # labels of each class, or probabilities of classes: they are not weighed
        return counted.sum()
    if isinstance(chosen, SoftmaxFocalLoss) and chosen.reduction == "mean_positive":
        counted &= labels != chosen.background_class
    weight = chosen.weight if isinstance(chosen, nn.CrossEntropyLoss | nn.NLLLoss) else None
    if weight is None:
        return counted.sum()
    weights: Tensor = weight.to(labels.device)[torch.where(counted, labels, 0).long()]
    return (weights * counted).sum()


def _ignored(loss: nn.Module) -> set[int]:
    """The labels that are no label."""
    loss, chosen = original(loss), counting(loss)
    found = {getattr(chosen, "ignore_index", None if is_known(chosen) else IGNORED)}
    if isinstance(loss, LossWarmupWrapper):
        found.add(getattr(loss.main_loss, "ignore_index", IGNORED))
    return {index for index in found if isinstance(index, int)}


def gathers(loss: nn.Module, value: Tensor) -> bool:
    """Whether the loss of each rank, which has this value here, is that of all ranks' rows."""
    loss, chosen = original(loss), counting(loss)
    # A wrapper gathers for torch's losses, which do not.
    plain = type(chosen) in (nn.BCEWithLogitsLoss, nn.CrossEntropyLoss)
    asked = loss if plain and isinstance(loss, LossWarmupWrapper) else chosen
    return distributed.should_gather(getattr(asked, "gather_distributed", False), value)


def weighed(loss: Tensor, own: Tensor, total: Tensor) -> Tensor:
    """A batch's loss by its share of the accumulated batch.

    Args:
        loss: Of the batch.
        own: The batch's divisor.
        total: That of all batches.
    """
    own, total = own.to(loss.device), total.to(loss.device)
    # As our losses do: a sum that is divided by nothing stays a sum.
    share = torch.where(own == 0, 1.0, own) / torch.where(total == 0, 1.0, total)
    # Torch's mean of no label is nan. In one large batch these rows would be no more than ignored.
    return torch.where((own == 0) & loss.isnan(), 0.0, loss * share.to(loss.dtype))


# --- what to tell of it ---------------------------------------------------------------------------------


def tell_of_ranking(losses: Named, setting: str, batches: int) -> None:
    """Say that batches which are accumulated are not ranked together."""
    for name, loss in losses:
        if batches > 1 and ranks_batch(loss):
            warn(
                f"imbalance-doctor: with {setting}={batches}, {label(name, loss)} ranks each batch against "
                "its queue, not all batches of a step against each other. The step takes the mean of their "
                "gradients. For a larger pool raise queue_size or the batch size."
            )


class _Hook:
    """A hook that a copied or saved loss leaves behind."""

    def __init__(self, hear: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None) -> None:
        self._hear = hear

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._hear is not None:
            self._hear(args, kwargs)

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return type(self), ()


class DivisorCheck:
    """Compares the divisors of the first batches of a mean of means, and warns if they differ much.

    Args:
        losses: The losses that are watched.
        setting: The framework's setting.
        batches: Its value.
    """

    def __init__(self, losses: Named, setting: str, batches: int) -> None:
        self._setting = f"{setting}={batches}"
        self._seen: dict[str, list[Tensor]] = {}
        self._handles: dict[str, Removable] = {}
        self._guard = Guard("comparing what the loss divides by", "uneven batches are not reported")
        for name, loss in losses:
            if batches > 1 and has_divisor(loss) and not is_sum(loss):
                self._listen(label(name, loss), loss)

    def _listen(self, name: str, loss: nn.Module) -> None:
        def hear(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if loss.training and torch.is_grad_enabled():
                self._guard(self._hear, name, loss, args, kwargs)

        self._handles[name] = loss.register_forward_pre_hook(_Hook(hear), with_kwargs=True)

    def _hear(self, name: str, loss: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        seen = self._seen.setdefault(name, [])
        seen.append(divisor(loss, args[1] if len(args) > 1 else kwargs.get("target", kwargs.get("targets"))))
        if len(seen) == COMPARED:
            self._handles.pop(name).remove()
            self._judge(name, torch.stack(seen).double().cpu())

    def _judge(self, name: str, divisors: Tensor) -> None:
        least, most, mean = float(divisors.min()), float(divisors.max()), float(divisors.mean())
        if float(divisors.var(correction=0)) > UNEVEN * mean**2:
            warn(
                f"imbalance-doctor: {self._setting} takes the mean of the batches' means, but the divisor of "
                f"{name} (labels, class weights or positives) differs between batches, from {least:.4g} to "
                f"{most:.4g} in the first {len(divisors)}. So the rows of a batch with a smaller divisor "
                "count for more than in one large batch. Use larger batches and accumulate fewer, or use "
                f"reduction='sum' and divide by a constant, such as {mean:.3g}."
            )

    def remove(self) -> None:
        """Stop listening."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()
