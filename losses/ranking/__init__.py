"""Losses that rank a pool of live and queued rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._exports import exports

if TYPE_CHECKING:
    from . import base as base
    from . import labels as labels
    from . import pool as pool
    from . import queue as queue
    from . import sampling as sampling
    from . import scale as scale
    from .average_precision import SmoothAPLoss
    from .base import RankingLoss
    from .partial_auc import PAUCAtBudgetLoss
    from .recall_at_quantile import RecallAtQuantileLoss

__all__ = [
    "PAUCAtBudgetLoss",
    "RankingLoss",
    "RecallAtQuantileLoss",
    "SmoothAPLoss",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "RankingLoss": "base",
        "SmoothAPLoss": "average_precision",
        "PAUCAtBudgetLoss": "partial_auc",
        "RecallAtQuantileLoss": "recall_at_quantile",
    },
)
