"""What a loss makes of the pair sums of its positives.

With σ_ij = σ((s_j − s_i)/τ) and σ'_ij its slope, every regime computes for each positive i the sums

    above_neg(i) = Σ_{j negative} a_j σ_ij      slope_neg(i) = Σ_{j negative} a_j σ'_ij

and the same over the positives j, i itself included. An objective turns them into its value and into the
weights of the second, transposed pass, which collects the gradient at the other end of each pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from .problem import Positives, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What the formulas are evaluated on: tensors, or NumPy's arrays where calls are all that costs.
Vector = TypeVar("Vector", Tensor, "NDArray[np.float64]")


@dataclass(frozen=True)
class PairSums(Generic[Vector]):
    """Sums over the pool for some positives, `[K]` in float64."""

    above_neg: Vector
    slope_neg: Vector
    above_pos: Vector | None
    slope_pos: Vector | None


@dataclass(frozen=True)
class Coefficients(Generic[Vector]):
    """What the loss and its gradient take from each positive, `[K]` in float64.

    The gradient, times τ, is Σ_i to_neg(i) a_j σ'_ij at a negative j,
    and own(i) − Σ_k to_pos(k) a_i σ'_ki at a positive i.
    """

    value: Vector
    own: Vector
    to_neg: Vector
    to_pos: Vector | None


def joined(parts: list[Coefficients[Tensor]]) -> Coefficients[Tensor]:
    """The coefficients of several lists of positives, one after the other."""
    if len(parts) == 1:
        return parts[0]
    to_pos = [part.to_pos for part in parts if part.to_pos is not None]
    return Coefficients(
        torch.cat([part.value for part in parts]),
        torch.cat([part.own for part in parts]),
        torch.cat([part.to_neg for part in parts]),
        torch.cat(to_pos) if to_pos else None,
    )


class Objective(Protocol):
    """A loss of the form Σ_i share(i) · f(pair sums of i)."""

    @property
    def uses_positives(self) -> bool:
        """Whether f needs the sums over the positives."""

    def plain_share(self, positives: int, negatives: int) -> float | None:
        """Factor of each positive of a class without weights; None where its loss has no meaning."""

    def share(self, problem: Problem) -> Tensor | float:
        """Factor of each positive, `[K]` or broadcastable."""

    def defined(self, problem: Problem) -> Tensor | None:
        """The classes for which the loss has a meaning, `[C]`; None where the host knows that all are."""

    def coefficients(
        self, sums: PairSums[Vector], share: Vector | float, own_weight: Vector | float
    ) -> Coefficients[Vector]:
        """Value and derivatives for some positives."""

    def changes(
        self, sums: PairSums[Tensor], along: PairSums[Tensor], share: Tensor, own_weight: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Derivatives of to_neg and to_pos, `[K]`, where those of above_neg and above_pos are in `along`."""


class AveragePrecision:
    """1 − rank⁺/rank, with rank⁺ = 1 + Σ_{j positive, j≠i} a_j σ_ij and rank = rank⁺ + above_neg."""

    uses_positives = True

    def plain_share(self, positives: int, negatives: int) -> float | None:
        """Any positive will do."""
        return 1.0 / positives if positives else None

    def share(self, problem: Problem) -> Tensor | float:
        """Weight of each positive over the weight of its class."""
        return problem.share

    def defined(self, problem: Problem) -> Tensor | None:
        """Any positive will do."""
        if problem.plain and problem.positives.count:
            return None
        return problem.has_positive_mass

    def coefficients(
        self, sums: PairSums[Vector], share: Vector | float, own_weight: Vector | float
    ) -> Coefficients[Vector]:
        """1 − rank⁺/rank is above_neg/rank, without the cancellation."""
        assert sums.above_pos is not None
        assert sums.slope_pos is not None
        # The sum over the positives counts i itself with a_i σ(0) = a_i / 2.
        rank_pos = sums.above_pos + (1.0 - 0.5 * own_weight)
        inverse = 1.0 / (rank_pos + sums.above_neg)
        value = inverse * sums.above_neg * share
        to_pos = inverse * value
        to_neg = inverse * inverse * rank_pos * share
        own = to_pos * sums.slope_pos - to_neg * sums.slope_neg
        return Coefficients(value, own, to_neg, to_pos)

    def changes(
        self, sums: PairSums[Tensor], along: PairSums[Tensor], share: Tensor, own_weight: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Those of share · rank⁺/rank² and share · above_neg/rank²."""
        assert sums.above_pos is not None
        assert along.above_pos is not None
        rank_pos = sums.above_pos + (1.0 - 0.5 * own_weight)
        inverse = 1.0 / (rank_pos + sums.above_neg)
        growth = 2.0 * inverse * (along.above_pos + along.above_neg)
        scale = inverse * inverse * share
        to_neg = scale * (along.above_pos - rank_pos * growth)
        to_pos = scale * (along.above_neg - sums.above_neg * growth)
        return to_neg, to_pos


class PairwiseAUC:
    """Weighted mean over the negatives of σ_ij, which is 1 − σ((s_i − s_j)/τ)."""

    uses_positives = False

    def plain_share(self, positives: int, negatives: int) -> float | None:
        """Both kinds must be there."""
        return 1.0 / (positives * negatives) if positives and negatives else None

    def share(self, problem: Problem) -> Tensor | float:
        """Weight of each positive over the weight of its class and over the mass of the negatives."""
        if isinstance(problem.share, float):
            return problem.share * (1.0 / max(problem.negative_count, 1))
        negative_mass = problem.negative_mass
        inverse = torch.where(negative_mass > 0, negative_mass.reciprocal(), 0.0)
        return problem.share * problem.positives.of_class(inverse)

    def defined(self, problem: Problem) -> Tensor | None:
        """Both kinds must be there."""
        if problem.plain and problem.positives.count and problem.negative_count:
            return None
        return problem.has_positive_mass & (problem.negative_mass > 0)

    def coefficients(
        self, sums: PairSums[Vector], share: Vector | float, own_weight: Vector | float
    ) -> Coefficients[Vector]:
        """The value is linear in the sums."""
        to_neg = 0.0 * sums.above_neg + share
        return Coefficients(sums.above_neg * share, sums.slope_neg * -share, to_neg, None)

    def changes(
        self, sums: PairSums[Tensor], along: PairSums[Tensor], share: Tensor, own_weight: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Coefficients of a linear value do not change."""
        return torch.zeros_like(sums.above_neg), None


@dataclass(frozen=True)
class Solution:
    """Coefficients of all positives, and the transposed sums where the gradient is wanted."""

    coefficients: Coefficients[Tensor]
    at_neg: (
        Tensor | None
    )  # [C, M]: Σ_i to_neg(i) a_j σ'_ij, zero where j does not count, anything at a positive
    at_pos: Tensor | None  # [K]: Σ_k to_pos(k) a_i σ'_ki, where the objective uses the positives

    def poisoned(self, poison: Tensor, positives: Positives) -> Solution:
        """The solution with a number `[C]`, 0 or nan, added to all coefficients of a class."""
        listed = positives.of_class(poison)
        old = self.coefficients
        coefficients = replace(old, value=old.value + listed, own=old.own + listed)
        return replace(self, coefficients=coefficients)
