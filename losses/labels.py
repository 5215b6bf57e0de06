"""Targets as users give them, and the one form in which the ranking losses hold them.

The one form is membership: int8 `[N, C]`, 1 for a positive of the class, 0 for a negative, -1 where the
entry does not count. Multi-class, binary and multi-label targets, ignored rows and empty queue slots are
all the same thing in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._checks import looks_are_free, require

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
        raise ValueError(
            f"targets must have shape [{rows}] or [{rows}, 1] (class ids)"
            + (f" or [{rows}, {num_classes}] (0/1 for each class)" if num_classes > 1 else "")
            + f" to match {rows} rows of logits, got {list(targets.shape)}"
        )
    if targets.is_complex():
        raise ValueError(f"targets must be integers or 0/1 labels, got {targets.dtype}")
    targets = widened(targets)
    largest = 1 if multi_label or num_classes == 1 else num_classes - 1
    if _plain(targets, largest, ignore_index):
        return targets.to(torch.int8) if multi_label else targets.reshape(rows)
    ignored = targets == ignore_index
    whole = torch.where(ignored, 0, targets)
    if targets.is_floating_point():
        require(
            (whole == whole.round()).all(),
            lambda: (
                f"targets must be whole numbers, got {_first(targets, whole != whole.round())}: the ranking "
                "losses take hard labels; round them, or use SigmoidFocalLoss for soft labels"
            ),
        )
    whole = whole.long()
    inside = (whole >= 0) & (whole <= largest)
    require(
        inside.all(),
        lambda: (
            f"targets must lie in [0, {largest}] or equal ignore_index={ignore_index}, "
            f"got {_first(targets, ~inside)}"
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
