"""Smooth average precision."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from .. import kernels, kinds
from ..diagnostics.listening import Detail, Stats
from .base import RankingLoss, Terms
from .pool import Pool


class SmoothAPLoss(RankingLoss):
    """1 − average precision, with ranks made smooth: Brown et al., ECCV 2020, eq. 5-6.

    For a positive i of a class, over the pool of live and queued rows::

        rank(i)  = 1 + Σ_{j≠i}      σ((s_j − s_i)/τ)
        rank⁺(i) = 1 + Σ_{j≠i, j∈P} σ((s_j − s_i)/τ)
        loss     = 1 − mean_{i∈P} rank⁺(i) / rank(i)

    As τ → 0, without ties, this is 1 − average precision. On scores that are all tied it is
    1 − (P + 1)/(M + 1). A class is valid when the pool holds a positive with weight and a negative: without
    negatives there is nothing to rank.

    Args:
        num_classes: C; 1 for binary.
        queue_size: Rows of the memory queue. A smaller one, by `reconfigure`, keeps the newest.
        temperature: τ > 0, in logits, or in multiples of the pool's interquartile range.
        reduction: ``"mean"`` or ``"sum"`` over valid classes, or ``"none"``: `[C]`, nan where invalid.
        ignore_index: Targets with this value do not count.
        update_queue_in_eval: Whether forwards in ``eval()`` (with gradient) feed the queue too. Their pool is
            the batch alone either way.
        gather_distributed: Whether the pool is that of all ranks: None when there are several and the logits
            require a gradient, so that validation under ``torch.no_grad()`` ranks this rank's rows; True
            always, and requires a process group; False never.
        max_pool_size: Sample larger pools down to this many rows; None for no cap.
        tau_scale: None, or ``"iqr"`` for a temperature relative to the spread of the scores.
        process_group: The ranks that take part; None for all.

    Raises:
        ValueError: If a setting is not allowed.
    """

    kind = kinds.SMOOTH_AP

    def __init__(
        self,
        num_classes: int,
        queue_size: int = 1024,
        temperature: float = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        max_pool_size: int | None = None,
        tau_scale: str | None = None,
        *,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(locals(), process_group)

    def _terms(self, pool: Pool, watched: bool) -> Terms:
        tau = self._tau(pool)
        loss, slopes = kernels.smooth_ap_and_slopes(
            pool.scores,
            pool.positive,
            pool.negative,
            tau,
            pos_weight=pool.weight,
            row_weight=pool.row_weight,
            gradient_rows=pool.gradient_rows,
            watched=watched,
        )
        return Terms(loss, pool.has_positives & pool.negative.any(0), tau, slopes=slopes)

    def _own_stats(self, wanted: Detail, pool: Pool, terms: Terms) -> Stats:
        return {}

    def _slopes(self, pool: Pool, terms: Terms) -> tuple[Tensor, Tensor]:
        """Each positive's own slope, against the steepest of its class.

        A positive at rank 1 among few has a slope near 1/4, one at rank 500 at best near 1/2000, so no
        constant is "the largest possible slope" of a smooth rank. The steepest positive of the pool is: a
        positive is saturated when it moves the loss less than 1 % as much as that one. If even the steepest
        has lost touch, relative size says nothing, so the slope that all positives share when every score is
        tied, N / (2 M²) (σ' = 1/4 at all pairs), is the least that counts as the largest. On 4,096 normal
        scores, 2 % positives, this gives 96 / 86 / 74 / 31 % carrying at spread/τ = 10 / 100 / 1,000 /
        10,000, and all of them where scores are tied relative to τ.
        """
        slopes = terms.slopes
        assert slopes is not None
        rows = pool.valid.sum(0).clamp_min(1).to(slopes.dtype)
        tied = pool.negative.sum(0) / (2 * rows.square())
        steepest = slopes.amax(0) if slopes.shape[0] else slopes.new_zeros(slopes.shape[1])
        return slopes, steepest.maximum(tied)
