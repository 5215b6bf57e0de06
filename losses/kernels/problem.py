"""What every regime works on: the pool, class by class, and its positives as one flat list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Positives:
    """The K positives of all classes, ordered by class. `class_index` is None for a single class."""

    class_index: Tensor | None
    pool_row: Tensor
    classes: int

    @staticmethod
    def of(positive: Tensor) -> Positives:
        """The list of the positives in a mask `[C, M]`."""
        classes = positive.shape[0]
        if classes == 1:
            return Positives(None, _places(positive[0]), 1)
        class_index, pool_row = positive.nonzero(as_tuple=True)
        return Positives(class_index, pool_row, classes)

    @property
    def count(self) -> int:
        """K."""
        return self.pool_row.numel()

    def take(self, table: Tensor) -> Tensor:
        """The entries `[K]` of a table `[C, M]`."""
        if self.class_index is None:
            return table[0].index_select(0, self.pool_row)
        return table[self.class_index, self.pool_row]

    def put(self, table: Tensor, values: Tensor) -> None:
        """Overwrite the entries of a table `[C, M]`."""
        if self.class_index is None:
            table[0].index_copy_(0, self.pool_row, values)
        else:
            table[self.class_index, self.pool_row] = values

    def of_class(self, per_class: Tensor) -> Tensor:
        """What each positive's class has, `[K]`; for a single class `[1]`, which broadcasts."""
        return per_class if self.class_index is None else per_class[self.class_index]

    def class_total(self, values: Tensor) -> Tensor:
        """Sum within each class, `[C]`."""
        if self.class_index is None:
            return values.sum(0, keepdim=True)
        return values.new_zeros(self.classes).index_add_(0, self.class_index, values)

    @cached_property
    def count_per_class(self) -> Tensor:
        """Positives of each class, `[C]`."""
        if self.class_index is None:
            return torch.full((1,), self.count, device=self.pool_row.device)
        return torch.bincount(self.class_index, minlength=self.classes)

    @cached_property
    def widest(self) -> int:
        """Positives of the class that has most."""
        return self.count if self.class_index is None else int(self.count_per_class.max())

    def padded(self, values: Tensor, fill: float) -> Tensor:
        """Values `[K]` as one row a class, `[C, widest]`, filled up on the right."""
        if self.class_index is None:
            return values[None]
        table = values.new_full((self.classes, self.widest), fill)
        table[self.class_index, self._slot] = values
        return table

    def unpadded(self, table: Tensor) -> Tensor:
        """The inverse of `padded`."""
        return table[0] if self.class_index is None else table[self.class_index, self._slot]

    @cached_property
    def _slot(self) -> Tensor:
        assert self.class_index is not None
        first = self.count_per_class.cumsum(0) - self.count_per_class
        return torch.arange(self.count, device=first.device) - first[self.class_index]


def _places(mask: Tensor) -> Tensor:
    """Where a mask `[M]` is true. NumPy finds it in half the time."""
    if mask.is_cpu:
        return torch.from_numpy(mask.numpy().nonzero()[0])
    return mask.nonzero()[:, 0]


@dataclass(frozen=True)
class Problem:
    """The pool of each class. Masks and scores are `[C, M]`, in float32 or wider."""

    scores: Tensor
    positive: Tensor
    negative: Tensor
    tau: Tensor  # [C], float64
    pos_weight: Tensor | None  # [M], float64: what a positive is worth
    row_weight: Tensor | None  # [C, M]: how many rows of the full pool a row stands for
    gradient_rows: int  # only so many rows, the first, need a gradient

    @cached_property
    def positives(self) -> Positives:
        """The list of the positives."""
        return Positives.of(self.positive)

    @cached_property
    def negative_rows(self) -> Tensor:
        """The pool's rows that are negatives, for a single class; lists of many have no common length."""
        assert self.classes == 1
        return _places(self.negative[0])

    @cached_property
    def negative_count(self) -> int:
        """Negatives of all classes."""
        return int(self.negative.count_nonzero())

    @cached_property
    def counted(self) -> Tensor:
        """Rows that are positive or negative, `[C, M]`."""
        return self.positive | self.negative

    @cached_property
    def all_counted(self) -> bool:
        """Whether every row counts for every class, which saves some passes over the pool."""
        return self.positives.count + self.negative_count == self.scores.numel()

    @cached_property
    def own_score(self) -> Tensor:
        """Score of each positive, `[K]`."""
        return self.positives.take(self.scores)

    @cached_property
    def own_weight(self) -> Tensor | float:
        """Row weight of each positive, `[K]` in float64, or 1."""
        return 1.0 if self.row_weight is None else self.positives.take(self.row_weight).double()

    @property
    def plain(self) -> bool:
        """A single class without weights: the host knows all masses, for they are counts."""
        return self.classes == 1 and self.pos_weight is None and self.row_weight is None

    @cached_property
    def share(self) -> Tensor | float:
        """Each positive's share in the loss of its class, `[K]` or broadcastable; sums to 1 in a class."""
        if self.plain:
            return 1.0 / max(self.positives.count, 1)
        if self.pos_weight is None and self.row_weight is None:
            return self.positives.of_class(self.positives.count_per_class.double().reciprocal())
        mass = torch.ones_like(self.own_score, dtype=torch.float64) * self.own_weight
        if self.pos_weight is not None:
            mass = mass * self.pos_weight.index_select(0, self.positives.pool_row)
        total = self.positives.of_class(self.positives.class_total(mass))
        return torch.where(total > 0, mass / total, 0.0)

    @cached_property
    def has_positive_mass(self) -> Tensor:
        """Classes whose positives weigh anything, `[C]`."""
        if self.pos_weight is None and self.row_weight is None:
            return self.positives.count_per_class > 0
        share = self.share
        assert isinstance(share, Tensor)
        return self.positives.class_total(share) > 0.5

    @cached_property
    def negative_mass(self) -> Tensor:
        """Total row weight of the negatives of each class, `[C]` in float64."""
        if self.row_weight is None:
            return self.negative.sum(1).double()
        return torch.where(self.negative, self.row_weight, 0.0).sum(1, dtype=torch.float64)

    @property
    def rows(self) -> int:
        """M."""
        return self.scores.shape[1]

    @property
    def classes(self) -> int:
        """C."""
        return self.scores.shape[0]

    def of_classes(self, part: slice) -> Problem:
        """The same problem for some of the classes."""
        return Problem(
            self.scores[part],
            self.positive[part],
            self.negative[part],
            self.tau[part],
            self.pos_weight,
            None if self.row_weight is None else self.row_weight[part],
            self.gradient_rows,
        )
