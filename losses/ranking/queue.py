"""The memory queue: rows of past batches that a ranking loss ranks the live ones among.

It is state of the loss and not of the model. So its tensors are plain attributes and no buffers: whatever
broadcasts, averages or copies the buffers of a model leaves them alone. The loss puts them into its
``state_dict`` itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import looks_are_free
from .labels import IGNORED, all_count, strata
from .pool import Rows, wide_dtype
from .sampling import fair_order, fair_rows, rows_in_order

#: Rows of a queue whose scores are compared between ranks: all of a small one, and in a larger one enough
#: to meet every batch that it holds.
_PROBES = 64
#: The integers whose bits are those of a float of so many bytes.
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}

#: What a slot holds, and the value of an empty one.
BLANK = {"scores": 0, "labels": IGNORED, "iid": 1, "weight": 1, "born": -1}


@dataclass(frozen=True)
class Undo:
    """What one batch has overwritten: stretches of slots from `head` on, and where the ring stood."""

    rows: Mapping[str, Tensor]
    head: Tensor | int
    step: Tensor | int
    weighted: bool
    marked: bool


class MemoryQueue:
    """A ring of detached rows, the newest `size` of those fed. Empty slots are rows that do not count.

    Attributes:
        size: Slots.
        scores: `[size, C]`.
        labels: `[size, C]` int8 membership, see `losses.ranking.labels`.
        iid: `[size]` bool.
        weight: `[size]`.
        born: `[size]`; the step at which the slot was written, -1 while empty.
        head: 0-dim; the slot written next.
        step: 0-dim; forwards that fed it.
    """

    def __init__(self, size: int, num_classes: int) -> None:
        self.size = size
        #: The type of the rows is that of the first logits fed; before them it means nothing.
        self._typed = False
        #: Whether any row was fed with a weight or as not iid; while not, the rows hold their defaults.
        self._weighted = False
        self._marked = False
        # On the CPU until the first batch comes, also where a model is built on the meta device.
        self.scores = torch.zeros(size, num_classes, device="cpu")
        self.labels = torch.full((size, num_classes), IGNORED, dtype=torch.int8, device="cpu")
        self.iid = torch.ones(size, dtype=torch.bool, device="cpu")
        self.weight = torch.ones(size, device="cpu")
        self.born = torch.full((size,), -1, device="cpu")
        self.head = torch.tensor(0, device="cpu")
        self.step = torch.tensor(0, device="cpu")

    @property
    def row_bytes(self) -> int:
        """Memory of one slot."""
        held = (getattr(self, name)[:1] for name in BLANK)
        return sum(each.numel() * each.element_size() for each in held)

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
        for name, blank in BLANK.items():
            getattr(self, name).fill_(blank)
        self.head.zero_()
        self._weighted = self._marked = False

    @torch.no_grad()
    def resize(self, size: int) -> None:
        """Hold `size` rows from now on, keeping the newest of those held."""
        for name, value in newest({name: getattr(self, name) for name in (*BLANK, "head")}, size).items():
            setattr(self, name, value)
        self.size = size

    # -------------------------------------------------------------------------------------- feeding

    @torch.no_grad()
    def feed(self, batch: Rows, *, unless: Tensor | None = None, complete: bool = False) -> Undo | None:
        """Write the rows that count, oldest slots first; nothing at all where 0-dim `unless` is true.

        `complete` says that it is known that all of them count.
        The first rows fed decide on the device and the precision, later ones may widen it.

        A batch larger than the queue leaves a fair sample, see `losses.ranking.sampling.fair_order`.

        Returns:
            What takes it back, see `before`; None inside a compiled graph.
        """
        self._adopt(batch.scores)
        undo = None if torch.compiler.is_compiling() else self._undo(batch.scores.shape[0])
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
        return undo

    @torch.no_grad()
    def before(self, undos: Sequence[Undo]) -> MemoryQueue:
        """The queue as it was before some batches, the newest first."""
        earlier = copy.copy(self)
        for name in (*BLANK, "head", "step"):
            setattr(earlier, name, getattr(self, name).clone())
        for undo in undos:
            for name, rows in undo.rows.items():
                held = getattr(earlier, name)
                held.index_copy_(0, self._slots(undo.head, len(rows)), rows.to(held))
            earlier.head.fill_(undo.head)
            earlier.step.fill_(undo.step)
            earlier._weighted, earlier._marked = undo.weighted, undo.marked
        return earlier

    def _undo(self, rows: int) -> Undo:
        # Marks and weights that nobody has given are defaults before and after.
        names = ["scores", "labels", "born", *["iid"] * self._marked, *["weight"] * self._weighted]
        rows = min(rows, self.size)
        if not looks_are_free(self.head):
            slots = self._slots(self.head, rows)
            held = {name: getattr(self, name).index_select(0, slots) for name in names}
            return Undo(held, self.head.clone(), self.step.clone(), self._weighted, self._marked)
        head, step = int(self.head), int(self.step)
        if head + rows <= self.size:
            held = {name: getattr(self, name).narrow(0, head, rows).clone() for name in names}
        else:
            slots = self._slots(head, rows)
            held = {name: getattr(self, name).index_select(0, slots) for name in names}
        return Undo(held, head, step, self._weighted, self._marked)

    def _slots(self, head: Tensor | int, rows: int) -> Tensor:
        """`[rows]`, the slots from one on."""
        return (head + torch.arange(rows, device=self.head.device)) % max(self.size, 1)

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
            slots = self._slots(self.head, source.shape[0])
            written = torch.arange(source.shape[0], device=source.device) < count
            for name, value in self._fresh(batch):
                held = getattr(self, name)
                chosen = written if value.dim() == 1 else written[:, None]
                new = torch.where(chosen, value[source].to(held.dtype), held[slots])
                held.index_copy_(0, slots, new)
            self.head.copy_((self.head + count) % self.size)
        self.step.add_((~unless).long())

    def _fresh(self, batch: Rows) -> list[tuple[str, Tensor]]:
        """What a batch writes into each field; defaults are written only over what is not a default."""
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

    # ---------------------------------------------------------------------------------------- state

    def to(self, device: torch.device) -> None:
        """Move to a device; the rows keep the precision in which they came."""
        for name in (*BLANK, "head", "step"):
            setattr(self, name, getattr(self, name).to(device))

    def follow(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Move to where ``model.to(...)`` moves tensors; what such a call does to values is about weights."""
        target = fn(torch.empty(0, device=self.step.device)).device
        if target.type != "meta":  # a model without memory for weights still has its past
            self.to(target)

    def state(self) -> dict[str, Tensor]:
        """Every field, by name; the tensors are the queue's own."""
        return {name: getattr(self, name) for name in (*BLANK, "head", "step")}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the fields of another queue; of one of another size, its newest rows are kept.

        Raises:
            ValueError: The rows are those of another number of classes.
        """
        classes, found = self.scores.shape[1], state["scores"].shape[1]
        if classes != found:
            raise ValueError(f"expected a memory queue with rows of {classes} classes, got one of {found}")
        device = self.step.device
        fields = {name: value.to(device) for name, value in state.items()}
        rows = {name: value for name, value in fields.items() if name != "step"}
        if fields["born"].shape[0] != self.size:
            rows = newest(rows, self.size)
        for name, value in rows.items():
            setattr(self, name, value.clone())
        self.step = fields["step"].clone()
        self._typed = True
        self._weighted = bool((self.weight != 1).any())
        self._marked = not bool(self.iid.all())


def newest(held: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Copy a ring's newest rows into a ring of `size` slots, in their order."""
    old_size = held["born"].shape[0]
    order = torch.arange(old_size, device=held["head"].device)
    order = (order + held["head"]) % max(old_size, 1)
    order = order[held["born"][order] >= 0][-size:] if size else order[:0]
    kept: dict[str, Tensor] = {}
    for name, blank in BLANK.items():
        value = held[name]
        kept[name] = value.new_full((size, *value.shape[1:]), blank)
        kept[name][: order.shape[0]] = value[order]
    kept["head"] = held["head"].new_tensor(order.shape[0] % size if size else 0)
    return kept
