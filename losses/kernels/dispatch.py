"""Choose the regime by predicted cost, run it, and put loss and gradient together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import dense, grid, wide
from .grid import Resolution
from .objectives import Coefficients, Objective, Solution
from .problem import Problem

# Costs in nanoseconds, measured on two cores of a server processor. Only their ratios matter, and a ratio
# that is wrong by a factor of two costs little near the point where two regimes meet.
DENSE_PAIR = 4.0
GRID_CALL = 1.0e6  # some hundred small operations
GRID_ROW, GRID_ROW_POINT = 5.0, 2.6  # for each row, and for each row and interpolation point
GRID_NODE = 30.0  # ten real transforms and what surrounds them
WIDE_ROW = 150.0  # look-ups among the positives
BAND_PAIR = 60.0

# Classes go through the grid together up to so many rows or nodes. A row takes about 40 bytes while it is
# worked on and a node 150: 40 MiB each.
GROUP_ROWS = 2**20
GROUP_NODES = 2**18


def loss_and_gradient(
    problem: Problem, objective: Objective, watched: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of each class `[C]` in float64, its gradient and the slopes of its positives `[C, M]`.

    The gradient is empty where none is wanted, the slopes unless `watched`.
    """
    losses, gradients, slopes = [], [], []
    for part, solution in solve(problem, objective):
        loss = part.positives.class_total(solution.coefficients.value)
        defined = objective.defined(part)
        losses.append(loss if defined is None else torch.where(defined, loss, torch.nan))
        gradients.append(_gradient(part, solution, loss))
        if watched:
            slopes.append(_own_slopes(part, solution))
    watch = _joined(slopes) if watched else problem.scores.new_empty(0, problem.rows)
    return _joined(losses), _joined(gradients), watch


def solve(problem: Problem, objective: Objective) -> Iterator[tuple[Problem, Solution]]:
    """Solutions for groups of classes, in order, each with the part of the problem that it solves."""
    dense_cost = DENSE_PAIR * _pairs(problem, objective)
    if dense_cost <= GRID_CALL:
        yield problem, _dense(problem, objective)
        return
    span = _Span.of(problem)
    if span.broken is not None:
        yield from _solve_apart(problem, objective, span.broken)
        return
    resolution = span.best_resolution(problem)
    nodes = span.nodes(span.typical, resolution)
    grid_cost = min(GRID_NODE * nodes, WIDE_ROW * problem.rows) + _row_cost(problem.rows, resolution)
    if dense_cost <= GRID_CALL + problem.classes * grid_cost:
        yield problem, _dense(problem, objective)
        return
    group = min(GROUP_ROWS // problem.rows, GROUP_NODES // nodes, problem.classes)
    for start in range(0, problem.classes, max(group, 1)):
        classes = slice(start, start + max(group, 1))
        part = problem if group == problem.classes else problem.of_classes(classes)
        yield part, _solve_group(part, objective, span.of_classes(classes), resolution)


def _solve_apart(
    problem: Problem, objective: Objective, broken: Tensor
) -> Iterator[tuple[Problem, Solution]]:
    """Solve with the broken classes set to 0, before any floor to an integer, and make those nan."""
    harmless = replace(problem, scores=problem.scores.masked_fill(broken[:, None], 0.0))
    poison = torch.zeros_like(problem.tau).masked_fill_(broken, torch.nan)
    start = 0
    for part, solution in solve(harmless, objective):
        here = poison[start : start + part.classes]
        start += part.classes
        yield part, solution.poisoned(here, part.positives)


@dataclass(frozen=True)
class _Span:
    """Range of the counted scores of each class."""

    lowest: Tensor  # [C]
    highest: Tensor  # [C]
    in_tau: list[float]  # [C]
    cells_per_tau: dict[Resolution, float]
    broken: Tensor | None  # [C], classes with a nan or an infinity among the counted scores, if there are any

    @staticmethod
    def of(problem: Problem) -> _Span:
        if problem.all_counted:
            lowest, highest = problem.scores.amin(1), problem.scores.amax(1)  # aminmax takes far longer
        else:
            lowest = torch.where(problem.counted, problem.scores, torch.inf).amin(1)
            highest = torch.where(problem.counted, problem.scores, -torch.inf).amax(1)
        unbounded = ~(lowest.isfinite() & highest.isfinite())
        broken = None
        if unbounded.any():
            broken = unbounded & problem.counted.any(1)
            lowest, highest = lowest.masked_fill(unbounded, 0.0), highest.masked_fill(unbounded, 0.0)
        in_tau = (highest.double() - lowest.double()) / problem.tau
        step = {
            resolution: float((grid.cell_scale(problem.tau, resolution) * problem.tau).max())
            for resolution in grid.resolutions(problem.scores.dtype)
        }
        return _Span(
            lowest, highest, in_tau.tolist(), step, broken if broken is None or broken.any() else None
        )

    def of_classes(self, classes: slice) -> _Span:
        return _Span(
            self.lowest[classes], self.highest[classes], self.in_tau[classes], self.cells_per_tau, None
        )

    @property
    def typical(self) -> float:
        return sorted(self.in_tau)[len(self.in_tau) // 2]

    def nodes(self, in_tau: float, resolution: Resolution) -> int:
        """Nodes of the grid that covers such a range."""
        return math.ceil(min(in_tau, 1e15) * self.cells_per_tau[resolution]) + resolution.points

    def best_resolution(self, problem: Problem) -> Resolution:
        """The cheapest for a typical class."""

        def cost(resolution: Resolution) -> float:
            return GRID_NODE * self.nodes(self.typical, resolution) + _row_cost(problem.rows, resolution)

        return min(self.cells_per_tau, key=cost)


def _solve_group(problem: Problem, objective: Objective, span: _Span, resolution: Resolution) -> Solution:
    if not problem.positives.count:
        return _nothing(problem)
    rows = problem.classes * problem.rows
    nodes = problem.classes * span.nodes(max(span.in_tau), resolution)
    # Twice, because the widest class of a group decides and the group was chosen by a typical one.
    if nodes <= max(2 * GROUP_NODES, rows // 4) and GRID_NODE * nodes <= GRID_CALL + WIDE_ROW * rows:
        cells = grid.plain_cells(problem, resolution, span.lowest, span.highest)
        return grid.solve(problem, objective, cells, resolution)
    neighbours = wide.Neighbours(problem)
    band_cost = BAND_PAIR * neighbours.pairs
    if band_cost <= GRID_CALL + WIDE_ROW * rows:
        return wide.solve_band(neighbours, objective)
    # So wide a range asks for few nodes before it asks for little work at each row.
    coarsest = min(span.cells_per_tau, key=lambda choice: choice.per_tau)
    cells = wide.compressed_cells(neighbours, coarsest)
    grid_cost = GRID_NODE * problem.classes * cells.size + _row_cost(rows, coarsest)
    if band_cost <= grid_cost:
        return wide.solve_band(neighbours, objective)
    return grid.solve(problem, objective, cells, coarsest)


def _pairs(problem: Problem, objective: Objective) -> int:
    negatives = problem.rows if problem.classes > 1 else problem.negative_count
    columns = negatives + (problem.positives.widest if objective.uses_positives else 0)
    return problem.positives.count * columns


def _row_cost(rows: int, resolution: Resolution) -> float:
    return rows * (GRID_ROW + GRID_ROW_POINT * resolution.points)


def _dense(problem: Problem, objective: Objective) -> Solution:
    return dense.solve(problem, objective) if problem.positives.count else _nothing(problem)


def _nothing(problem: Problem) -> Solution:
    """The solution without positives."""
    none = problem.tau.new_empty(0)
    at_neg = torch.zeros_like(problem.scores)
    return Solution(Coefficients(none, none, none, None), at_neg if problem.gradient_rows else None, None)


def _gradient(problem: Problem, solution: Solution, loss: Tensor) -> Tensor:
    if solution.at_neg is None:
        return problem.scores.new_empty(0, problem.rows)
    gradient, own = solution.at_neg, solution.coefficients.own
    if solution.at_pos is not None:
        own = own - solution.at_pos
    problem.positives.put(gradient, own.to(gradient.dtype))
    # A non-finite score has made the loss nan, and 0 · nan carries that into every row of the class.
    scale = problem.tau.reciprocal() + 0.0 * loss
    return gradient.mul_(scale.to(gradient.dtype)[:, None])


def _own_slopes(problem: Problem, solution: Solution) -> Tensor:
    """τ · |∂f/∂s_i| of each positive's own term f, `[C, M]`: without its pair with itself."""
    table = torch.zeros_like(problem.scores)
    if problem.positives.count:
        own, to_pos = solution.coefficients.own, solution.coefficients.to_pos
        if to_pos is not None:
            own = own - to_pos * (0.25 * problem.own_weight)  # a_i σ'(0)
        slope, share = own.abs(), problem.share
        slope = slope / share if isinstance(share, float) else torch.where(share > 0, slope / share, 0.0)
        problem.positives.put(table, slope.to(table.dtype))
    return table


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
