"""Focal losses as modules: reductions, sample weights, ranks and diagnostics around the pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from . import functional, kinds
from ._checks import check_number, check_tensors, check_weight, require
from .diagnostics.gradients import Labels
from .diagnostics.likelihood import likelihood_stats
from .diagnostics.listening import Stats
from .distributed import Ranks, mean_over_ranks, should_gather
from .ranking.labels import widened
from .ranking.pool import wide_dtype
from .settings import GATHER_DISTRIBUTED, Configurable, Setting, Settings, integer, number, one_of, optional

GAMMA = Setting(number(least=0.0), changes=True)


def _check_alpha(name: str, value: object) -> Any:
    if value == -1:
        return value
    try:
        return check_number(name, value, least=0.0, most=1.0)
    except ValueError as error:
        raise ValueError(f"{error}; pass -1 to switch it off") from None


def _check_weights(name: str, value: object) -> Tensor:
    weights = torch.as_tensor(value, dtype=torch.float64).detach().clone()
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise ValueError(f"expected {name} to be finite and >= 0, got {weights.tolist()}")
    return weights


def _check_class_weights(name: str, value: object) -> Tensor:
    weights = _check_weights(name, value)
    if weights.dim() != 1 or weights.numel() == 0:
        raise ValueError(f"expected {name} to be one weight for each class, got shape {list(weights.shape)}")
    return weights


def _hold_weights(loss: nn.Module, name: str, weights: Tensor | None) -> None:
    # They move with the loss, and are no state: whoever builds the loss has them.
    loss.register_buffer(name, weights, persistent=False)


def _listed(weights: Tensor | None) -> list[float] | None:
    return None if weights is None else weights.tolist()


class FocalLoss(Configurable):
    """What the two focal losses share: γ, the reduction, and how ranks add up."""

    gamma: float
    reduction: str
    gather_distributed: bool | None

    def __init__(self, given: Mapping[str, object], process_group: dist.ProcessGroup | None) -> None:
        super().__init__(given)
        self._ranks = Ranks(process_group)

    @property
    def process_group(self) -> dist.ProcessGroup | None:
        """The ranks that take part; None for all."""
        return self._ranks.group

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # Class weights are settings: the constructor has them, so that a checkpoint of another loss loads
        # strictly. Older checkpoints of focal losses hold them.
        held = {prefix + name for name in ("alpha", "pos_weight")}
        rest = {key: value for key, value in state_dict.items() if key not in held}
        super()._load_from_state_dict(rest, prefix, *args)

    def _reduce(self, logits: Tensor, elements: Tensor, weight: Tensor | None, divisor: Tensor) -> Tensor:
        """Weigh, sum and divide; over all ranks where they take part."""
        weighted = elements if weight is None else elements * weight
        if self.reduction == "none":
            return weighted
        return mean_over_ranks(
            weighted.sum(),
            None if self.reduction == "sum" else divisor,
            should_gather(self.gather_distributed, logits, self.process_group),
            self.process_group,
            type(self).__name__,
        )


class SigmoidFocalLoss(FocalLoss):
    """Focal loss for binary and multi-label classification.

    alpha_t · |y − σ(x)|^gamma · BCE(x, y): for hard labels the focal loss of Lin et al. (ICCV 2017, eq. 5),
    for soft ones the quality focal loss of Li et al. (NeurIPS 2020, eq. 3). γ = 0 is BCE.

    Args:
        alpha: Weight of positives in [0, 1], negatives get 1 − alpha; -1 for none.
        gamma: Focusing exponent, ≥ 0.
        reduction: ``"none"``, ``"mean"`` (over elements; the weighted mean with `sample_weight`), ``"sum"``.
        gather_distributed: Whether mean and sum are those of all ranks' elements: None when there are
            several ranks and the logits require a gradient, so that validation under ``torch.no_grad()`` is
            this rank's own; True always, and requires a process group; False never. Two scalars travel,
            never logits. ``"none"`` stays local.
        process_group: The ranks that take part; None for all.
        pos_weight: ≥ 0, or None: a factor of the part of BCE that is due to the positive label, as in
            `torch.nn.BCEWithLogitsLoss`. A number, or a tensor that broadcasts to the inputs' shape (`[C]`
            for inputs `(N, C)`). It multiplies with `alpha`.

    Raises:
        ValueError: If a setting is not allowed.
    """

    kind = kinds.SIGMOID_FOCAL
    _SETTINGS: ClassVar[Settings] = {
        "alpha": Setting(_check_alpha),
        "gamma": GAMMA,
        "reduction": Setting(one_of("none", "mean", "sum")),
        "gather_distributed": GATHER_DISTRIBUTED,
        "pos_weight": Setting(optional(_check_weights), hold=_hold_weights, plain=_listed),
    }

    alpha: float
    pos_weight: Tensor | None

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        reduction: str = "mean",
        gather_distributed: bool | None = None,
        *,
        process_group: dist.ProcessGroup | None = None,
        pos_weight: Tensor | float | None = None,
    ) -> None:
        super().__init__(locals(), process_group)

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        return_diagnostics: bool = False,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Stats]:
        """The loss of logits and labels.

        Args:
            inputs: Logits of any shape.
            targets: Labels in [0, 1] of the same shape, any dtype. Soft ones receive a gradient if they
                require one.
            return_diagnostics: Also return the statistics of this forward.
            sample_weight: ≥ 0, of the same shape, `[N]` for rows, or broadcastable with as many dimensions.
                No gradient flows into it.

        Returns:
            A scalar, or a tensor of the inputs' shape under ``"none"``; float32 for half precision.

        Raises:
            ValueError: If shapes do not fit, that of `pos_weight` included, or labels lie outside [0, 1].
        """
        check_tensors(inputs=inputs, targets=targets)
        if inputs.shape != targets.shape:
            raise ValueError(
                f"expected targets to be labels of the inputs' shape {list(inputs.shape)}, got "
                f"{list(targets.shape)}: {_reshaping(inputs, targets)}"
            )
        return self.masked_forward(inputs, targets, None, return_diagnostics, sample_weight=sample_weight)

    def masked_forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        counted: Tensor | None,
        return_diagnostics: bool = False,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Stats]:
        """`forward` over the elements where bool `counted` is true; the others are as if deleted."""
        request = self._requested(return_diagnostics)
        inputs = self._with_gradients(request, inputs, lambda: (targets >= 0.5, counted))
        x = inputs.to(wide_dtype(inputs.dtype))
        y = targets.to(x.dtype)
        if counted is not None:
            # Before the loss, so that a nan in an element that does not count reaches no gradient.
            x, y = torch.where(counted, x, 0.0), torch.where(counted, y, 0.0)
        if y.numel():
            lowest, highest = y.detach().aminmax()
            require(
                (lowest >= 0) & (highest <= 1),
                lambda: (
                    f"expected targets to lie in [0, 1], got values from {lowest:g} to {highest:g}: to leave "
                    "out entries marked with another value, set their label and their sample_weight to 0"
                ),
            )
        elements = functional.sigmoid_focal(
            x, y, alpha=self.alpha, gamma=self.gamma, pos_weight=self._pos_weight(x)
        )
        weight = None if sample_weight is None else element_weight(sample_weight, x)
        count = x.new_full((), x.numel()) if weight is None else weight.sum()
        if counted is not None:
            weight = counted.to(x.dtype) if weight is None else weight * counted
            count = weight.sum()
        loss = self._reduce(x, elements, weight, count)

        def describe() -> Stats:
            return likelihood_stats(
                x,
                y if counted is None else torch.where(counted, y, torch.nan),
                detail=request.detail,
                elements=elements,
                loss=loss,
                multiclass=False,
                ignore_index=None,
            )

        return self._answer(request, loss, describe)

    def _pos_weight(self, x: Tensor) -> Tensor | None:
        """The weight of positives, in the type of the logits."""
        weight = self.pos_weight
        if weight is None:
            return None
        sizes = zip(reversed(weight.shape), reversed(x.shape), strict=False)
        if weight.dim() > x.dim() or any(w not in (1, n) for w, n in sizes):
            raise ValueError(
                f"expected pos_weight to broadcast to the inputs' shape {list(x.shape)}, got shape "
                f"{list(weight.shape)}: give one number, or one for each class in the last dimension"
            )
        return weight.to(x)


class SoftmaxFocalLoss(FocalLoss):
    """Focal loss for multi-class classification: alpha_t · (1 − p_t)^gamma · CE(x, t).

    Lin et al. (ICCV 2017) with softmax probabilities. γ = 0 is cross-entropy.

    Args:
        alpha: C class weights ≥ 0, or None; `losses.weights` computes them from counts.
        gamma: Focusing exponent, ≥ 0.
        reduction: ``"none"``, ``"mean"`` (over rows that are not ignored; with `sample_weight` the weighted
            mean), ``"sum"``, or ``"mean_positive"`` (the sum, background included, divided by the count of
            rows that are neither ignored nor background: RetinaNet's normaliser).
        label_smoothing: In [0, 1), as in `torch.nn.functional.cross_entropy`.
        ignore_index: Rows with this target do not count.
        background_class: The class that ``"mean_positive"`` does not count.
        gather_distributed: As in `SigmoidFocalLoss`.
        process_group: The ranks that take part; None for all.

    Raises:
        ValueError: If a setting is not allowed.
    """

    kind = kinds.SOFTMAX_FOCAL
    _SETTINGS: ClassVar[Settings] = {
        "alpha": Setting(optional(_check_class_weights), hold=_hold_weights, plain=_listed),
        "gamma": GAMMA,
        "reduction": Setting(one_of("none", "mean", "sum", "mean_positive")),
        "label_smoothing": Setting(number(least=0.0, below=1.0)),
        "ignore_index": Setting(integer()),
        "background_class": Setting(integer()),
        "gather_distributed": GATHER_DISTRIBUTED,
    }

    alpha: Tensor | None
    label_smoothing: float
    ignore_index: int
    background_class: int

    def __init__(
        self,
        alpha: Tensor | Sequence[float] | None = None,
        gamma: float = 2.0,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        background_class: int = 0,
        gather_distributed: bool | None = None,
        *,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(locals(), process_group)

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        return_diagnostics: bool = False,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Stats]:
        """The loss of logits and class ids.

        Args:
            inputs: Logits `(N, C)` or `(N, C, ...)`.
            targets: Class ids `(N)` or `(N, ...)`.
            return_diagnostics: Also return the statistics of this forward.
            sample_weight: ≥ 0, of the targets' shape. No gradient flows into it.

        Returns:
            A scalar, or a tensor of the targets' shape under ``"none"`` (0 at ignored entries); float32 for
            half precision.

        Raises:
            ValueError: If shapes do not fit, alpha has another length than C, or ids are out of range.
        """
        classes = self._check(inputs, targets, sample_weight)
        request = self._requested(return_diagnostics)
        inputs = self._with_gradients(request, inputs, lambda: self._labels(targets, classes))
        flat = inputs if inputs.dim() == 2 else inputs.movedim(1, -1).reshape(-1, classes)
        flat = flat.to(wide_dtype(inputs.dtype))
        ids = targets.reshape(-1).long()
        counted = ids != self.ignore_index
        known = torch.where(counted, ids, 0)
        flat = functional.counted_rows(flat, counted)
        if known.numel():
            lowest, highest = known.aminmax()
            require(
                (lowest >= 0) & (highest < classes),
                lambda: (
                    f"expected targets to lie in [0, {classes - 1}] or to equal ignore_index="
                    f"{self.ignore_index}, got values from {lowest} to {highest}: give the model one logit "
                    "for each class, or build the loss with the ignore_index that marks rows to leave out"
                ),
            )
        alpha = None if self.alpha is None else self.alpha.to(flat)
        elements = functional.softmax_focal(
            flat, known, alpha=alpha, gamma=self.gamma, label_smoothing=self.label_smoothing
        )
        elements = torch.where(counted, elements, 0.0)
        weight = None if sample_weight is None else sample_weight.detach().reshape(-1).to(flat.dtype)
        divided = counted
        if self.reduction == "mean_positive":
            divided = counted & (ids != self.background_class)
        rows = divided.to(flat.dtype)
        divisor = rows.sum() if weight is None else (rows * weight).sum()
        loss = self._reduce(flat, elements, weight, divisor)
        if self.reduction == "none":
            loss = loss.reshape(targets.shape)

        def describe() -> Stats:
            return likelihood_stats(
                flat,
                ids,
                detail=request.detail,
                elements=elements,
                loss=loss,
                multiclass=True,
                ignore_index=self.ignore_index,
            )

        return self._answer(request, loss, describe)

    def _labels(self, targets: Tensor, classes: int) -> Labels:
        """Which entries of the logits are positive, and which count, classes last."""
        ids = widened(targets).reshape(-1, 1)
        positive = ids == torch.arange(classes, device=ids.device)
        return positive, (ids != self.ignore_index).expand_as(positive)

    def _check(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> int:
        check_tensors(inputs=inputs, targets=targets)
        if inputs.dim() < 2 or inputs.shape[1] == 1:
            raise one_logit("SoftmaxFocalLoss", "SigmoidFocalLoss", inputs, targets)
        if targets.shape == inputs.shape:
            raise not_class_ids("SoftmaxFocalLoss", targets)
        if targets.shape != inputs.shape[:1] + inputs.shape[2:]:
            hint = "give one class id for each row"
            if targets.shape == _with_column(inputs.shape[:1] + inputs.shape[2:]):
                hint = "squeeze the targets: targets[:, 0]"
            raise ValueError(
                "expected inputs to have shape (N, C) or (N, C, ...) and targets (N) or (N, ...), got "
                f"{list(inputs.shape)} and {list(targets.shape)}: {hint}"
            )
        if targets.is_floating_point() or targets.dtype == torch.bool:
            raise ValueError(
                f"expected targets to be integer class ids, got {targets.dtype}: convert them with "
                "targets.long()"
            )
        classes = inputs.shape[1]
        if self.alpha is not None and self.alpha.shape[0] != classes:
            raise ValueError(
                f"expected alpha to have a weight for each of the logits' {classes} classes, got "
                f"{self.alpha.shape[0]} weights: give one weight for each class"
            )
        if sample_weight is not None and sample_weight.shape != targets.shape:
            raise ValueError(
                f"expected sample_weight to have the targets' shape {list(targets.shape)}, got "
                f"{list(sample_weight.shape)}: give one weight for each target"
            )
        if sample_weight is not None:
            check_weight(sample_weight)
        return classes


def _reshaping(inputs: Tensor, targets: Tensor) -> str:
    """What to do about targets of another shape than logits under a sigmoid."""
    if inputs.shape == _with_column(targets.shape):
        return "unsqueeze the targets: targets[:, None]"
    if targets.shape == _with_column(inputs.shape):
        return "squeeze the targets: targets[:, 0]"
    if inputs.dim() > 1 and targets.shape == inputs.shape[:1] + inputs.shape[2:]:
        return "for class ids use SoftmaxFocalLoss" + (
            " with targets.long()" if targets.is_floating_point() or targets.dtype == torch.bool else ""
        )
    return "give one label for each logit"


def _with_column(shape: torch.Size) -> tuple[int, ...]:
    """The shape of the same values with a dimension of one class."""
    return (*shape[:1], 1, *shape[1:])


def one_logit(loss: str, instead: str, inputs: Tensor, targets: Tensor) -> ValueError:
    """The error of a softmax over one class, whose loss is 0 whatever the logits."""
    same = inputs.shape == targets.shape
    reshaped = "" if same else f" and {_reshaping(inputs, targets)}"
    return ValueError(
        f"expected {loss} to get a logit for each of two or more classes, got inputs of shape "
        f"{list(inputs.shape)}: a softmax over one class is always 1, so its loss is 0. For one logit "
        f"per row use {instead}{reshaped}"
    )


def not_class_ids(loss: str, targets: Tensor) -> ValueError:
    """The error of a loss of class ids that got a value for each class."""
    soft = "; for class probabilities use torch.nn.CrossEntropyLoss" if targets.is_floating_point() else ""
    return ValueError(
        f"expected {loss} to get class ids (N) or (N, ...), got {targets.dtype} targets of the logits' "
        f"shape {list(targets.shape)}: for one-hot rows pass targets.argmax(1){soft}; for several classes "
        "per row use SigmoidFocalLoss"
    )


def element_weight(weight: Tensor, x: Tensor) -> Tensor:
    """A weight for each element of `x`, from weights of elements or of rows."""
    if weight.dim() == 1 and x.dim() > 1 and weight.shape[0] == x.shape[0]:
        weight = weight.reshape(-1, *[1] * (x.dim() - 1))
    fits = weight.dim() == x.dim() and all(w in (1, n) for w, n in zip(weight.shape, x.shape, strict=True))
    if not fits:
        raise ValueError(
            f"expected sample_weight to have shape [N] for rows, or as many dimensions as the inputs and a "
            f"shape that broadcasts to theirs {list(x.shape)}, got {list(weight.shape)}: give one weight for "
            "each row, or for each logit"
        )
    check_weight(weight)
    return weight.detach().to(x.dtype).expand_as(x)
