"""The statistics of likelihood losses (focal, BCE, cross-entropy), vectorised over classes.

Counts, probabilities and decisions are sums over rows, and there are two ways to make them: a sum over the
positives of each column (sigmoid), and a sum of rows into the column of their class (softmax).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._checks import looks_are_free
from ..catalogue import EASY_ABOVE, Detail
from ..ranking.labels import widened
from ..ranking.pool import wide_dtype
from . import numpy_twins as host_statistics
from .listening import Stats
from .scores import as_tensors, distribution, on_host, one_vs_rest, share

#: Logits whose distribution is taken; of more rows, every k-th. The statistics of a million take a quarter of
#: a second on one core, and a quantile of a million draws varies by a thousandth of their spread.
MOST_ENTRIES = 1 << 20

#: The id of a row that does not count.
NO_CLASS = -1


@dataclass(frozen=True)
class Sheet:
    """Logits and what they should be, `[N, C]`.

    Attributes:
        logits: 0 where not finite.
        positive: Bool; for exclusive classes, the class ids `[N]`, 0 for rows that do not count.
        valid: Bool, the entries (or, `[N]`, the rows) that count; None for all.
        nonfinite: 0-dim, logits that count and are not finite.
    """

    logits: Tensor
    positive: Tensor
    valid: Tensor | None
    nonfinite: Tensor

    def masks(self) -> tuple[Tensor, Tensor]:
        """Positives and entries that count, `[N, C]` bool."""
        positive, valid = self.positive, self.valid
        if positive.dim() == 1:
            positive = positive[:, None] == torch.arange(self.logits.shape[1], device=positive.device)
            valid = None if valid is None else valid[:, None].expand_as(positive)
        if valid is None:
            return positive, torch.ones_like(positive)
        return positive & valid, valid


@dataclass(frozen=True)
class Sums:
    """Sums over the rows that count, `[C]` each.

    Attributes:
        rows: Entries that count.
        positives: Positives among them.
        p_pos: Probability of the class, over its positives.
        p_neg: The same over its negatives.
        predicted: Rows that the default decision gives to the class.
        found: Positives among those.
    """

    rows: Tensor
    positives: Tensor
    p_pos: Tensor
    p_neg: Tensor
    predicted: Tensor
    found: Tensor


@torch.no_grad()
def likelihood_stats(
    logits: Tensor,
    targets: Tensor,
    *,
    detail: Detail,
    elements: Tensor | None = None,
    loss: Tensor | None = None,
    multiclass: bool | None = None,
    ignore_index: int | None = -100,
) -> Stats:
    """The statistics of a likelihood loss: focal, BCE, cross-entropy.

    The score of a class is its logit under a sigmoid and, under a softmax, its one-vs-rest log-odds
    z_c − logsumexp of the other logits, so that σ(score) is the class's probability in both.

    Args:
        logits: `[N]`, `[N, 1]`, `[N, C]` or `(N, C, ...)`; an unbatched `[C]` with a 0-dim class id.
        targets: Class ids `(N)` or `(N, ...)`; or labels of the logits' shape (soft ones count as positive
            from 0.5, those outside [0, 1] and nan not at all); or, with `multiclass`, class probabilities
            (a row that has nan, or nothing above 0, does not count).
        detail: Which levels to fill.
        elements: The loss of each element (sigmoid) or row (softmax), unreduced; with it, from
            `Detail.SCORES` on, the loss is split over classes, positives and negatives.
        loss: The reduced loss, if known.
        multiclass: Whether classes exclude each other (softmax). By default: whether the targets are class
            ids, one dimension fewer than the logits.
        ignore_index: Class ids with this value do not count, nor do those that are no class's.

    Returns:
        Statistics with names of the catalogue; a class is a column, a binary problem is one class.

    Raises:
        ValueError: If the shapes fit neither.
    """
    found = described(logits, targets, detail, elements, multiclass, ignore_index)
    stats = as_tensors(found, wide_dtype(logits.dtype))
    if loss is not None and loss.dim() == 0:
        stats["loss"] = loss.detach()
    return stats


@torch.no_grad()
def described(
    logits: Tensor,
    targets: Tensor,
    detail: Detail,
    elements: Tensor | None,
    multiclass: bool | None,
    ignore_index: int | None,
) -> Mapping[str, Any]:
    """What `likelihood_stats` returns, where it was computed: tensors of a device, or NumPy's on the host."""
    z, y, multiclass = _laid_out(logits, targets, multiclass, ignore_index)
    if elements is not None:
        elements = _classes_last(elements.detach(), 1 if multiclass else z.shape[1])
    if not on_host(z) or (multiclass and z.shape[1] == 1):
        sheet = _read_ids(z, y) if multiclass else _read_labels(z, y)
        return _device_stats(sheet, detail, elements, multiclass)
    table = None if elements is None else elements.numpy()
    if not multiclass:
        return host_statistics.column_stats(z.numpy(), y.numpy(), detail, table)
    rows = None if table is None else table[:, 0]
    return host_statistics.row_stats(z.numpy(), y.numpy(), detail, rows)


def _device_stats(sheet: Sheet, detail: Detail, elements: Tensor | None, multiclass: bool) -> Stats:
    exclusive = sheet.positive.dim() == 1
    stats = _counted(_sums_by_row(sheet) if exclusive else _sums_by_column(sheet), sheet)
    if detail >= Detail.SCORES:
        sheet, elements = _sampled(sheet, elements)
        positive, valid = sheet.masks()
        if elements is not None:
            stats |= _loss_shares(elements, positive, valid, multiclass)
        scores = one_vs_rest(sheet.logits) if exclusive else sheet.logits
        stats["easy_share"] = _easy_share(scores, positive, positive if multiclass else valid)
        stats |= distribution(detail, scores, positive, valid, {"live": valid})
    return stats


def labels_of(
    logits: Tensor, targets: Tensor, *, multiclass: bool | None = None, ignore_index: int | None = -100
) -> tuple[Tensor, Tensor]:
    """Positive entries and entries that count, `[N, C]`; arguments as in `likelihood_stats`."""
    z, y, multiclass = _laid_out(logits, targets, multiclass, ignore_index)
    return (_read_ids(z, y) if multiclass else _read_labels(z, y)).masks()


def counted(
    logits: Tensor, targets: Tensor, *, multiclass: bool | None = None, ignore_index: int | None = -100
) -> Tensor:
    """Which targets count, bool: of labels each, of exclusive classes each row; in the targets' order.

    Arguments as in `likelihood_stats`. The shape is that of an unreduced loss.
    """
    z, y, multiclass = _laid_out(logits, targets, multiclass, ignore_index)
    if not multiclass:
        return ~_labels(targets.detach(), z.dtype).isnan()
    rows = (logits.shape[0], *logits.shape[2:]) if logits.dim() > 1 else ()
    return _are_classes(y.long(), z.shape[1]).reshape(rows)


# ------------------------------------------------------------------------------------------- reading


def _laid_out(
    logits: Tensor, targets: Tensor, multiclass: bool | None, ignore_index: int | None
) -> tuple[Tensor, Tensor, bool]:
    """Logits `[N, C]`, class ids `[N]` or labels `[N, C]`, and whether they are class ids.

    Labels that do not count are nan, and ids that do not are no class's.
    """
    if multiclass is None:  # one column with a label for each row is a binary problem
        multiclass = logits.dim() == targets.dim() + 1 and logits.shape[min(1, logits.dim() - 1)] > 1
    z, y = logits.detach().to(wide_dtype(logits.dtype)), widened(targets.detach())
    if not multiclass:
        if z.numel() != y.numel():
            raise ValueError(
                f"expected labels to have the logits' shape {list(z.shape)}, got {list(y.shape)}"
            )
        y = _labels(y.reshape(z.shape), z.dtype)
        classes = z.shape[1] if z.dim() > 1 else 1
        return _classes_last(z, classes), _classes_last(y, classes), False
    flat = z.reshape(1, -1) if z.dim() == 1 else _classes_last(z, z.shape[1])
    if y.shape == z.shape and y.is_floating_point():
        y = y.reshape(1, -1) if y.dim() == 1 else _classes_last(y, flat.shape[1])
        likeliest, ids = y.max(1)
        return flat, torch.where(likeliest > 0, ids, NO_CLASS), True  # not so where it is nan
    if y.numel() != flat.shape[0]:
        raise ValueError(
            f"expected class ids to have the logits' shape {list(z.shape)} without the class dimension, "
            f"got {list(y.shape)}"
        )
    ids = y.reshape(-1)
    if ids.is_floating_point():  # a cast makes a class of -0.5, and nobody knows what of nan
        ids = torch.where(_are_classes(ids, flat.shape[1]) & (ids == ids.round()), ids, NO_CLASS).long()
    if ignore_index is not None and 0 <= ignore_index < flat.shape[1]:
        ids = torch.where(ids == ignore_index, NO_CLASS, ids.long())
    return flat, ids, True


def _are_classes(ids: Tensor, classes: int) -> Tensor:
    """Which ids are those of classes; of a loss whose ignored id is not known, no others are counted."""
    return (ids >= 0) & (ids < classes)


def _labels(y: Tensor, dtype: torch.dtype) -> Tensor:
    """Labels with nan for those outside [0, 1], which mark entries that do not count: void, unlabelled."""
    if y.dtype is torch.bool:
        return y
    rounding = 0.0
    if y.is_floating_point():  # mixed and smoothed labels are sums, off by some last bits
        rounding, y = 4 * torch.finfo(y.dtype).eps, y.to(dtype)
    if looks_are_free(y) and y.numel():
        values = y.numpy()
        if values.min() >= -rounding and values.max() <= 1 + rounding:  # neither holds where one is nan
            return y
    counts = (y >= -rounding) & (y <= 1 + rounding)
    return torch.where(counts, y.to(dtype), math.nan)


def _classes_last(x: Tensor, classes: int) -> Tensor:
    """`[M, C]`, a row for each place that has a value of every class."""
    if x.dim() == 2 and x.shape[1] == classes:
        return x
    if x.dim() > 2 and classes > 1:
        x = x.movedim(1, -1)
    return x.reshape(-1, classes)


def _read_ids(z: Tensor, ids: Tensor) -> Sheet:
    """A problem with exclusive classes; ids that are no class's do not count."""
    ids = ids.long()
    told = _are_classes(ids, z.shape[1])
    counted = None if looks_are_free(ids) and bool(told.all()) else told
    logits, finite, nonfinite = _finite(z, counted)
    valid = counted
    if finite is not None:
        valid = finite.all(1) if counted is None else finite.all(1) & counted
    ids = ids if valid is None else torch.where(valid, ids, 0)
    if z.shape[1] > 1:
        return Sheet(logits, ids, valid, nonfinite)
    return Sheet(logits, ids[:, None] == 0, None if valid is None else valid[:, None], nonfinite)


def _read_labels(z: Tensor, y: Tensor) -> Sheet:
    """A problem with one label a logit."""
    counted: Tensor | None = None
    if y.is_floating_point() and not (looks_are_free(y) and math.isfinite(y.sum())):
        counted = ~y.isnan()
    logits, finite, nonfinite = _finite(z, counted)
    valid = counted
    if finite is not None:
        valid = finite if counted is None else finite & counted
    positive = y >= 0.5 if valid is None else (y >= 0.5) & valid
    return Sheet(logits, positive, valid, nonfinite)


def _finite(z: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Logits with 0 for what is not finite, where they are finite (None: all), and the count that is not."""
    if looks_are_free(z) and math.isfinite(z.sum()):
        return z, None, z.new_zeros(())
    finite = z.isfinite()
    broken = ~finite
    if counted is not None:
        broken = broken & (counted if counted.dim() == 2 else counted[:, None])
    return torch.where(finite, z, 0.0), finite, broken.sum()


# ---------------------------------------------------------------------------------------------- sums


def _sums_by_column(sheet: Sheet) -> Sums:
    """Columns that are problems of their own."""
    z, positive = sheet.logits, sheet.positive
    stack = torch.stack([positive.to(z.dtype), z.sigmoid(), (z >= 0).to(z.dtype)])
    if sheet.valid is not None:
        stack = stack * sheet.valid
    total, of_pos = stack.sum(1), (stack * positive).sum(1)
    rows = torch.full_like(total[0], z.shape[0]) if sheet.valid is None else sheet.valid.sum(0).to(z.dtype)
    return Sums(rows, total[0], of_pos[1], total[1] - of_pos[1], total[2], of_pos[2])


def _sums_by_row(sheet: Sheet) -> Sums:
    """Classes that exclude each other: a row belongs to one of them."""
    z, ids, valid = sheet.logits, sheet.positive, sheet.valid
    classes = z.shape[1]
    p, decision = z.softmax(1), z.argmax(1)
    p_true = p.gather(1, ids[:, None])[:, 0]
    stack = torch.stack([torch.ones_like(p_true), p_true, (decision == ids).to(z.dtype)])
    if valid is not None:
        stack, p = stack * valid, p * valid[:, None]
    own = z.new_zeros(len(stack), classes).index_add_(1, ids, stack)
    predicted = z.new_zeros(classes).index_add_(0, decision, stack[0])
    rows = stack[0].sum().expand(classes)
    # Two orders of summation: a class that all rows belong to has no negatives, but a rest of rounding.
    p_neg = torch.where(own[0] < rows, p.sum(0) - own[1], 0.0)
    return Sums(rows, own[0], own[1], p_neg, predicted, own[2])


def _counted(sums: Sums, sheet: Sheet) -> Stats:
    """Counts, and the means that follow from the sums; nan where there is nothing to average (0 / 0)."""
    negatives = sums.rows - sums.positives
    return {
        "pool_size": _pool_size(sheet),
        "nonfinite_count": sheet.nonfinite,
        "pool_pos_count": sums.positives,
        "pool_neg_count": negatives,
        "live_pos_count": sums.positives,
        "live_neg_count": negatives,
        "mean_p_true_pos": sums.p_pos / sums.positives,
        "mean_p_true_neg": (negatives - sums.p_neg) / negatives,
        "predicted_pos_count": sums.predicted,
        "true_pos_count": sums.found,
    }


def _sampled(sheet: Sheet, elements: Tensor | None) -> tuple[Sheet, Tensor | None]:
    """Every k-th row, where there are more than `MOST_ENTRIES`: images have millions, to be sorted."""
    rows, classes = sheet.logits.shape
    step = -(-rows * classes // MOST_ENTRIES)
    if step <= 1:
        return sheet, elements
    step += 1 - step % 2  # odd, so that the columns of an image whose width is a power of two take turns
    valid = None if sheet.valid is None else sheet.valid[::step]
    elements = None if elements is None else elements[::step]
    return Sheet(sheet.logits[::step], sheet.positive[::step], valid, sheet.nonfinite), elements


def _pool_size(sheet: Sheet) -> Tensor:
    if sheet.valid is None:
        return sheet.logits.new_full((), sheet.logits.shape[0])
    return (sheet.valid.any(1) if sheet.valid.dim() == 2 else sheet.valid).sum()


def _loss_shares(loss: Tensor, positive: Tensor, valid: Tensor, multiclass: bool) -> Stats:
    """How the summed loss splits; for a softmax, a row's loss `[N, 1]` belongs to its class."""
    # `where`, because the loss of an entry that does not count may be nan.
    loss = torch.where(valid, loss, 0.0)
    of_pos, total = (loss * positive).sum(0), loss.sum(0)
    mean = share(of_pos, positive.sum(0)) if multiclass else share(total, valid.sum(0))
    return {
        "loss": share(total.mean(), valid.any(1).sum()),
        "pos_loss_share": share(of_pos, total),
        "per_class_loss": mean,
        "valid": mean.isfinite(),
    }


def _easy_share(scores: Tensor, positive: Tensor, judged: Tensor) -> Tensor:
    """Share of the judged entries, `[N, C]`, whose true label has a probability above `EASY_ABOVE`."""
    true_score = torch.where(positive, scores, -scores)
    easy = judged & (true_score > math.log(EASY_ABOVE / (1 - EASY_ABOVE)))
    return share(easy.sum(0), judged.sum(0))
