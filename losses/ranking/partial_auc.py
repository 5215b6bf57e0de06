"""Partial area under the ROC curve, inside a band of false positive rates."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from .. import kernels, kinds
from ..diagnostics.listening import Detail, Stats
from ..diagnostics.scores import auc_variance, mean_variance
from ..forwards.late_warning import LateWarning
from ..functional import all_true, recall_at_threshold, trapezoid, trapezoid_weights
from ..quantiles import Interpolation, quantile
from ..settings import Setting, Settings, integer, number, one_of
from .base import RankingLoss, Terms
from .pool import Pool
from .recall_at_quantile import QUANTILE_INTERPOLATION
from .scale import SPREAD_LEVELS, spread


class PAUCAtBudgetLoss(RankingLoss):
    """1 − normalised partial AUC between false positive rates `alpha` and `beta`.

    Band edges t_α = quantile(ref, 1 − α) and t_β = quantile(ref, 1 − β), without gradient, where ref are the
    pool's iid negatives (``budget_basis="fpr"``) or all its iid rows (``"population"``).
    τ_eff = temperature · scale, where scale is the interquartile range of ref (the next wider quantile range
    if that is 0) or t_α − t_β::

        trapezoid:  TPR_k = mean_{i∈P} σ((s_i − t_k)/τ_eff) at n_knots equally spaced rates from α to β;
                    loss = 1 − trapezoid mean of TPR_k. Gradient reaches positives only.
        pairwise:   loss = 1 − mean over i∈P and negatives j with t_β ≤ s_j ≤ t_α of σ((s_i − s_j)/τ_eff).
                    Gradient reaches both. Compare Narasimhan and Agarwal, KDD 2013.

    A class is valid when it has a positive with weight, reference scores that are not all equal and, for
    ``"pairwise"``, a negative in the band.

    Args:
        alpha: Lower false positive rate, 0 ≤ alpha < beta.
        beta: Upper false positive rate, the budget; at most 1.
        surrogate: ``"trapezoid"`` or ``"pairwise"``.
        n_knots: Points of the trapezoid rule, at least 2.
        tau_scale: ``"iqr"`` or ``"band"``: what the temperature is a multiple of.
        pos_numerator: ``"pool"`` averages over all pooled positives, ``"live"`` over those of the batch: the
            queue then feeds the thresholds alone, and a class without live positives is invalid.
        budget_basis: ``"fpr"`` or ``"population"``.
        temperature: > 0, in multiples of the scale.
        quantile_interpolation: One of `torch.quantile`'s, for the band's edges and the scale.
        Others: As in `SmoothAPLoss`.

    Raises:
        ValueError: If a setting is not allowed.
    """

    kind = kinds.PAUC_AT_BUDGET
    _SETTINGS: ClassVar[Settings] = {
        **RankingLoss._SETTINGS,
        "tau_scale": Setting(one_of("iqr", "band"), changes=True),
        "alpha": Setting(number(least=0.0)),
        "beta": Setting(number(above=0.0, most=1.0)),
        "surrogate": Setting(one_of("trapezoid", "pairwise")),
        "n_knots": Setting(integer(least=2)),
        "pos_numerator": Setting(one_of("pool", "live"), changes=True),
        "budget_basis": Setting(one_of("fpr", "population")),
        "quantile_interpolation": QUANTILE_INTERPOLATION,
    }

    alpha: float
    beta: float
    surrogate: str
    n_knots: int
    pos_numerator: str
    budget_basis: str
    quantile_interpolation: Interpolation

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.0,
        beta: float = 0.005,
        surrogate: str = "trapezoid",
        n_knots: int = 2,
        tau_scale: str = "iqr",
        pos_numerator: str = "pool",
        budget_basis: str = "fpr",
        queue_size: int = 1024,
        temperature: float = 0.1,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        quantile_interpolation: Interpolation = "higher",
        max_pool_size: int | None = None,
        *,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(locals(), process_group)
        if self.alpha >= self.beta:
            raise ValueError(
                f"expected alpha to be below beta={self.beta}, got {self.alpha}: give the false positive "
                "rates where the band begins (alpha) and ends (beta)"
            )
        self._constant = LateWarning()

    # --------------------------------------------------------------------------------------- the loss

    def _terms(self, pool: Pool, watched: bool) -> Terms:
        reference = self._reference(pool)
        knots, width = self._thresholds(pool, reference)
        averaged = self._averaged(pool)
        has_positives = averaged.has_positives
        apart = width > 0
        if all_true(apart):
            valid, known, scale = has_positives, knots, self._scale(knots, width)
        else:
            # One score alone is not constant, it is too few.
            constant = (reference.sum(0) >= 2) & (width == 0)
            self._constant.look(has_positives & constant, _constant_message)
            valid = has_positives & apart
            # Where the class is invalid any number will do, as long as it divides.
            known = torch.where(apart, knots, 0.0)
            scale = torch.where(apart, self._scale(knots, width), 1.0)
        tau = self.temperature * scale
        if self.surrogate == "trapezoid":
            loss = trapezoid(recall_at_threshold(pool.scores, averaged.mass, known, tau))
            return Terms(loss, valid, tau, knots)
        band = pool.negative & _inside(pool, knots)
        loss, slopes = kernels.pairwise_auc_and_slopes(
            pool.scores,
            averaged.positive if pool.weight is None else averaged.mass > 0,
            band,
            tau,
            pos_weight=pool.weight,
            row_weight=pool.row_weight,
            gradient_rows=pool.gradient_rows,
            watched=watched,
        )
        return Terms(loss, valid & band.any(0), tau, knots, slopes)

    def _reference(self, pool: Pool) -> Tensor:
        """`[M, C]` bool; the entries whose quantiles are the band's edges."""
        basis = pool.negative if self.budget_basis == "fpr" else pool.valid
        return basis if pool.iid is None else basis & pool.iid[:, None]

    def _thresholds(self, pool: Pool, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `[K, C]` at equally spaced false positive rates, t_α first and t_β last; spread `[C]`."""
        count = self.n_knots if self.surrogate == "trapezoid" else 2
        rates = _spaced(self.alpha, self.beta, count)
        edges = quantile(
            pool.scores.detach(),
            [*(1 - rate for rate in rates), *SPREAD_LEVELS],
            reference,
            interpolation=self.quantile_interpolation,
            row_weight=pool.row_weight,
        )
        return edges[:count], spread(edges[count:])

    def _scale(self, knots: Tensor, reference_width: Tensor) -> Tensor:
        """`[C]`, what the temperature is a multiple of."""
        if self.tau_scale == "iqr":
            return reference_width
        width = knots[0] - knots[-1]
        # A band whose edges coincide has no width of its own.
        return torch.where(width > 0, width, reference_width)

    def _averaged(self, pool: Pool) -> Pool:
        """The pool with those positives that the loss averages over."""
        if self.pos_numerator == "live":
            return replace(pool, positive=pool.positive & pool.live[:, None])
        return pool

    # --------------------------------------------------------------------------------------- statistics

    def _own_stats(self, wanted: Detail, pool: Pool, terms: Terms) -> Stats:
        knots = _known(terms)
        iid_negative = pool.negative if pool.iid is None else pool.negative & pool.iid[:, None]
        inside = _inside(pool, knots)
        stats = {
            "t_alpha": knots[0],
            "t_beta": knots[-1],
            # Without reference scores there is nothing that the temperature could be a multiple of.
            "tau_eff": torch.where(knots[0].isnan(), torch.nan, terms.tau),
            "band_neg_count": (iid_negative & inside).sum(0),
            "iid_neg_count": iid_negative.sum(0),
        }
        if wanted >= Detail.SCORES:
            stats["pauc_var"] = torch.where(terms.valid, self._variance(pool, terms, inside), torch.nan)
        return stats

    def _variance(self, pool: Pool, terms: Terms, inside: Tensor) -> Tensor:
        """Of the positives' mean recall at given knots; of the pairs' order, by DeLong's formula."""
        mass = self._averaged(pool).mass
        scores = pool.scores.detach()
        if self.surrogate == "trapezoid":
            recalled = torch.sigmoid((scores - _known(terms)[:, None]) / terms.tau)
            return mean_variance(trapezoid(recalled), mass)
        return auc_variance(scores, mass, (pool.negative & inside).to(mass.dtype)).to(scores.dtype)

    def _slopes(self, pool: Pool, terms: Terms) -> tuple[Tensor, Tensor]:
        """σ' averaged over what each positive is compared with.

        Pairwise, 1/4 is the largest possible. For the trapezoid it is 1/4 times the largest knot's weight:
        knots lie many temperatures apart, so a positive is steep at one of them at a time.
        """
        knots = _known(terms)
        quarter = torch.full_like(terms.tau, 0.25)
        if self.surrogate == "trapezoid":
            x = torch.sigmoid((pool.scores.detach() - knots[:, None]) / terms.tau)
            return trapezoid(x * (1 - x)), quarter * trapezoid_weights(knots).amax()
        assert terms.slopes is not None
        return torch.where(terms.valid, terms.slopes, 0.0), quarter


def _spaced(first: float, last: float, count: int) -> list[float]:
    """`count` equally spaced numbers, stepped from the nearer end.

    Both ends are exact, and so are round numbers in between (0.3, 0.6, 0.9), on which an order statistic can
    depend.
    """
    step = (last - first) / (count - 1)
    half = count // 2
    return [first + k * step if k < half else last - (count - 1 - k) * step for k in range(count)]


def _known(terms: Terms) -> Tensor:
    assert terms.thresholds is not None
    return terms.thresholds


def _inside(pool: Pool, knots: Tensor) -> Tensor:
    """`[M, C]` bool; scores inside the band, edges included."""
    scores = pool.scores.detach()
    return (scores >= knots[-1]) & (scores <= knots[0])


def _constant_message(flags: list[bool]) -> str:
    classes = [index for index, flag in enumerate(flags) if flag]
    named = f"class {classes[0]}" if len(classes) == 1 else f"classes {', '.join(map(str, classes))}"
    return (
        f"PAUCAtBudgetLoss: the reference scores of {named} are constant, so no threshold separates them and "
        "the class is left out of the loss. The model gives all of these rows the same score: check the "
        "learning rate, or warm up with a likelihood loss"
    )
