"""The statistics of ranking losses, and what any pool of scores is described by, vectorised over classes.

Nothing here is in the graph. Each function fills the statistics of one level of detail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import pad

from .._checks import looks_are_free
from ..catalogue import CATALOGUE, HISTOGRAM_BINS, HISTOGRAM_SPAN, QUANTILE_LEVELS, SATURATED_BELOW, Detail
from ..functional import all_true
from ..quantiles import SortedParts, quantile
from ..ranking.pool import Pool
from . import numpy_twins as host_statistics
from .listening import Stats

#: Entries up to which scores in the host's memory are described by NumPy, on one core.
HOST_ENTRIES = 1 << 20

#: Counts in bins, which are whole numbers.
_IN_BINS = frozenset(stat.name for stat in CATALOGUE if "bin" in stat.axes)


@torch.no_grad()
def ranking_stats(
    detail: Detail,
    whole: Pool,
    pool: Pool,
    *,
    loss: Tensor,
    per_class: Tensor,
    valid: Tensor,
    tau: Tensor,
    temperature: float,
    slopes: Tensor,
    largest_slope: Tensor,
    nonfinite: Tensor,
    queue_fill: Tensor,
    queue_age: Tensor,
) -> Stats:
    """The statistics that every ranking loss shares.

    Args:
        detail: Which levels to fill.
        whole: The pool before any cap.
        pool: The pool that was ranked.
        loss: The reduced loss, or `[C]` under ``reduction="none"``.
        per_class: `[C]`, nan where invalid.
        valid: `[C]` bool.
        tau: `[C]`, the temperature in logits.
        temperature: As configured.
        slopes: `[M, C]`, how steeply each positive moves its own term of the loss, times τ.
        largest_slope: `[C]`, what a slope is measured against.
        nonfinite: 0-dim count.
        queue_fill: 0-dim share.
        queue_age: 0-dim steps.
    """
    positive, negative = pool.positive, pool.negative
    carries = positive & (slopes >= SATURATED_BELOW * largest_slope)
    kinds = torch.stack((positive, negative, carries))
    positives, negatives, carrying = kinds.sum(1)
    live_positives, live_negatives, live_carrying = _live_counts(pool, kinds)
    if whole is not pool:
        live_positives, live_negatives = _live_counts(whole, torch.stack((whole.positive, whole.negative)))
    stats: Stats = {
        "loss": _reduced(loss, per_class, valid),
        "per_class_loss": per_class,
        "valid": valid,
        "nonfinite_count": nonfinite,
        "pool_size": _rows_that_count(pool),
        "pool_pos_count": positives,
        "pool_neg_count": negatives,
        "live_pos_count": live_positives,
        "live_neg_count": live_negatives,
        "grad_pos_count": live_carrying,
        "queue_fill": queue_fill,
        "queue_age": queue_age,
        "temperature": tau.new_full((), temperature),
        "tau_eff": tau,
        "saturation": share(positives - carrying, positives),
    }
    if detail >= Detail.SCORES:
        scores, counted, live = pool.scores.detach(), pool.valid, pool.live[:, None]
        parts = {"live": counted & live, "queue": counted & ~live}
        stats |= distribution(detail, scores, positive, counted, parts, pool.row_weight)
    return stats


def _rows_that_count(pool: Pool) -> Tensor:
    if pool.complete:
        return torch.full((), pool.scores.shape[0], device=pool.scores.device)
    return pool.valid.any(1).sum()


def _live_counts(pool: Pool, masks: Tensor) -> Tensor:
    """`[K, C]`, live rows of masks `[K, M, C]`."""
    if pool.live_rows is not None:
        return masks[:, : pool.live_rows].sum(1)
    return (masks & pool.live[:, None]).sum(1)


def one_vs_rest(z: Tensor) -> Tensor:
    """Log-odds of each class against all others, `[N, C]`: z_c − logsumexp_{k≠c} z_k, for C ≥ 2.

    Rows of the same probability are tied: see `host_statistics.TIED`.
    """
    dtype, z = z.dtype, z.double()
    log_p = F.log_softmax(z, dim=1)
    # For p ≤ 1/2, log(p / (1 − p)) from log p is accurate. Only the largest class can exceed that: its
    # rivals are summed without it.
    best = z.argmax(1, keepdim=True)
    rivals = z.scatter(1, best, -torch.inf).logsumexp(1, keepdim=True)
    p = log_p.exp().clamp_max(0.5)
    odds = (log_p - torch.log1p(-p)).scatter(1, best, z.gather(1, best) - rivals)
    return ((odds / host_statistics.TIED).round() * host_statistics.TIED).to(dtype)


def distribution(
    detail: Detail,
    scores: Tensor,
    positive: Tensor,
    valid: Tensor,
    parts: Mapping[str, Tensor],
    row_weight: Tensor | None = None,
) -> Stats:
    """What is asked of the distribution of `[M, C]` scores; see `score_stats` and `histograms`."""
    bins = detail >= Detail.HISTOGRAMS
    if row_weight is None and on_host(scores):
        masks = {name: mask.numpy() for name, mask in parts.items()}
        table = host_statistics.distribution(
            scores.numpy(), positive.numpy(), valid.numpy(), masks, bins=bins
        )
        return as_tensors(table, scores.dtype)
    stats = score_stats(scores, positive, valid, row_weight, parts)
    if bins:
        spans = spans_of(stats) if row_weight is None else None
        stats |= histograms(scores, positive, valid, spans)
    return stats


def on_host(scores: Tensor) -> bool:
    """Whether these are scores that NumPy describes."""
    return scores.numel() <= HOST_ENTRIES and looks_are_free(scores)


def as_tensors(table: Mapping[str, Any], dtype: torch.dtype) -> Stats:
    """NumPy's results, or a device's, as tensors of a type; marks and counts of histograms keep their own."""
    stats = {name: torch.as_tensor(value) for name, value in table.items()}
    return {
        name: value if value.dtype is torch.bool or name in _IN_BINS else value.to(dtype)
        for name, value in stats.items()
    }


def score_stats(
    scores: Tensor,
    positive: Tensor,
    valid: Tensor,
    row_weight: Tensor | None,
    parts: Mapping[str, Tensor],
) -> Stats:
    """Spread and quantiles of `[M, C]` scores, per class; rows of a capped pool count by their weight.

    `parts` are further masks `[M, C]` of rows that count, by name, whose quantiles are wanted.
    """
    named = {"": valid, "pos": positive, "neg": valid & ~positive, **parts}
    # Where nothing is queued, the live rows are the very mask of all rows.
    masks = {id(mask): mask for mask in named.values()}
    if row_weight is not None:
        tables = [_quantiles(scores, mask, row_weight) for mask in masks.values()]
        area = auroc(scores, positive, valid, row_weight)
    else:
        tables, area = _from_one_sort(scores, list(masks.values()))
    table_of = dict(zip(masks, tables, strict=True))
    stats = {f"{name}_score_quantiles": table_of[id(mask)] for name, mask in named.items() if name}
    everything = table_of[id(valid)]
    low, high = (QUANTILE_LEVELS.index(level) for level in (0.25, 0.75))
    return stats | {
        "score_iqr": everything[:, high] - everything[:, low],
        "score_std": _std(scores, valid, row_weight),
        "score_min": everything[:, 0],
        "score_max": everything[:, -1],
        "pool_auroc": area,
    }


def _from_one_sort(scores: Tensor, masks: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Quantiles `[C, Q]` of each mask `[M, C]`, and the area under the ROC curve.

    The first masks are those of all entries that count, of the positives and of the negatives.
    """
    if not scores.shape[0]:  # one row that does not count is as good as none
        scores, masks = scores.new_zeros(1, scores.shape[1]), [pad(mask, (0, 0, 0, 1)) for mask in masks]
    ordered, order = torch.where(masks[0], scores, torch.inf).t().sort(1)
    parts = SortedParts(ordered, torch.stack(masks).mT.gather(2, order.expand(len(masks), -1, -1)))
    tables = list(parts.quantiles(QUANTILE_LEVELS))
    positive, below = parts.inside[1], parts.upto[2]
    tied = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < torch.inf)
    if looks_are_free(tied) and not bool(tied.any()):
        wins = (positive * below).sum(1)
    else:
        wins = (positive * _below_in_order(ordered, below.double())).sum(1)
    pairs = parts.count[1].double() * parts.count[2]
    return tables, share(wins.double(), pairs).to(scores.dtype)


def auroc(scores: Tensor, positive: Tensor, valid: Tensor, row_weight: Tensor | None = None) -> Tensor:
    """`[C]` area under the ROC curve, ties counted half (Mann and Whitney); nan without both kinds."""
    weight = row_weight[:, None].double() if row_weight is not None else 1.0
    pos, neg = positive * weight, (valid & ~positive) * weight
    return share((pos * mass_below(scores, neg)[0]).sum(0), pos.sum(0) * neg.sum(0)).to(scores.dtype)


def auc_variance(scores: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    """`[C]` sampling variance of the area under the ROC curve: DeLong et al., Biometrics 1988.

    Args:
        scores: `[M, C]`.
        pos: `[M, C]` mass of each entry as a positive, 0 elsewhere.
        neg: `[M, C]` mass of each entry as a negative, 0 elsewhere.
    """
    below_neg, below_pos = mass_below(scores, neg, pos)
    wins = below_neg / neg.sum(0)
    losses = 1 - below_pos / pos.sum(0)
    return mean_variance(wins, pos) + mean_variance(losses, neg)


def mean_variance(values: Tensor, mass: Tensor) -> Tensor:
    """`[C]` sampling variance of the mean of `[M, C]` values, each drawn independently, under masses."""
    total = mass.sum(0)
    mean = share((values * mass).sum(0), total)
    return share(((values - mean) * mass).square().sum(0), total.square())


def mass_below(scores: Tensor, *masses: Tensor) -> list[Tensor]:
    """`[M, C]` for each mass: what entries with a smaller score weigh, and half of those tied with it."""
    ordered, order = scores.t().sort(1)
    mass = torch.stack(masses).mT
    order = order.expand_as(mass)
    below = _below_in_order(ordered, mass.gather(2, order).double().cumsum(2))
    return list(torch.empty_like(below).scatter_(2, order, below).mT)


def _below_in_order(ordered: Tensor, upto: Tensor) -> Tensor:
    """The mass below each place of sorted rows `[C, M]` and half of that tied with it, `[..., C, M]`.

    `upto` is the mass up to and including each place.
    """
    rows = ordered.shape[1]
    index = torch.arange(rows, device=ordered.device)
    changes = torch.ones_like(ordered, dtype=torch.bool)
    changes[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(changes, index, 0).cummax(1).values
    ends = torch.ones_like(changes)
    ends[:, :-1] = changes[:, 1:]
    last = torch.where(ends, index, rows).flip(1).cummin(1).values.flip(1)
    before = pad(upto, (1, 0)).gather(-1, first.expand_as(upto))
    return (before + upto.gather(-1, last.expand_as(upto))) / 2


def histograms(
    scores: Tensor, positive: Tensor, valid: Tensor, spans: tuple[Tensor, Tensor] | None = None
) -> Stats:
    """Histograms of both kinds of rows, `[C, bins]`, over common edges `[C, bins + 1]`.

    The edges span the central 98 % of each kind: an outlier does not flatten the picture, and rare positives
    that lie beyond all but a few negatives still have their bins. `spans`, `[2, C]` for each kind, are these
    quantiles where they are known.
    """
    negative = valid & ~positive
    if spans is None:
        spans = quantile(scores, HISTOGRAM_SPAN, positive), quantile(scores, HISTOGRAM_SPAN, negative)
    low, high = torch.fmin(spans[0][0], spans[1][0]), torch.fmax(spans[0][1], spans[1][1])
    largest = torch.finfo(scores.dtype).max
    if not all_true(low.isfinite() & high.isfinite()):
        # Nothing counts, or interpolation between scores like ±3e38 overflowed.
        least = torch.where(valid, scores, torch.inf).amin(0).clamp(-largest, largest)
        most = torch.where(valid, scores, -torch.inf).amax(0).clamp(-largest, largest)
        low, high = torch.where(low.isfinite(), low, least), torch.where(high.isfinite(), high, most)
        low, high = (torch.where(valid.any(0), end, 0.0) for end in (low, high))
    # All scores equal: half a unit on either side, so that they lie in the middle.
    margin = torch.where(high > low, 0.0, 0.5 + high.abs() * torch.finfo(scores.dtype).eps * HISTOGRAM_BINS)
    low, high = (low - margin).clamp_min(-largest), (high + margin).clamp_max(largest)
    # Halves, because the whole range can be too long for the type.
    share = (scores.clamp(low, high) / 2 - low / 2) / (high / 2 - low / 2)
    bins = (share.nan_to_num(0.0) * HISTOGRAM_BINS).clamp(0, HISTOGRAM_BINS - 1).long()
    steps = torch.linspace(0, 1, HISTOGRAM_BINS + 1, dtype=scores.dtype, device=scores.device)
    stats: Stats = {"score_hist_edges": low[:, None] * (1 - steps) + high[:, None] * steps}
    for name, mask in (("pos_score_hist", positive), ("neg_score_hist", negative)):
        counts = torch.zeros(HISTOGRAM_BINS, scores.shape[1], dtype=torch.int64, device=scores.device)
        stats[name] = counts.scatter_add(0, bins, mask.long()).t().contiguous()
    return stats


def spans_of(stats: Stats) -> tuple[Tensor, Tensor]:
    """What histograms span, from the quantiles of both kinds."""
    places = [QUANTILE_LEVELS.index(level) for level in HISTOGRAM_SPAN]
    pos, neg = (stats[f"{kind}_score_quantiles"][:, places].t() for kind in ("pos", "neg"))
    return pos, neg


# ------------------------------------------------------------------------------------------- details


def _quantiles(scores: Tensor, mask: Tensor, row_weight: Tensor | None) -> Tensor:
    """`[C, Q]` at `QUANTILE_LEVELS`."""
    return quantile(scores, QUANTILE_LEVELS, mask, row_weight=row_weight).t().contiguous()


def _std(scores: Tensor, mask: Tensor, row_weight: Tensor | None) -> Tensor:
    weight = mask.to(scores.dtype) if row_weight is None else mask * row_weight[:, None]
    total = weight.sum(0)
    mean = share((weight * scores).sum(0), total)
    return share((weight * (scores - mean).square()).sum(0), total).sqrt()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return share(torch.where(mask, values, 0.0).sum(0), mask.sum(0))


def share(part: Tensor, whole: Tensor) -> Tensor:
    """Part / whole, nan where there is no whole."""
    return part / torch.where(whole > 0, whole, torch.nan)


def _reduced(loss: Tensor, per_class: Tensor, valid: Tensor) -> Tensor:
    return loss if loss.dim() == 0 else _mean(per_class[:, None], valid[:, None])[0]
