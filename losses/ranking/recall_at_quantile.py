"""Recall at a quantile of the scores."""

from __future__ import annotations

from typing import ClassVar, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from .. import kinds
from ..diagnostics.listening import Detail, Stats
from ..functional import all_true, recall_at_threshold
from ..quantiles import Interpolation, quantile
from ..settings import Setting, Settings, number, one_of
from .base import RankingLoss, Terms
from .pool import Pool

QUANTILE_INTERPOLATION = Setting(one_of(*get_args(Interpolation)))


class RecallAtQuantileLoss(RankingLoss):
    """1 − smooth recall when the top `quantile` share of rows is flagged::

        θ = quantile(scores of the pool, 1 − quantile), without gradient
        loss = 1 − mean_{i∈P} σ((s_i − θ)/τ)

    A class is valid when the pool holds a positive with weight. Gradient reaches positives only.

    Args:
        quantile: Share of the pool that is flagged, in (0, 1). Above the positive rate, or recall is capped.
        temperature: τ > 0, in logits, or in multiples of the pool's interquartile range.
        quantile_interpolation: One of `torch.quantile`'s.
        tau_scale: None, or ``"iqr"``.
        Others: As in `SmoothAPLoss`.

    Raises:
        ValueError: If a setting is not allowed.
    """

    kind = kinds.RECALL_AT_QUANTILE
    _SETTINGS: ClassVar[Settings] = {
        **RankingLoss._SETTINGS,
        "quantile": Setting(number(above=0.0, below=1.0)),
        "quantile_interpolation": QUANTILE_INTERPOLATION,
    }

    quantile: float
    quantile_interpolation: Interpolation

    def __init__(
        self,
        num_classes: int,
        quantile: float = 0.005,
        queue_size: int = 1024,
        temperature: float = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        quantile_interpolation: Interpolation = "higher",
        max_pool_size: int | None = None,
        tau_scale: str | None = None,
        *,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(locals(), process_group)

    def _terms(self, pool: Pool, watched: bool) -> Terms:
        tau = self._tau(pool)
        threshold = quantile(
            pool.scores.detach(),
            [1 - self.quantile],
            pool.counted,
            interpolation=self.quantile_interpolation,
            row_weight=pool.row_weight,
        )
        mass = pool.mass
        valid = mass.sum(0) > 0
        known = threshold[0] if all_true(valid) else torch.where(valid, threshold[0], 0.0)
        return Terms(recall_at_threshold(pool.scores, mass, known, tau), valid, tau, threshold)

    def _own_stats(self, wanted: Detail, pool: Pool, terms: Terms) -> Stats:
        threshold = _only(terms)
        above = pool.positive & (pool.scores.detach() >= threshold)
        return {"threshold": threshold, "above_threshold_count": above.sum(0)}

    def _slopes(self, pool: Pool, terms: Terms) -> tuple[Tensor, Tensor]:
        """σ' at the distance from θ; 1/4, at θ itself, is the largest."""
        x = torch.sigmoid((pool.scores - _only(terms)) / terms.tau)
        return x * (1 - x), torch.full_like(terms.tau, 0.25)


def _only(terms: Terms) -> Tensor:
    assert terms.thresholds is not None
    return terms.thresholds[0]
