"""Losses for rare positives, which report what they saw."""

from losses.average_precision import SmoothAPLoss
from losses.focal import SigmoidFocalLoss, SoftmaxFocalLoss
from losses.partial_auc import PAUCAtBudgetLoss
from losses.recall_at_quantile import RecallAtQuantileLoss
from losses.warmup import LossWarmupWrapper

__all__ = [
    "LossWarmupWrapper",
    "PAUCAtBudgetLoss",
    "RecallAtQuantileLoss",
    "SigmoidFocalLoss",
    "SmoothAPLoss",
    "SoftmaxFocalLoss",
]
