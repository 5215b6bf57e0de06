"""Losses for rare positives, which report what they saw.

They are imported when they are asked for, and torch with them: what the statistics and kinds are, in
`losses.catalogue` and `losses.kinds`, can be read without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._exports import exports

if TYPE_CHECKING:
    from .distributed import all_gather_no_grad, all_gather_with_grad
    from .focal import SigmoidFocalLoss, SoftmaxFocalLoss
    from .ranking.average_precision import SmoothAPLoss
    from .ranking.partial_auc import PAUCAtBudgetLoss
    from .ranking.recall_at_quantile import RecallAtQuantileLoss
    from .warmup.wrapper import LossWarmupWrapper

__all__ = [
    "LossWarmupWrapper",
    "PAUCAtBudgetLoss",
    "RecallAtQuantileLoss",
    "SigmoidFocalLoss",
    "SmoothAPLoss",
    "SoftmaxFocalLoss",
    "all_gather_no_grad",
    "all_gather_with_grad",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "LossWarmupWrapper": "warmup.wrapper",
        "PAUCAtBudgetLoss": "ranking.partial_auc",
        "RecallAtQuantileLoss": "ranking.recall_at_quantile",
        "SigmoidFocalLoss": "focal",
        "SmoothAPLoss": "ranking.average_precision",
        "SoftmaxFocalLoss": "focal",
        "all_gather_no_grad": "distributed",
        "all_gather_with_grad": "distributed",
    },
)
