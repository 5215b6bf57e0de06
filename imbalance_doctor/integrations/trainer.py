"""The Hugging Face Trainer around a loss: a step's batches, and settings that do other than they seem."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from torch import Tensor, nn
from transformers import Trainer

from imbalance_doctor.integrations import accumulation
from imbalance_doctor.integrations.common import Named
from imbalance_doctor.losses import distributed


def calling_trainer() -> Trainer | None:
    """The Trainer that calls: callbacks are given all of it but itself. None where something else calls."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back
    return None


def takes_model_loss(trainer: Trainer) -> bool:
    """Whether the Trainer trains with the loss that the model returns."""
    return trainer.compute_loss_func is None and type(trainer).compute_loss is Trainer.compute_loss


class StepBatches:
    """The batches of the present optimizer step, which the Trainer fetches before it goes through them.

    Args:
        trainer: Its method ``get_batch_samples`` is listened to, until `remove`.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.args = trainer.args
        #: Of each batch; empty where the batches have none.
        self.labels: list[Tensor] = []
        self._divisor: Tensor | None = None
        self._trainer, self._fetch = trainer, trainer.get_batch_samples
        trainer.get_batch_samples = self._fetched  # type: ignore[method-assign]

    def _fetched(self, *args: Any, **kwargs: Any) -> Any:
        fetched = self._fetch(*args, **kwargs)
        found = [batch.get("labels") for batch in fetched[0] if isinstance(batch, Mapping)]
        self.labels = [labels for labels in found if isinstance(labels, Tensor)]
        self._divisor = None
        return fetched

    def divisor(self, loss: nn.Module, of_all_ranks: bool) -> Tensor:
        """What the loss divides all of them by, on the labels of all ranks if so wanted."""
        if self._divisor is None:  # once a step
            parts = [accumulation.divisor(loss, labels).float() for labels in self.labels]
            own = sum((part.to(self.args.device) for part in parts[1:]), parts[0].to(self.args.device))
            who = type(loss).__name__
            self._divisor = distributed.sum_over_ranks(own, None, who) if of_all_ranks else own
        return self._divisor

    def remove(self) -> None:
        """Listen no more."""
        self._trainer.get_batch_samples = self._fetch  # type: ignore[method-assign]
        self.labels = []


def cautions(trainer: Trainer, losses: Named, loss_fn: nn.Module | None) -> Iterator[str]:
    """What of the Trainer's settings does other than it seems, and what to do.

    Args:
        trainer: The Trainer, about to begin.
        losses: The losses that are watched.
        loss_fn: The one that was given to the callback.
    """
    args, model, inside = trainer.args, trainer.model, takes_model_loss(trainer)
    assert model is not None
    if inside and loss_fn is not None and all(module is not loss_fn for module in model.modules()):
        yield (
            "the Trainer trains with the loss that the model returns, not with the callback's loss_fn. To "
            "train with loss_fn, pass Trainer(..., compute_loss_func=callback.compute_loss)"
        )
    smoothing, batches = args.label_smoothing_factor, args.gradient_accumulation_steps
    if smoothing and (inside or trainer.compute_loss_func is not None):
        effect = "has no effect: the Trainer smooths labels in a loss of its own, not in a compute_loss_func"
        if inside:
            effect = "makes the Trainer compute a loss of its own, so the model's loss module is not called"
        yield (
            f"label_smoothing_factor={smoothing:g} {effect}. Leave it at 0 and smooth in the loss, as "
            f"nn.CrossEntropyLoss(label_smoothing={smoothing:g}) and SoftmaxFocalLoss do"
        )
    if batches > 1 and not inside and loss_fn is not None and not accumulation.has_divisor(loss_fn):
        yield (
            f"with gradient_accumulation_steps={batches}, the divisor of {accumulation.label(None, loss_fn)} "
            "is not known: it is taken for a mean over the labels that are not -100. If it divides by "
            "anything else, such as class weights or positives, the step is not that of one large batch. "
            "Give it a method divisor(labels) that returns the divisor. If it does not divide, set its "
            "attribute reduction to 'sum'"
        )
    means = [accumulation.label(*named) for named in losses if not accumulation.is_sum(named[1])]
    factor = batches * (args.world_size if args.average_tokens_across_devices else 1)
    if inside and trainer.model_accepts_loss_kwargs and means and factor > 1 and not _divides_itself(model):
        yield (
            f"{type(model).__name__}.forward takes **kwargs, so the Trainer expects it to divide the loss by "
            f"num_items_in_batch and does not divide it. A mean, such as that of {means[0]}, comes out "
            f"{factor} times too large. Set accepts_loss_kwargs = False in the model's class"
        )


def _divides_itself(model: nn.Module) -> bool:
    """Whether a model's forward speaks of the number of items, by which the Trainer expects it to divide."""
    code = getattr(type(model).forward, "__code__", None)
    return code is None or "num_items_in_batch" in (*code.co_varnames, *code.co_consts, *code.co_names)


def class_names(model: nn.Module) -> dict[int, str] | None:
    """Names of the classes by id in the model's config; None where they are those that stand for no name."""
    named: Any = getattr(getattr(model, "config", None), "id2label", None)
    try:
        names = {int(index): str(name) for index, name in named.items()}
    except (AttributeError, TypeError, ValueError):
        return None
    return None if all(name == f"LABEL_{index}" for index, name in names.items()) else names


def predicts_next_token(model: nn.Module) -> bool:
    """Whether a model's output at a token stands for the label of the next one."""
    return getattr(model, "loss_type", None) == "ForCausalLM"
