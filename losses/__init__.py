"""Losses for rare positives, which report what they saw."""

from .average_precision import SmoothAPLoss
from .distributed import all_gather_no_grad, all_gather_with_grad
from .focal import SigmoidFocalLoss, SoftmaxFocalLoss
from .partial_auc import PAUCAtBudgetLoss
from .recall_at_quantile import RecallAtQuantileLoss
from .warmup import LossWarmupWrapper

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
