"""The statistics of scores in the host's memory, in NumPy.

The same numbers that `losses.diagnostics.scores` and `losses.diagnostics.likelihood` compute on a
device. A batch is small, and a monitor looks at it now and then, so what it costs is the number of calls
and what each takes when its code has long left the caches: three times as much in torch.

Logits are `[N, C]` of float32 or float64, and results have the names, shapes and meanings of the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
import torch

from ..catalogue import EASY_ABOVE, HISTOGRAM_BINS, HISTOGRAM_SPAN, QUANTILE_LEVELS, Detail
from ..quantiles import of_sorted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[Any]
    Floats: TypeAlias = NDArray[np.floating[Any]]
    Bools: TypeAlias = NDArray[np.bool_]
    Table: TypeAlias = dict[str, Any]

#: The logit of a probability of `EASY_ABOVE`.
_EASY_LOGIT = math.log(EASY_ABOVE / (1 - EASY_ABOVE))

#: Places of the quartiles, and of what a histogram spans, among the quantiles; and of the edges in that span.
_LOWER, _UPPER, _FIRST, _LAST = (QUANTILE_LEVELS.index(level) for level in (0.25, 0.75, *HISTOGRAM_SPAN))
_STEPS = np.linspace(0, 1, HISTOGRAM_BINS + 1)

#: Log-odds are multiples of this, about 1e-12: those of rows with the same probability, computed in float64,
#: differ by some 1e-15, and are to tie. Float32, to which they are rounded then, is coarser but for around 0.
TIED = 2.0**-40

P = ParamSpec("P")
R = TypeVar("R")


def _quietly(compute: Callable[P, R]) -> Callable[P, R]:
    """0 / 0 is nan and exp(1000) is inf, on purpose, as they are in torch."""

    @wraps(compute)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):  # as a decorator it cannot be nested before NumPy 2
            return compute(*args, **kwargs)

    return quiet


@_quietly
def column_stats(z: Floats, labels: Numbers, detail: Detail, elements: Floats | None) -> Table:
    """Of columns that are problems of their own; `labels` and, if known, `elements` of the logits' shape.

    Entries whose label is nan do not count.
    """
    counted = None
    if labels.dtype.kind == "f" and not math.isfinite(labels.sum()):
        counted = ~np.isnan(labels)
    z, finite, nonfinite = _finite(z, counted)
    if finite is not None:
        counted = finite if counted is None else finite & counted
    positive, p, decided = labels >= 0.5, torch.from_numpy(z).sigmoid().numpy(), z >= 0.0
    pool_size, rows = len(z), len(z)
    if counted is not None:
        positive, p, decided = positive & counted, p * counted, decided & counted
        pool_size, rows = int(counted.any(1).sum()), counted.sum(0)
    p_pos, found = _sum(p * positive), _sum(decided & positive)
    stats = _counts(pool_size, nonfinite, rows, _sum(positive), p_pos, _sum(p) - p_pos, _sum(decided), found)
    if detail >= Detail.SCORES:
        valid = np.ones_like(positive) if counted is None else counted
        if elements is not None:
            loss = np.where(valid, elements, 0.0)
            of_pos, total = (loss * positive).sum(0), loss.sum(0)
            stats |= _loss_shares(of_pos, total, total / rows, pool_size)
        stats["easy_share"] = (valid & (np.where(positive, z, -z) > _EASY_LOGIT)).sum(0) / rows
        stats |= distribution(z, positive, valid, {"live": valid}, bins=detail >= Detail.HISTOGRAMS)
    return stats


@_quietly
def row_stats(z: Floats, ids: Numbers, detail: Detail, elements: Floats | None) -> Table:
    """Of classes that exclude each other; `ids` and, where known, `elements` are `[N]`.

    Rows whose id is no class's do not count.
    """
    ids = ids.astype(np.intp, copy=False)
    counted = (ids >= 0) & (ids < z.shape[1])
    z, finite, nonfinite = _finite(z, counted)
    if finite is not None:
        counted &= finite.all(1)
    if not counted.all():
        z, ids = z[counted], ids[counted]
        elements = None if elements is None else elements[counted]
    rows, classes = z.shape
    p, decision = torch.from_numpy(z).softmax(1).numpy(), z.argmax(1)
    p_true = p[np.arange(rows), ids]
    positives, predicted = (np.bincount(each, minlength=classes) for each in (ids, decision))
    p_pos, found = (np.bincount(ids, each, minlength=classes) for each in (p_true, decision == ids))
    # Two orders of summation: a class that all rows belong to has no negatives, but a rest of rounding.
    p_neg = np.where(positives < rows, _sum(p) - p_pos, 0.0)
    stats = _counts(rows, nonfinite, rows, positives, p_pos, p_neg, predicted, found)
    if detail >= Detail.SCORES:
        positive = ids[:, None] == np.arange(classes)
        scores, valid = _one_vs_rest(z), np.ones_like(positive)
        if elements is not None:
            of_pos = np.bincount(ids, elements, minlength=classes)
            stats |= _loss_shares(of_pos, elements.sum(), of_pos / positives, rows)
        easy = scores[np.arange(rows), ids] > _EASY_LOGIT
        stats["easy_share"] = np.bincount(ids, easy, minlength=classes) / positives
        stats |= distribution(scores, positive, valid, {"live": valid}, bins=detail >= Detail.HISTOGRAMS)
    return stats


def _sum(values: Numbers) -> Numbers:
    """Over rows; the method `sum` comes here by way of Python."""
    total: Numbers = np.add.reduce(values, 0)
    return total


def _finite(z: Floats, counted: Bools | None) -> tuple[Floats, Bools | None, int]:
    """Logits with 0 for what is not finite, where they are finite (None: all), and the count that is not."""
    if math.isfinite(z.sum()):
        return z, None, 0
    finite = np.isfinite(z)
    broken = ~finite
    if counted is not None:
        broken &= counted if counted.ndim == 2 else counted[:, None]
    return np.where(finite, z, 0.0), finite, int(broken.sum())


def _counts(
    pool_size: int,
    nonfinite: int,
    rows: int | Numbers,
    positives: Numbers,
    p_pos: Numbers,
    p_neg: Numbers,
    predicted: Numbers,
    found: Numbers,
) -> Table:
    negatives = rows - positives
    return {
        "pool_size": pool_size,
        "nonfinite_count": nonfinite,
        "pool_pos_count": positives,
        "pool_neg_count": negatives,
        "live_pos_count": positives,
        "live_neg_count": negatives,
        "mean_p_true_pos": p_pos / positives,
        "mean_p_true_neg": (negatives - p_neg) / negatives,
        "predicted_pos_count": predicted,
        "true_pos_count": found,
    }


def _loss_shares(of_pos: Numbers, total: Numbers, per_class: Numbers, rows: int) -> Table:
    """How the summed loss splits; `total` is `[C]`, or one number that all classes share."""
    return {
        "loss": total.mean() / rows if rows else math.nan,
        "pos_loss_share": np.where(total > 0, of_pos / total, np.nan),
        "per_class_loss": per_class,
        "valid": np.isfinite(per_class),
    }


def _one_vs_rest(z: Floats) -> Floats:
    """Log-odds of each class against all others, as `losses.diagnostics.scores.one_vs_rest`."""
    rows, best = np.arange(len(z)), z.argmax(1)
    others = z.astype(np.float64)
    dtype, z = z.dtype, others.copy()
    top = z[rows, best]
    others[rows, best] = -np.inf
    second = others.max(1)
    rivals = second + np.log(np.exp(others - second[:, None]).sum(1))
    log_p = z - np.logaddexp(top, rivals)[:, None]
    odds: Floats = log_p - np.log1p(-np.minimum(np.exp(log_p), 0.5))
    odds[rows, best] = top - rivals
    tied: Floats = (np.rint(odds / TIED) * TIED).astype(dtype)
    return tied


@_quietly
def distribution(
    scores: Floats, positive: Bools, valid: Bools, parts: Mapping[str, Bools], *, bins: bool
) -> Table:
    """Spread, quantiles, area under the ROC curve and, with `bins`, histograms of `[M, C]` finite scores.

    `parts` are further masks `[M, C]` of rows that count, by name, whose quantiles are wanted.
    """
    negative = valid & ~positive
    named = {"": valid, "pos": positive, "neg": negative, **parts}
    # Where nothing is queued, the live rows are the very mask of all rows.
    masks = {id(mask): mask for mask in named.values()}
    inside = np.stack([mask.T for mask in masks.values()])
    # One place more than there are rows, so that it is never the last that counts.
    ordered = np.full((*inside.shape[:2], len(scores) + 1), np.inf, scores.dtype)
    np.copyto(ordered[..., :-1], scores.T, where=inside)
    ordered.sort(-1)
    count = inside.sum(-1)
    quantiles = of_sorted(ordered, count, QUANTILE_LEVELS)
    table_of = dict(zip(masks, quantiles, strict=True))
    everything, deviations = quantiles[0], (scores - (scores * valid).sum(0) / count[0]) * valid
    stats = {f"{name}_score_quantiles": table_of[id(mask)] for name, mask in named.items() if name}
    if bins:
        stats |= _histograms(scores, positive, negative, quantiles[1], quantiles[2])
    return stats | {
        "score_iqr": everything[:, _UPPER] - everything[:, _LOWER],
        "score_std": np.sqrt((deviations * deviations).sum(0) / count[0]),
        "score_min": everything[:, 0],
        "score_max": everything[:, -1],
        "pool_auroc": np.array([_auroc(*each) for each in zip(*ordered[1:3], *count[1:3], strict=True)]),
    }


def _auroc(pos: Floats, neg: Floats, positives: int, negatives: int) -> float:
    """Area under the ROC curve of one class, from both kinds in order; ties count half (Mann and Whitney)."""
    if not positives or not negatives:
        return math.nan
    pos, neg = pos[:positives], neg[:negatives]
    wins = sum(int(neg.searchsorted(pos, side).sum()) for side in ("left", "right")) / 2
    return wins / (int(positives) * int(negatives))


def _histograms(scores: Floats, positive: Bools, negative: Bools, of_pos: Floats, of_neg: Floats) -> Table:
    """As `losses.diagnostics.scores.histograms`, from the quantiles `[C, Q]` of both kinds."""
    low, high = np.fmin(of_pos[:, _FIRST], of_neg[:, _FIRST]), np.fmax(of_pos[:, _LAST], of_neg[:, _LAST])
    largest = np.finfo(scores.dtype).max
    if not np.isfinite(low).all() or not np.isfinite(high).all():
        # Nothing counts, or interpolation between scores like ±3e38 overflowed.
        low, high = np.fmin(of_pos[:, 0], of_neg[:, 0]), np.fmax(of_pos[:, -1], of_neg[:, -1])
        low, high = np.nan_to_num(low), np.nan_to_num(high)
    # All scores equal: half a unit on either side, so that they lie in the middle.
    margin = np.where(high > low, 0, 0.5 + np.abs(high) * np.finfo(scores.dtype).eps * HISTOGRAM_BINS)
    low, high = (
        np.clip(end, -largest, largest).astype(scores.dtype) for end in (low - margin, high + margin)
    )
    # Halves, because the whole range can be too long for the type.
    share = (np.clip(scores, low, high) / 2 - low / 2) / (high / 2 - low / 2)
    place = (share * HISTOGRAM_BINS).clip(0, HISTOGRAM_BINS - 1).astype(np.intp)
    classes = len(low)
    place += HISTOGRAM_BINS * np.arange(classes)
    counts = [
        np.bincount(place[mask], minlength=HISTOGRAM_BINS * classes).reshape(classes, HISTOGRAM_BINS)
        for mask in (positive, negative)
    ]
    edges = low[:, None] * (1 - _STEPS) + high[:, None] * _STEPS
    return {"score_hist_edges": edges, "pos_score_hist": counts[0], "neg_score_hist": counts[1]}
