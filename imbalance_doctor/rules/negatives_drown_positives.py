"""IMB106: alpha gives positives so little weight that negatives drown them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import FOCAL, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of, in_warmup, round_to


@dataclass(frozen=True)
class NegativesDrownPositives(Rule):
    """The weight of positives is small, and so is their number: negatives lead the training.

    ## Symptom
    The first hundred steps push all scores down. Positives are learnt late, and the default decision finds
    few or none of them.

    ## Cause
    `alpha` is the weight of positives against 1 - alpha for negatives. At the default of 0.25 (which the
    paper pairs with gamma 2 and 100,000 anchors) a positive weighs a third of a negative; at 0.01, chosen
    as "the positive rate", a hundredth.

    ## Remedy
    The printed alpha, at which both sides begin at about the same scale. A softmax focal loss: class weights
    that grow as the class gets rarer, not with its frequency.

    ## Evidence
    The positives' share of the gradient's norm at the first step, from alpha and the observed rate r:
    w sqrt(r / (1 - r)) with w = alpha / (1 - alpha). Sigmoid focal, batch 256, 400 steps, 2 seeds; mean of
    gamma 0 and 2; AP on Gaussian data / digits / make_classification, and recall at p = 0.5:

    | alpha | rate 1 %: share | AP | recall | rate 5 %: share | AP | recall |
    |---|---|---|---|---|---|---|
    | 0.01 | 0.001 | .51 / .14 / .66 | 0 | 0.002 | .86 / .70 / .85 | .05 |
    | 0.1 | 0.011 | .78 / .63 / .74 | .13 | 0.03 | .93 / .89 / .92 | .50 |
    | 0.25 | 0.03 | .83 / .72 / .79 | .35 | 0.08 | .94 / .93 / .94 | .72 |
    | 0.75 | 0.30 | .86 / .82 / .87 | .76 | 0.7 | .94 / .97 / .97 | .92 |
    | 0.95 | 1.9 | .86 / .85 / .90 | .90 | 4.4 | .94 / .97 / .97 | .96 |

    AP fell by a tenth and more below 0.012, and by 2 to 10 % below 0.05: a warning and information.

    The published sign, a small share of positives in the loss or gradient, was there in the first 50 steps
    only: by step 100 positives had 35 to 68 % of the loss and more of the gradient than negatives in every
    run, however small alpha was, because scores sink until the two sides balance. So this rule computes the
    share at the start, and looks at no later one.

    ## Known problems
    Long runs make up for part of it. The rate is that of the batches, as it must be.

    ## References
    Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017, section 3.3 (initial class imbalance).
    """

    code: ClassVar[str] = "IMB106"
    name: ClassVar[str] = "negatives-drown-positives"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = FOCAL
    requires: ClassVar[tuple[str, ...]] = ("live_pos_count", "live_neg_count")
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001",)
    foreseeable: ClassVar[bool] = True
    new_run: ClassVar[tuple[str, str] | None] = ("alpha", "alpha")

    symptom: ClassVar[str] = (
        "positives of {class_label} began with {share_percent:.2g} % of the negatives' gradient, at a rate "
        "of {positive_rate:.2g} and {weight:.2g} times the weight of a negative."
    )
    cause: ClassVar[str] = "alpha weighs positives down although they are rare."
    remedy: ClassVar[str] = "alpha of about {alpha:.2g}."
    class_remedy: ClassVar[str] = "a class weight about {factor:.2g} times as large."

    #: Share below which it is worth knowing, and a warning. See Evidence.
    little: float = 0.05
    nothing: float = 0.012
    #: Share that the remedy aims at.
    wanted: float = 0.3
    #: Positives by which the rate must be known.
    positives: float = 5.0

    def examine(self, window: Window) -> Verdict:
        """Compute what the weights make of the observed rates."""
        alpha = window.config("alpha")
        if alpha is None or alpha == -1 or in_warmup(window):
            return []
        live = window.series("live_pos_count").values.sum(axis=0)
        odds = live / np.maximum(window.series("live_neg_count").values.sum(axis=0), 1.0)
        weight = _relative_weight(alpha, odds)
        share = weight * np.sqrt(odds)
        # A class that weighs as much as the others is no fault of alpha.
        drowned = (share < self.little) & (live >= self.positives) & (weight < 1.0)
        return self._findings(window, weight, odds, share, classes_of(drowned)) if drowned.any() else []

    def _findings(
        self, window: Window, weight: Floats, odds: Floats, share: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        binary = window.kind == "sigmoid_focal"
        for index in classes:
            wanted = self.wanted / float(np.sqrt(odds[index]))
            yield Evidence(
                {
                    "share_percent": 100.0 * float(share[index]),
                    "positive_rate": float(odds[index] / (1.0 + odds[index])),
                    "weight": float(weight[index]),
                    "alpha": round_to(wanted / (1.0 + wanted)),
                    "factor": round_to(wanted / max(float(weight[index]), 1e-9)),
                },
                index,
                severity="warning" if share[index] < self.nothing else "info",
                remedy=None if binary else self.class_remedy,
            )


def _relative_weight(alpha: float | list[float], odds: Floats) -> Floats:
    """What a positive of each class weighs against one of its negatives, [C]."""
    if not isinstance(alpha, (list, tuple)):
        return np.full(len(odds), alpha / max(1.0 - alpha, 1e-9))
    weights = np.asarray(alpha, dtype=np.float64)
    if len(weights) != len(odds):
        return np.ones(len(odds))
    rates = odds / (1.0 + odds)
    others = ((rates * weights).sum() - rates * weights) / np.maximum(rates.sum() - rates, 1e-9)
    relative: Floats = weights / np.maximum(others, 1e-12)
    return relative
