"""The pool that a ranking loss ranks: the live batch, a memory queue of past rows, and an optional cap.

Where a value cannot be looked at for free, shapes never depend on the data: rows that do not count are
masked, not removed. Nothing here waits for a device, and a compiler sees one graph. On the CPU a look tells
whether there is anything to mask, and usually there is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ._checks import looks_are_free
from .labels import IGNORED, all_count, strata
from .sampling import fair_order, fair_rows, quota_sample, rows_in_order

#: Rows of a queue whose scores are compared between ranks: all of a small one, and in a larger one enough
#: to meet every batch that it holds.
_PROBES = 64
#: The integers whose bits are those of a float of so many bytes.
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Rows:
    """Rows of scores with what belongs to them.

    Attributes:
        scores: `[N, C]` logits.
        labels: `[N, C]` int8 membership, see `losses.labels`.
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


class MemoryQueue(nn.Module):
    """A ring of detached rows, the newest `size` of those fed. Empty slots are rows that do not count.

    Buffers (all in ``state_dict``): `scores`, `labels`, `iid`, `weight`, `born` (the step at which the
    slot was written, -1 while empty), `head` (the slot written next) and `step` (forwards that fed it).
    """

    scores: Tensor
    labels: Tensor
    iid: Tensor
    weight: Tensor
    born: Tensor
    head: Tensor
    step: Tensor

    _ROWS = ("scores", "labels", "iid", "weight", "born")

    def __init__(self, size: int, num_classes: int) -> None:
        super().__init__()
        self.size = size
        #: The type of the rows is that of the first logits fed; before them it means nothing.
        self._typed = False
        #: Whether any row was fed with a weight or as not iid; while not, the buffers hold their defaults.
        self._weighted = False
        self._marked = False
        empty = {
            "scores": torch.zeros(size, num_classes),
            "labels": torch.full((size, num_classes), IGNORED, dtype=torch.int8),
            "iid": torch.ones(size, dtype=torch.bool),
            "weight": torch.ones(size),
            "born": torch.full((size,), -1),
            "head": torch.tensor(0),
            "step": torch.tensor(0),
        }
        for name, value in empty.items():
            self.register_buffer(name, value)

    def rows(self) -> Rows:
        """What the queue holds, one row a slot."""
        return Rows(
            self.scores,
            self.labels,
            self.iid if self._marked else None,
            self.weight if self._weighted else None,
        )

    def fill(self) -> Tensor:
        """0-dim, share of the slots that hold a row."""
        return (self.born >= 0).double().mean() if self.size else torch.zeros((), device=self.step.device)

    def age(self) -> Tensor:
        """0-dim, forwards that fed the queue since its oldest row was written; 0 while empty."""
        oldest = torch.where(self.born >= 0, self.born, self.step)
        return (self.step - oldest).amax() if self.size else torch.zeros_like(self.step)

    def digest(self) -> Tensor:
        """0-dim int64 that tells apart queues whose rows, or their order, differ.

        Where in the ring they lie does not count, nor how many rows came before them: once a queue has turned
        over, it does not matter that it was emptied. Of all rows their age goes in, and of some, from the
        oldest to the newest, the bits of their scores, which are the same on all ranks that gathered them.
        """
        if not self.size:
            return torch.zeros_like(self.step)
        ages = torch.where(self.born >= 0, self.step - self.born, -1)
        probes = torch.arange(min(self.size, _PROBES), device=ages.device)
        at = (self.head + probes * self.size // len(probes)) % self.size
        bits = self.scores[at].view(_BITS[self.scores.element_size()]).sum(1, dtype=torch.int64)
        # Primes, so that one difference does not undo another.
        return ages.sum() * 1_000_003 + ((bits + ages[at] * 10_007) * (probes + 1)).sum()

    @torch.no_grad()
    def reset(self) -> None:
        """Forget every row. The step counter goes on, so that draws are not repeated."""
        self.labels.fill_(IGNORED)
        self.scores.zero_()
        self.iid.fill_(True)
        self.weight.fill_(1.0)
        self.born.fill_(-1)
        self.head.zero_()
        self._weighted = self._marked = False

    @torch.no_grad()
    def resize(self, size: int) -> None:
        """Hold `size` rows from now on, keeping the newest of those held."""
        kept = _newest({name: getattr(self, name) for name in (*self._ROWS, "head")}, size)
        for name, value in kept.items():
            setattr(self, name, value)
        self.size = size

    def _adopt(self, scores: Tensor) -> None:
        """Move to the device of `scores`, and hold rows in their precision (or the wider of the two)."""
        if self._typed and self.scores.dtype == scores.dtype and self.scores.device == scores.device:
            return
        if self.scores.device != scores.device:
            self.to(scores.device)
        for name, fresh in (("scores", scores.dtype), ("weight", wide_dtype(scores.dtype))):
            held = getattr(self, name)
            if held.dtype != fresh:
                setattr(self, name, held.to(torch.promote_types(held.dtype, fresh) if self._typed else fresh))
        if not self._typed:
            self._typed = True

    @torch.no_grad()
    def feed(self, batch: Rows, *, unless: Tensor | None = None, complete: bool = False) -> None:
        """Write the rows that count, oldest slots first; nothing at all where 0-dim `unless` is true.

        `complete` says that it is known that all of them count.
        The first rows fed decide on the device and the precision, later ones may widen it.

        A batch larger than the queue leaves a fair sample of itself, see `losses.sampling.fair_order`.
        """
        self._adopt(batch.scores)
        if batch.weight is not None:
            self._weighted = True
        if batch.iid is not None:
            self._marked = True
        if looks_are_free(self.step) and looks_are_free(batch.scores):
            if unless is None or not bool(unless):
                self._write(batch, complete)
        else:
            self._write_masked(
                batch, torch.zeros_like(self.step, dtype=torch.bool) if unless is None else unless
            )

    def _write(self, batch: Rows, complete: bool) -> None:
        """Write rows to at most two stretches of the ring."""
        if self.size and batch.scores.shape[0]:
            if not complete and not all_count(batch.labels):
                batch = batch.at((batch.labels != IGNORED).any(1).nonzero()[:, 0])
            if batch.scores.shape[0] > self.size:
                batch = batch.at(fair_rows(strata(batch.labels == 1), self.size, self.step))
            rows, head = batch.scores.shape[0], int(self.head)
            for name, value in self._fresh(batch):
                held = getattr(self, name)
                if head + rows <= self.size:
                    held.narrow(0, head, rows).copy_(value)
                else:
                    held[head:], held[: head + rows - self.size] = value.tensor_split([self.size - head])
            self.head.fill_((head + rows) % self.size)
        self.step.add_(1)

    def _write_masked(self, batch: Rows, unless: Tensor) -> None:
        """The same with shapes that do not depend on the data."""
        if self.size and batch.scores.shape[0]:
            keep = (batch.labels != IGNORED).any(1) & ~unless
            source, count = self._chosen(batch, keep)
            places = torch.arange(source.shape[0], device=source.device)
            slots = (self.head + places) % self.size
            written = places < count
            for name, value in self._fresh(batch):
                held = getattr(self, name)
                chosen = written if value.dim() == 1 else written[:, None]
                new = torch.where(chosen, value[source].to(held.dtype), held[slots])
                held.index_copy_(0, slots, new)
            self.head.copy_((self.head + count) % self.size)
        self.step.add_((~unless).long())

    def _fresh(self, batch: Rows) -> list[tuple[str, Tensor]]:
        """What a batch writes into each buffer; defaults are written only over what is not a default."""
        born = self.step.expand(batch.scores.shape[0])
        fresh = [("scores", batch.scores.detach()), ("labels", batch.labels), ("born", born)]
        if self._marked:
            fresh.append(("iid", batch.filled_iid()))
        if self._weighted:
            fresh.append(("weight", batch.filled_weight()))
        return fresh

    def _chosen(self, batch: Rows, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the rows to write, those first, and their count."""
        if batch.scores.shape[0] <= self.size:
            return rows_in_order(keep)
        return fair_order(strata(batch.labels == 1), keep, self.size, self.step)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MemoryQueue:
        # ``model.half()`` is about weights. Rows keep the precision in which they came.
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, held in before.items():
            now = self._buffers[name]
            if held is not None and now is not None and held.dtype != now.dtype:
                self._buffers[name] = held.to(now.device)
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        names = (*self._ROWS, "head")
        found = {name: state_dict[prefix + name] for name in names if prefix + name in state_dict}
        state = dict(state_dict)
        if len(found) == len(names):
            found = {name: value.to(self.step.device) for name, value in found.items()}
            if found["scores"].shape[0] != self.size:
                found = _newest(found, self.size)
            state.update({prefix + name: value for name, value in found.items()})
            if found["scores"].shape == self.scores.shape:
                self.scores = torch.empty_like(found["scores"])
                self.weight = torch.empty_like(found["weight"])
                self._typed = True
                self._weighted = bool((found["weight"] != 1).any())
                self._marked = not bool(found["iid"].all())
        super()._load_from_state_dict(state, prefix, *args)


def _newest(held: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Copy a ring's newest rows into a ring of `size` slots, in their order."""
    old_size = held["born"].shape[0]
    order = torch.arange(old_size, device=held["head"].device)
    order = (order + held["head"]) % max(old_size, 1)
    order = order[held["born"][order] >= 0][-size:] if size else order[:0]
    blank = {"labels": IGNORED, "born": -1, "iid": 1, "weight": 1}
    kept: dict[str, Tensor] = {}
    for name in MemoryQueue._ROWS:
        value = held[name]
        kept[name] = value.new_full((size, *value.shape[1:]), blank.get(name, 0))
        kept[name][: order.shape[0]] = value[order]
    kept["head"] = held["head"].new_tensor(order.shape[0] % size if size else 0)
    return kept


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
