"""Choose the regime by predicted cost, run it, and put loss and gradient together."""

from __future__ import annotations

import torch
from torch import Tensor

from losses.kernels import dense
from losses.kernels.objectives import Objective, Solution
from losses.kernels.problem import Problem


def solve(problem: Problem, objective: Objective) -> Solution:
    """Pair sums of all classes by the cheapest regime."""
    return dense.solve(problem, objective)


def loss_and_gradient(problem: Problem, objective: Objective) -> tuple[Tensor, Tensor]:
    """Loss of each class `[C]` in float64, and its gradient `[C, M]`, empty where none is wanted."""
    if not problem.positives.count:
        loss = torch.full_like(problem.tau, torch.nan)
        return loss, torch.zeros_like(problem.scores)
    solution = solve(problem, objective)
    loss = problem.positives.class_total(solution.coefficients.value)
    loss = torch.where(objective.defined(problem), loss, torch.nan)
    return loss, _gradient(problem, solution)


def _gradient(problem: Problem, solution: Solution) -> Tensor:
    if solution.at_neg is None:
        return solution.coefficients.own.new_empty(0)
    gradient = solution.at_neg
    own = solution.coefficients.own
    if solution.at_pos is not None:
        own = own - solution.at_pos
    if problem.gradient_rows < problem.rows:
        missing = problem.rows - problem.gradient_rows
        gradient = torch.cat((gradient, gradient.new_zeros(problem.classes, missing)), 1)
        own = own.masked_fill(problem.positives.pool_row >= problem.gradient_rows, 0.0)
    problem.positives.put(gradient, own.to(gradient.dtype))
    return gradient.mul_(problem.tau.reciprocal().to(gradient.dtype)[:, None])
