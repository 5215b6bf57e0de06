"""Pair sums on a grid: near-linear in the pool, whatever the number of positives.

Both passes are sums of one smooth kernel over scattered points. Each point's mass is moved to the p grid
nodes around it with Lagrange weights, the masses are convolved with the kernel by FFT, and the result is
interpolated back with the same weights. See docs/kernels.md for the derivation and the error bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from .objectives import Coefficients, Objective, PairSums, Solution
from .problem import Problem

# Rows handled at a time: the working vectors of a block (cells, fractions, powers) stay in the caches and in
# memory that is used again. At a million rows this takes a third off the time of one block for all.
BLOCK_ROWS = 2**18


@dataclass(frozen=True)
class Resolution:
    """At least `per_tau` cells within one τ, and `points` nodes for each interpolation."""

    per_tau: int
    points: int

    @property
    def error_bound(self) -> float:
        """Largest error of one interpolated σ: |Π (x − x_m)| · max |σ⁽ᵖ⁾| / p! · (h/τ)ᵖ.

        The derivatives of σ grow like 2 p! / πᵖ⁺¹, its poles being ±iπ away.
        """
        half = self.points // 2
        product = math.prod((m + 0.5) ** 2 for m in range(half))
        return float(product * 2 / math.pi ** (self.points + 1) * self.per_tau**-self.points)


# Few cells cost little Fourier transform, few points little work for each row: which is best depends on the
# number of rows and on the range of the scores. The worst error of a single pair is 4e-8, 9e-9, 6e-8 in
# float32 (rounding of a loss near 1: 6e-8) and 3e-13, 7e-13 in float64.
_RESOLUTIONS = {
    torch.float32: (Resolution(4, 8), Resolution(8, 6), Resolution(16, 4)),
    torch.float64: (Resolution(8, 12), Resolution(16, 8)),
}


def resolutions(dtype: torch.dtype) -> tuple[Resolution, ...]:
    """The resolutions that are accurate enough for a type."""
    return _RESOLUTIONS[dtype]


def reach(rows: int, dtype: torch.dtype) -> float:
    """Distance in τ beyond which σ counts as 0 or 1.

    Of the M rows of a pool each may lose e^−reach, and all together may not add up to what a loss can
    show: ln(M / 1e-9) in float32 (34 for a million rows), ln(M / 1e-14) in float64 (46).
    """
    return math.log(max(rows, 2) / (1e-9 if dtype == torch.float32 else 1e-14))


@dataclass(frozen=True)
class Cells:
    """Where each row lies on the grid of its class."""

    index: Tensor  # [C, M] int64, from 0 to size − 1; anything for rows that do not count
    fraction: Tensor  # [C, M], position within the cell, from −½ to ½
    size: int  # cells of the widest class
    step: Tensor  # h/τ of each class, [C] in float64; [1] where all are equal


def cell_scale(tau: Tensor, resolution: Resolution) -> Tensor:
    """1/h of each class, `[C]` in float64: the power of two from per_tau/τ up to twice that.

    With a power of two s/h, its floor and its fraction are exact in any floating type, at any offset.
    """
    _, exponent = torch.frexp(tau / resolution.per_tau)
    return torch.ldexp(torch.ones_like(tau), 1 - exponent)


def plain_cells(problem: Problem, resolution: Resolution, lowest: Tensor, highest: Tensor) -> Cells:
    """Cells that cover everything from the lowest to the highest score of each class, both `[C]`."""
    scale = cell_scale(problem.tau, resolution).to(lowest.dtype)
    origin = (lowest * scale).floor()
    size = int(((highest * scale).floor() - origin).max()) + 1
    place = problem.scores * scale[:, None]
    cell = place.floor()
    fraction = place.sub_(cell).sub_(0.5)
    index = cell.sub_(origin[:, None]).to(torch.int64)
    return Cells(index, fraction, size, relative_step(problem.tau, resolution))


def relative_step(tau: Tensor, resolution: Resolution) -> Tensor:
    """h/τ of each class; one number if they are all equal, so that one kernel serves them all."""
    step = (cell_scale(tau, resolution) * tau).reciprocal()
    return step[:1] if bool((step == step[0]).all()) else step


def solve(problem: Problem, objective: Objective, cells: Cells, resolution: Resolution) -> Solution:
    """Coefficients and transposed sums of all classes at once."""
    grid = _Grid(problem, cells, resolution)
    masses = [grid.mass_of_negatives()]
    if objective.uses_positives:
        masses.append(grid.mass_of_positives(torch.ones_like(grid.at_positives[:, 0]) * problem.own_weight))
    sums = grid.sums(torch.stack(masses))
    coefficients = objective.coefficients(sums, objective.share(problem), problem.own_weight)
    if not problem.gradient_rows:
        return Solution(coefficients, None, None)
    return grid.transposed(coefficients)


class _Grid:
    """The grid of all classes, `[C, L]` in float64: node n of a class is n % L cells right of its origin."""

    def __init__(self, problem: Problem, cells: Cells, resolution: Resolution) -> None:
        self.problem, self.cells, self.points = problem, cells, resolution.points
        nodes = cells.size + self.points
        farthest = reach(problem.rows, problem.scores.dtype) / float(cells.step.min())
        self.reach = min(math.ceil(farthest), nodes)
        # Room on the right for what the cyclic convolution carries out at one end and in at the other.
        self.length = fast_length(nodes + self.reach)
        self.polynomials = lagrange(self.points).to(cells.step.device)
        self.spectra = kernel_spectra(cells.step, self.reach, self.length)
        self._locate_positives()
        self._locate_negatives()

    def _locate_positives(self) -> None:
        """Nodes around each positive `[K, p]` and its weights on them, in float64: self terms must cancel."""
        positives, cells = self.problem.positives, self.cells
        first = positives.take(cells.index)
        if positives.class_index is not None:
            first = first + positives.class_index * self.length
        self.first = first
        self.nodes = first[:, None] + torch.arange(self.points, device=first.device)
        fraction = positives.take(cells.fraction).double()
        powers = torch.linalg.vander(fraction, N=self.points)
        self.at_positives = powers @ self.polynomials.t()

    def _locate_negatives(self) -> None:
        """Cell of each negative in a row of all classes' cells, `[C, M]`.

        Each class has one cell too many: all other rows are there, and what becomes of it is not used.
        """
        problem, size = self.problem, self.cells.size
        if problem.all_counted:
            self.cell = self.cells.index
            problem.positives.put(self.cell, torch.full_like(self.first, size))
        else:
            self.cell = torch.where(problem.negative, self.cells.index, size)
        self.width = size + 1
        if problem.classes > 1:
            starts = torch.arange(0, problem.classes * self.width, self.width, device=self.cell.device)
            self.cell += starts[:, None]

    def mass_of_positives(self, mass: Tensor) -> Tensor:
        """Gridded mass `[C, L]` of masses `[K]` that sit at the positives."""
        grid = mass.new_zeros(self.problem.classes * self.length)
        grid.scatter_add_(0, self.nodes.view(-1), (self.at_positives * mass[:, None]).view(-1))
        return grid.view(-1, self.length)

    def mass_of_negatives(self) -> Tensor:
        """Gridded mass `[C, L]` of the negatives: their moments Σ aʳ in each cell, moved to the nodes."""
        C, size = self.problem.classes, self.cells.size
        moments = self._moments()
        grid = moments.new_zeros(C, self.length)
        for node, mass in enumerate(self.polynomials @ moments):
            grid[:, node : node + size] += mass.view(C, self.width)[:, :size]
        return grid

    def _moments(self) -> Tensor:
        """Σ a cʳ over the negatives of each cell, `[p, C · width]`."""
        cells = self.problem.classes * self.width
        moments = torch.zeros(self.points, cells, dtype=torch.float64, device=self.cell.device)
        index, fraction, weight = self.cell.view(-1), self.cells.fraction.view(-1), self.problem.row_weight
        weight = None if weight is None else weight.reshape(-1)
        for start in range(0, index.numel(), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            cell, c = index[block], fraction[block].double()
            power = torch.ones_like(c) if weight is None else weight[block].to(c.dtype, copy=True)
            for moment in moments:
                moment.scatter_add_(0, cell, power)
                power.mul_(c)
        return moments

    def sums(self, masses: Tensor) -> PairSums[Tensor]:
        """The sums of both kinds of mass `[1 or 2, C, L]` at the positives."""
        kinds = len(masses)
        spectrum = torch.fft.rfft(masses)
        fields = torch.fft.irfft(spectrum * self.spectra[:, None], n=self.length)
        # The first kernel was the difference to a step: what lies to the right counts 1, the node itself ½.
        fields[0] += masses.flip(-1).cumsum(-1).flip(-1).sub_(masses, alpha=0.5)
        at_positives = [self._interpolate(field) for field in fields.view(2 * kinds, -1)]
        above, slope = at_positives[:kinds], at_positives[kinds:]
        if kinds == 1:
            return PairSums(above[0], slope[0], None, None)
        return PairSums(above[0], slope[0], above[1], slope[1])

    def _interpolate(self, field: Tensor) -> Tensor:
        around = field.unfold(0, self.points, 1).index_select(0, self.first)
        return around.mul_(self.at_positives).sum(1)

    def transposed(self, coefficients: Coefficients[Tensor]) -> Solution:
        """Spread the coefficients at the positives, convolve, interpolate where a gradient is wanted."""
        masses = [self.mass_of_positives(coefficients.to_neg)]
        if coefficients.to_pos is not None:
            masses.append(self.mass_of_positives(coefficients.to_pos))
        spectrum = torch.fft.rfft(torch.stack(masses)) * self.spectra[1]
        fields = torch.fft.irfft(spectrum, n=self.length)
        at_neg = self._interpolate_at_negatives(fields[0])
        at_pos = None
        if coefficients.to_pos is not None:
            at_pos = self._interpolate(fields[1].view(-1)) * self.problem.own_weight
        return Solution(coefficients, at_neg, at_pos)

    def _interpolate_at_negatives(self, field: Tensor) -> Tensor:
        """A field `[C, L]` at the first rows of the pool, by Horner's rule on one polynomial a cell."""
        problem, rows = self.problem, self.problem.gradient_rows
        values = torch.stack([field[:, node : node + self.width] for node in range(self.points)])
        table = self.polynomials.t() @ values.view(self.points, -1)
        table = table.to(problem.scores.dtype)
        index, fraction = self.cell[:, :rows].reshape(-1), self.cells.fraction[:, :rows].reshape(-1)
        result = torch.empty_like(fraction)
        for start in range(0, index.numel(), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            cell, c, value = index[block], fraction[block], result[block]
            torch.index_select(table[-1], 0, cell, out=value)
            for coefficient in table[:-1].flip(0):
                value.mul_(c).add_(coefficient.index_select(0, cell))
        result = result.view(problem.classes, rows)
        if problem.row_weight is not None:
            result = result * problem.row_weight[:, :rows]
        if not problem.all_counted:  # the entries of positives are overwritten anyway
            result.masked_fill_(~problem.negative[:, :rows], 0.0)
        return pad(result, (0, problem.rows - rows)) if rows < problem.rows else result


def kernel_spectra(step: Tensor, reach: int, length: int) -> Tensor:
    """Spectra of the two kernels on a cyclic grid, `[2, C or 1, L/2 + 1]`.

    First σ(x) minus the step from 0 to 1 at x = 0, then σ'(x); x = (s_j − s_i)/τ runs against the index
    of the convolution, since the mass at j is what moves. Both vanish beyond the reach.
    """
    lag = torch.arange(reach + 1, dtype=torch.float64, device=step.device)
    decay = (step[:, None] * -lag).exp()
    tail = decay / (1 + decay)
    slope = tail / (1 + decay)
    kernels = tail.new_zeros(2, len(step), length)
    kernels[0, :, 1 : reach + 1] = tail[:, 1:]
    kernels[0, :, length - reach :] = -tail[:, 1:].flip(1)
    kernels[1, :, : reach + 1] = slope
    kernels[1, :, length - reach :] = slope[:, 1:].flip(1)
    spectra: Tensor = torch.fft.rfft(kernels)
    return spectra


@lru_cache(maxsize=16)
def lagrange(points: int) -> Tensor:
    """Coefficients `[node, power]` of the Lagrange polynomials in c, for nodes around the cell -½ ≤ c ≤ ½."""
    nodes = [m - points // 2 + 0.5 for m in range(points)]
    rows = []
    for node in nodes:
        polynomial = [1.0]
        for other in nodes:
            if other != node:
                shifted = [0.0, *polynomial]
                lowered = [*(-other * value for value in polynomial), 0.0]
                polynomial = [(a + b) / (node - other) for a, b in zip(shifted, lowered, strict=True)]
        rows.append(polynomial)
    return torch.tensor(rows, dtype=torch.float64)


def fast_length(least: int) -> int:
    """The smallest of 2ⁿ, 5/4 · 2ⁿ, 3/2 · 2ⁿ that is not below `least`; each has a fast transform."""
    power = 1 << max(3, (least - 1).bit_length())
    return next(length for length in (power // 8 * 5, power // 4 * 3, power) if length >= least)
