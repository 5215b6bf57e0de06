"""The pool that a ranking loss ranks: the live batch, a memory queue of past rows, and an optional cap.

Where a value cannot be looked at for free, shapes never depend on the data: rows that do not count are
masked, not removed. Nothing here waits for a device, and a compiler sees one graph. On the CPU a look tells
whether there is anything to mask, and usually there is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .labels import IGNORED, all_count, strata
from .sampling import quota_sample


@dataclass(frozen=True)
class Rows:
    """Rows of scores with what belongs to them.

    Attributes:
        scores: `[N, C]` logits.
        labels: `[N, C]` int8 membership, see `losses.ranking.labels`.
        iid: `[N]` bool; whether the row is a fair draw of the population (read by partial AUC). None if
            all are.
        weight: `[N]` ≥ 0; what the row counts for as a positive. None for 1.
    """

    scores: Tensor
    labels: Tensor
    iid: Tensor | None
    weight: Tensor | None

    def filled(self) -> Rows:
        """The same rows with marks and weights written out."""
        return replace(self, iid=self.filled_iid(), weight=self.filled_weight())

    def filled_iid(self) -> Tensor:
        """`[N]` bool."""
        if self.iid is not None:
            return self.iid
        return torch.ones(self.scores.shape[0], dtype=torch.bool, device=self.scores.device)

    def filled_weight(self) -> Tensor:
        """`[N]` in the type that is computed in."""
        if self.weight is not None:
            return self.weight
        dtype = wide_dtype(self.scores.dtype)
        return torch.ones(self.scores.shape[0], dtype=dtype, device=self.scores.device)

    def at(self, rows: Tensor) -> Rows:
        """Some of the rows, by index, detached."""
        return Rows(
            self.scores.detach()[rows],
            self.labels[rows],
            None if self.iid is None else self.iid[rows],
            None if self.weight is None else self.weight[rows],
        )


@dataclass(frozen=True)
class Pool:
    """What a loss is computed from; M rows, all classes at once.

    Attributes:
        scores: `[M, C]`, finite everywhere; in the graph for live rows.
        positive: `[M, C]` bool.
        negative: `[M, C]` bool; an entry that is neither does not count for the class.
        complete: Every entry is known to count. Where that cannot be seen for free it is False.
        weight: `[M]`; value weights of positives, None for 1.
        iid: `[M]` bool; rows that are fair draws of the population, None if all are.
        live_rows: The live rows come first, this many of them; None where their number is not known on
            the host, and `live_marks` says which they are.
        row_weight: `[M]` inverse inclusion probabilities where the pool was capped, else None.
    """

    scores: Tensor
    positive: Tensor
    negative: Tensor
    complete: bool
    weight: Tensor | None = None
    iid: Tensor | None = None
    live_rows: int | None = None
    live_marks: Tensor | None = None
    row_weight: Tensor | None = None

    @property
    def valid(self) -> Tensor:
        """`[M, C]` bool; entries that count for the class."""
        return self.positive | self.negative

    @property
    def counted(self) -> Tensor | None:
        """`valid`, or None where it is known to be true everywhere."""
        return None if self.complete else self.valid

    @property
    def live(self) -> Tensor:
        """`[M]` bool; rows of the live batch."""
        if self.live_marks is not None:
            return self.live_marks
        rows = torch.arange(self.scores.shape[0], device=self.scores.device)
        return rows < (self.live_rows or 0)

    @property
    def gradient_rows(self) -> int | None:
        """How many rows at the front hold all that need a gradient, where that is known."""
        return self.live_rows or None

    @property
    def has_positives(self) -> Tensor:
        """`[C]` bool; classes with a positive that counts for something."""
        return self.positive.any(0) if self.weight is None else self.mass.sum(0) > 0

    @property
    def mass(self) -> Tensor:
        """`[M, C]`; what each entry counts for as a positive: value weight times inverse inclusion."""
        if self.weight is None and self.row_weight is None:
            return self.positive.to(self.scores.dtype)
        weight = self.row_weight if self.weight is None else self.weight
        assert weight is not None
        if self.weight is not None and self.row_weight is not None:
            weight = self.weight * self.row_weight
        return torch.where(self.positive, weight[:, None], 0.0)


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type to compute in: the input's own, or float32 for half precision."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def merge(live: Rows, queued: Rows | None) -> Pool:
    """Live rows, then the queue's. Entries that do not count or are not finite are masked.

    Runs in float32 or wider.
    """
    dtype = wide_dtype(live.scores.dtype)
    if queued is not None:
        dtype = torch.promote_types(dtype, wide_dtype(queued.scores.dtype))
    parts = [live] if queued is None else [live, queued]
    if not any(part.scores.shape[0] for part in parts):
        # Nothing below needs to know that a pool can be empty: it has one row, which does not count.
        parts.append(_blank_row(live))
    device = live.scores.device
    scores = torch.cat([part.scores.to(device, dtype) for part in parts])
    labels = torch.cat([part.labels.to(device) for part in parts])
    complete = _is_complete(scores, labels)
    if complete:
        positive = labels.view(torch.bool)
        negative = ~positive
    else:
        finite = scores.detach().isfinite()
        positive, negative = (labels == 1) & finite, (labels == 0) & finite
        scores = torch.where(positive | negative, scores, 0.0)
    weight = iid = None
    if any(part.weight is not None for part in parts):
        weight = torch.cat([part.filled_weight().to(device, dtype) for part in parts])
    if any(part.iid is not None for part in parts):
        iid = torch.cat([part.filled_iid().to(device) for part in parts])
    return Pool(scores, positive, negative, complete, weight, iid, live_rows=live.scores.shape[0])


def _is_complete(scores: Tensor, labels: Tensor) -> bool:
    """Whether a look settles that every entry counts and is finite; a sum shows every nan and infinity."""
    return all_count(labels) and math.isfinite(float(scores.detach().sum()))


def _blank_row(like: Rows) -> Rows:
    return Rows(
        scores=like.scores.detach().new_zeros(1, like.scores.shape[1]),
        labels=like.labels.new_full((1, like.labels.shape[1]), IGNORED),
        iid=None,
        weight=None,
    )


def cap(pool: Pool, size: int, step: Tensor) -> Pool:
    """Draw `size` rows of the pool, with a minimum for each class, each weighted by 1 / its probability.

    The weights make sums over the capped pool unbiased estimates of sums over the whole one (Horvitz and
    Thompson, 1952). Losses are ratios of such sums: consistent, with a bias that falls with the pool's size.
    """
    if pool.scores.shape[0] <= size:
        return pool
    counted = pool.valid.any(1)
    classes = pool.scores.shape[1]
    chosen, probability = quota_sample(strata(pool.positive), classes + 1, counted, size, step)
    return replace(
        pool,
        scores=pool.scores.index_select(0, chosen),
        positive=pool.positive[chosen],
        negative=pool.negative[chosen],
        iid=None if pool.iid is None else pool.iid[chosen],
        live_marks=pool.live[chosen],
        weight=None if pool.weight is None else pool.weight[chosen],
        live_rows=None,
        row_weight=(1.0 / probability[chosen]).to(pool.scores.dtype),
    )
