"""The kinds of loss: the stable names that logs and findings have for them, and what they have in common.

A loss of this package says its own (`losses.diagnostics.Diagnosable.kind`); those of torch's losses
are in `losses.diagnostics.bridge.PLAIN_KINDS`. Nothing is imported here: rules and readers of logs know
no torch.
"""

from __future__ import annotations

SMOOTH_AP = "smooth_ap"
RECALL_AT_QUANTILE = "recall_at_quantile"
PAUC_AT_BUDGET = "pauc_at_budget"
SIGMOID_FOCAL = "sigmoid_focal"
SOFTMAX_FOCAL = "softmax_focal"
BCE = "bce"
CROSS_ENTROPY = "cross_entropy"
#: Two losses in turn, each of a kind of its own.
WARMUP = "warmup_wrapper"
#: Any other module.
OTHER = "other"

#: Losses that estimate a threshold from a pool.
THRESHOLDED = frozenset({RECALL_AT_QUANTILE, PAUC_AT_BUDGET})
#: Losses that rank a pool.
RANKING = THRESHOLDED | {SMOOTH_AP}
FOCAL = frozenset({SIGMOID_FOCAL, SOFTMAX_FOCAL})
#: Losses whose logits are log-odds, so that p = 0.5 (or argmax) is a decision.
LIKELIHOOD = FOCAL | {BCE, CROSS_ENTROPY}
#: Of these, the ones whose classes exclude each other: a logit says something beside those of its row alone.
SOFTMAX = frozenset({CROSS_ENTROPY, SOFTMAX_FOCAL})
#: Whatever computes one loss from logits and targets.
ANY = RANKING | LIKELIHOOD | {OTHER}
