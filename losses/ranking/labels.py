"""Targets as users give them, and the one form in which the ranking losses hold them.

The one form is membership: int8 `[N, C]`, 1 for a positive of the class, 0 for a negative, -1 where the
entry does not count. Multi-class, binary and multi-label targets, ignored rows and empty queue slots are
all the same thing in it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._checks import looks_are_free, require

#: The membership of an entry that does not count.
IGNORED = -1


def widened(targets: Tensor) -> Tensor:
    """Integer and bool targets as int64, before they are compared with an ignored id.

    A narrow type cannot hold every id: compared with uint8, -100 means 156.
    """
    return targets if targets.is_floating_point() or targets.is_complex() else targets.long()


def class_ids(targets: Tensor) -> Tensor:
    """Class ids of any type as int64.

    Raises:
        ValueError: If an id is no whole number.
    """
    if targets.is_floating_point():
        whole = targets == targets.round()
        require(
            whole.all(),
            lambda: (
                f"expected class ids to be whole numbers, got {_first(targets, ~whole)}: pass the index of "
                "each row's class"
            ),
        )
    return targets.long()


def encode_targets(targets: Tensor, rows: int, num_classes: int, ignore_index: int) -> Tensor:
    """Check targets and bring them into a compact integer form.

    Args:
        targets: `[N]` or `[N, 1]` class ids (0 or 1 when ``num_classes == 1``), or `[N, C]` of 0/1.
        rows: N, the rows of the logits.
        num_classes: C.
        ignore_index: Rows (or entries of `[N, C]`) with this value do not count.

    Returns:
        int64 `[N]` class ids with -1 for ignored rows, or int8 `[N, C]` memberships.

    Raises:
        ValueError: On another shape, a fractional label or one that is out of range.
    """
    multi_label = num_classes > 1 and targets.shape == (rows, num_classes)
    if not multi_label and targets.shape != (rows,) and targets.shape != (rows, 1):
        hint = "give one target for each row of logits"
        if targets.numel() == rows:
            hint = "flatten them: targets.flatten()"
        elif num_classes == 1 and targets.shape == (rows, 2):
            hint = "for one-hot rows of two classes pass targets[:, 1]"
        elif num_classes > 1 and targets.dim() == 2 and targets.shape[0] == rows:
            hint = f"give the model a logit for each of the {targets.shape[1]} classes"
        raise ValueError(
            f"expected targets to have shape [{rows}] or [{rows}, 1] (class ids)"
            + (f" or [{rows}, {num_classes}] (0/1 for each class)" if num_classes > 1 else "")
            + f", got {list(targets.shape)}: {hint}"
        )
    if targets.is_complex():
        raise ValueError(
            f"expected targets to be integers or 0/1 labels, got {targets.dtype}: pass targets.real"
        )
    targets = widened(targets)
    largest = 1 if multi_label or num_classes == 1 else num_classes - 1
    if _plain(targets, largest, ignore_index):
        return targets.to(torch.int8) if multi_label else targets.reshape(rows)
    ignored = targets == ignore_index
    whole = torch.where(ignored, 0, targets)
    if targets.is_floating_point():
        fractional = whole != whole.round()
        require(
            ~fractional.any(),
            lambda: (
                f"expected targets to be whole numbers, got {_first(targets, fractional):g}: "
                f"{_hardening(_first(targets, fractional), multi_label, num_classes, ignore_index)}"
            ),
        )
    whole = whole.long()
    inside = (whole >= 0) & (whole <= largest)
    require(
        inside.all(),
        lambda: (
            f"expected targets to lie in [0, {largest}] or to equal ignore_index={ignore_index}, got "
            f"{_first(whole, ~inside)}: {_settling(int(_first(whole, ~inside)), multi_label, num_classes)}"
        ),
    )
    whole = torch.where(ignored, IGNORED, whole)
    return whole.to(torch.int8) if multi_label else whole.reshape(rows)


def _plain(targets: Tensor, largest: int, ignore_index: int) -> bool:
    """Whether a look at the smallest and the largest target settles that all are good and none is ignored."""
    if not looks_are_free(targets) or targets.is_floating_point() or not targets.numel():
        return False
    low, high = (int(end) for end in torch.aminmax(targets))
    return low >= 0 and high <= largest and not low <= ignore_index <= high


def _hardening(value: float, multi_label: bool, num_classes: int, ignore_index: int) -> str:
    """What to do about a target that is no whole number."""
    if math.isnan(value):
        return f"mark missing labels with ignore_index: targets.nan_to_num({ignore_index})"
    if not multi_label and num_classes > 1:
        return "pass the index of each row's class"
    reshaped = ", with targets.reshape(logits.shape)" if num_classes == 1 else ""
    return f"pass (targets >= 0.5).long(), or keep soft labels and use SigmoidFocalLoss{reshaped}"


def _settling(value: int, multi_label: bool, num_classes: int) -> str:
    """What to do about a target that is out of range."""
    marks = f"build the loss with ignore_index={value} if it marks labels to leave out"
    if multi_label or (value < 0 and num_classes == 1):
        return marks
    if value < 0:
        return f"{marks}; for rows of no class use 0/1 targets [N, {num_classes}]"
    return f"{marks}, or with num_classes={value + 1} and as many logits"


def _first(targets: Tensor, wrong: Tensor) -> float | int | bool:
    value: float | int | bool = targets[wrong].flatten()[0].item()
    return value


def all_count(labels: Tensor) -> bool:
    """Whether a look settles that none of some memberships or encoded targets is ignored."""
    return looks_are_free(labels) and labels.numel() > 0 and int(labels.amin()) != IGNORED


def membership(codes: Tensor, num_classes: int) -> Tensor:
    """The int8 `[N, C]` membership of encoded targets."""
    if codes.dim() == 2:
        return codes
    if num_classes == 1:
        return codes.to(torch.int8).unsqueeze(1)
    classes = torch.arange(num_classes, device=codes.device)
    member = (codes[:, None] == classes).to(torch.int8)
    if all_count(codes):
        return member
    return torch.where(codes[:, None] == IGNORED, IGNORED, member)


def strata(positive: Tensor) -> Tensor:
    """One stratum for each row of a mask `[N, C]`: its rarest positive class, or C for one without positives.

    A multi-label row belongs to several classes; counting it for the rarest of them serves the class that
    needs it most.
    """
    classes = positive.shape[1]
    if classes == 1:
        return (~positive[:, 0]).long()
    counts = positive.sum(0)
    rarity = torch.where(positive, counts, torch.iinfo(torch.int64).max)
    return torch.where(positive.any(1), rarity.argmin(1), classes)
