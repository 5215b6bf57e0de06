"""IMB105: a focal loss trains, while the run is judged by a ranking metric."""

from __future__ import annotations

from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import FOCAL, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures.pool import in_warmup

#: The losses that optimise a metric directly.
MADE_FOR = {
    "average_precision": "SmoothAPLoss",
    "recall_at_budget": "SmoothAPLoss, or RecallAtQuantileLoss beside a likelihood loss",
    "partial_auc": 'PAUCAtBudgetLoss with surrogate="pairwise"',
}


@dataclass(frozen=True)
class FocalForARankingMetric(Rule):
    """The run is for a ranking metric, and its loss is focal.

    ## Symptom
    `target_metric` is average precision, recall at a budget or partial AUC; the loss is a focal loss.

    ## Cause
    A focal loss is a likelihood loss: it fits probabilities row by row, also where the order of the scores is
    right already, and ignores any budget.

    ## Remedy
    Raise alpha if positives are rare (IMB106 computes it), and compare with the loss that is made for the
    metric, from the same start or after a warmup on this one.

    ## Evidence
    The target metric that the run declares, and the kind of loss. AP, and partial AUC up to 1 %, after 400
    steps of Adam at a rate of 1 %, batch 256, 2 seeds, on Gaussian data / digits / make_classification:

    | loss | AP | partial AUC |
    |---|---|---|
    | Smooth-AP | .85 / .89 / .92 | .78 / .84 / .89 |
    | focal, alpha 0.25 | .84 / .81 / .81 | .78 / .76 / .76 |
    | focal, alpha 0.75 | .86 / .88 / .89 | .80 / .84 / .86 |
    | BCE | .85 / .71 / .83 | .78 / .63 / .78 |
    | Recall@1.5 % beside BCE | .85 / .70 / .82 | .79 / .62 / .78 |

    At the default alpha Smooth-AP is ahead by up to .1; an alpha that fits the rate (IMB106) closes all or
    most of that gap. That it "optimises neither" costs nothing by itself, so this is information.

    ## Known problems
    Speaks only where the run declares its target metric.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020. Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017.
    """

    code = "IMB105"
    name = "focal-for-a-ranking-metric"
    severity = "info"
    kinds = FOCAL
    requires = ("live_pos_count",)
    foreseeable = True

    symptom = "this run is judged by a ranking metric, which {loss} does not optimise."
    cause = (
        "a focal loss fits probabilities row by row; it optimises neither average precision nor recall at a "
        "budget."
    )
    remedy = "compare with a ranking loss."

    def examine(self, window: Window) -> Verdict:
        """Compare the loss with the metric that the run declares."""
        metric = window.run.target_metric
        if metric not in MADE_FOR or in_warmup(window):
            return []
        words = metric.replace("_", " ").replace("auc", "AUC")
        return [
            Evidence(
                {},
                symptom=f"this run is judged by {words}, which {{loss}} does not optimise.",
                remedy=(
                    f"compare with {MADE_FOR[metric]}, from the same start or after a warmup with {{loss}}."
                ),
            )
        ]
