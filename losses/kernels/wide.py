"""Scores spread over very many τ: heavy tails, outliers, logits a thousand times too large.

Then a grid over the whole range is mostly empty. Only what lies within reach of a positive needs the kernel;
everything else is exactly above or below it and is counted. So the positives are sorted (they are few), every
row is looked up among them, and either the pairs within reach are evaluated one by one, or the stretches out
of every positive's reach are cut out of the axis and the grid takes the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from .grid import Cells, Resolution, cell_scale, reach, relative_step
from .objectives import Objective, PairSums, Solution
from .problem import Problem

# Pairs evaluated at a time: some ten vectors of 8 bytes a pair, 20 MiB.
PAIR_BLOCK = 2**18

# Keeps s/h finite in float64; whatever lies further out than this shares one place.
LARGEST_PLACE = 1e300


class Neighbours:
    """Each row of the pool among the sorted positives of its class."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        padded = problem.positives.padded(problem.own_score.double(), torch.inf)
        self.ordered, self.order = padded.sort(1)
        self.scores = problem.scores.double()

    @cached_property
    def band(self) -> tuple[Tensor, Tensor]:
        """First positive within reach of each row, and how many there are; both `[C, M]`."""
        width = problem_reach(self.problem)[:, None]
        first = torch.searchsorted(self.ordered, self.scores - width)
        last = torch.searchsorted(self.ordered, self.scores + width, right=True)
        last = torch.minimum(last, self.problem.positives.count_per_class[:, None])
        count = torch.where(self.problem.counted, (last - first).clamp_min_(0), 0)
        return first, count

    @cached_property
    def pairs(self) -> int:
        """Pairs within reach of each other, over all classes."""
        return int(self.band[1].sum())

    def sorted_to_list(self, table: Tensor) -> Tensor:
        """Values by sorted place `[C, widest]` as a list `[K]` in the order of the positives."""
        return self.problem.positives.unpadded(torch.zeros_like(table).scatter_(1, self.order, table))

    def list_to_sorted(self, values: Tensor) -> Tensor:
        """The inverse."""
        return self.problem.positives.padded(values, 0.0).gather(1, self.order)


def problem_reach(problem: Problem) -> Tensor:
    """Distance beyond which a pair is settled, in units of the scores, `[C]`."""
    return problem.tau * reach(problem.rows, problem.scores.dtype)


def compressed_cells(neighbours: Neighbours, resolution: Resolution) -> Cells:
    """Cells of an axis from which all that no positive can see has been cut out.

    A gap of more than twice the reach between neighbouring positives is shortened to twice the reach, and
    the rows in its middle are put there together; the ends of the axis likewise. No pair comes
    nearer than the reach, or changes its distance within it.
    """
    problem = neighbours.problem
    scale = cell_scale(problem.tau, resolution)[:, None]
    step = relative_step(problem.tau, resolution)
    seen = math.ceil(reach(problem.rows, problem.scores.dtype) / float(step.min())) + resolution.points + 1
    landmark = (neighbours.ordered * scale).clamp_(max=LARGEST_PLACE).floor_()
    gap = landmark.diff(dim=1).clamp_(max=2.0 * seen)
    gap = gap.masked_fill(neighbours.ordered[:, 1:].isinf(), 0.0)
    moved = pad(gap.cumsum(1), (1, 0)) + seen

    place = (neighbours.scores * scale).clamp_(-LARGEST_PLACE, LARGEST_PLACE)
    cell = place.floor()
    fraction = place.sub_(cell).sub_(0.5).to(problem.scores.dtype)
    right = torch.searchsorted(neighbours.ordered, neighbours.scores, right=True)
    has_left = right > 0
    has_right = right < problem.positives.count_per_class[:, None]
    left = (right - 1).clamp_min_(0)
    right = right.clamp_max_(landmark.shape[1] - 1)
    from_left = torch.where(has_left, cell - landmark.gather(1, left), torch.inf)
    to_right = torch.where(has_right, landmark.gather(1, right) - cell, torch.inf)
    out_of_sight = moved.gather(1, left) + torch.where(has_left, float(seen), -float(seen))
    index = torch.where(to_right <= seen, moved.gather(1, right) - to_right, out_of_sight)
    index = torch.where(from_left <= seen, moved.gather(1, left) + from_left, index)
    size = int(moved[:, -1].max()) + seen + 1
    return Cells(index.to(torch.int64).clamp_(0, size - 1), fraction, size, step)


@dataclass(frozen=True)
class _Pairs:
    """Some of the pairs within reach."""

    row: Tensor  # [T], flat place in the pool `[C, M]`
    positive: Tensor  # [T], flat place among the sorted positives `[kinds, C, widest]`
    above: Tensor  # [T], a_j σ_ij
    slope: Tensor  # [T], a_j σ'_ij


class _Band:
    def __init__(self, neighbours: Neighbours, kinds: int) -> None:
        self.neighbours, self.problem, self.kinds = neighbours, neighbours.problem, kinds
        self.places = neighbours.ordered.numel()
        weight = self.problem.row_weight
        self.weight = None if weight is None else weight.reshape(-1).double()

    def counted_sums(self) -> Tensor:
        """Weight of the rows that lie entirely above each positive, `[kinds, C, widest]`."""
        first, _ = self.neighbours.band
        classes, widest = self.neighbours.ordered.shape
        weight = (
            torch.ones_like(self.neighbours.scores) if self.weight is None else self.weight.view_as(first)
        )
        masks = (self.problem.negative, self.problem.positive)[: self.kinds]
        histogram = torch.zeros(self.kinds, classes, widest + 1, dtype=torch.float64, device=first.device)
        for kind, mask in enumerate(masks):
            histogram[kind].scatter_add_(1, first, torch.where(mask, weight, 0.0))
        return histogram[:, :, 1:].flip(2).cumsum(2).flip(2)

    def pairs(self) -> Iterator[_Pairs]:
        """All pairs within reach, in blocks."""
        first, count = (x.reshape(-1) for x in self.neighbours.band)
        if self.kinds == 1:
            count = torch.where(self.problem.negative.reshape(-1), count, 0)
        rows = count.nonzero()[:, 0]
        count = count[rows]
        end = count.cumsum(0)
        total = int(end[-1]) if len(end) else 0
        limits = torch.arange(PAIR_BLOCK, max(total, PAIR_BLOCK), PAIR_BLOCK, device=end.device)
        cuts = [0, *torch.searchsorted(end, limits).tolist(), len(rows)]
        for start, stop in pairwise(cuts):
            if start < stop:
                yield self._evaluate(rows[start:stop], first, count[start:stop])

    def _evaluate(self, rows: Tensor, first: Tensor, count: Tensor) -> _Pairs:
        problem, widest = self.problem, self.neighbours.ordered.shape[1]
        class_index = torch.div(rows, problem.rows, rounding_mode="floor")
        start = class_index * widest + first[rows]
        entry = torch.repeat_interleave(count)
        within = torch.arange(len(entry), device=rows.device) - (count.cumsum(0) - count)[entry]
        positive = start[entry] + within
        row = rows[entry]
        difference = self.neighbours.scores.view(-1)[row] - self.neighbours.ordered.view(-1)[positive]
        x = difference * problem.tau.reciprocal()[class_index][entry]
        above = x.sigmoid()
        slope = x.neg_().sigmoid_().mul_(above)
        if self.weight is not None:
            weight = self.weight[row]
            above, slope = above * weight, slope * weight
        if self.kinds == 2:
            positive = positive + problem.positive.reshape(-1)[row] * self.places
        return _Pairs(row, positive, above, slope)

    def sums(self) -> PairSums[Tensor]:
        above = self.counted_sums()
        slope = torch.zeros_like(above)
        for pairs in self.pairs():
            above.view(-1).index_add_(0, pairs.positive, pairs.above)
            slope.view(-1).index_add_(0, pairs.positive, pairs.slope)
        listed = [self.neighbours.sorted_to_list(table) for table in (*above, *slope)]
        if self.kinds == 1:
            return PairSums(listed[0], listed[1], None, None)
        return PairSums(listed[0], listed[2], listed[1], listed[3])

    def transposed(self, to_neg: Tensor, to_pos: Tensor | None) -> Tensor:
        """Σ_i coefficient(i) a_j σ'_ij at every row j, `[C, M]`."""
        lists = [to_neg] if to_pos is None else [to_neg, to_pos]
        coefficient = torch.stack([self.neighbours.list_to_sorted(values) for values in lists]).view(-1)
        result = torch.zeros_like(self.neighbours.scores)
        for pairs in self.pairs():
            result.view(-1).index_add_(0, pairs.row, coefficient[pairs.positive] * pairs.slope)
        return result


def solve_band(neighbours: Neighbours, objective: Objective) -> Solution:
    """Coefficients and transposed sums from the pairs within reach alone."""
    problem = neighbours.problem
    band = _Band(neighbours, 2 if objective.uses_positives else 1)
    coefficients = objective.coefficients(band.sums(), objective.share(problem), problem.own_weight)
    if not problem.gradient_rows:
        return Solution(coefficients, None, None)
    result = band.transposed(coefficients.to_neg, coefficients.to_pos)
    at_pos = None if coefficients.to_pos is None else problem.positives.take(result)
    at_neg = torch.where(problem.negative, result, 0.0).to(problem.scores.dtype)
    at_neg[:, problem.gradient_rows :] = 0.0
    return Solution(coefficients, at_neg, at_pos)
