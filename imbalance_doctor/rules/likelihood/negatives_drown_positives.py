"""IMB106: positives have so little weight in the loss that negatives drown them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, in_warmup, round_to
from imbalance_doctor.rules.measures.weights import odds_of, pos_factor, positive_weight


@dataclass(frozen=True)
class NegativesDrownPositives(Rule):
    """The weight of positives is small, and so is their number: negatives lead the training.

    ## Symptom
    The first hundred steps push all scores down. Positives are learnt late, and the default decision finds
    few or none of them.

    ## Cause
    Of a focal loss, `alpha` is the weight of positives against 1 - alpha for negatives. At the default of
    0.25 (which the paper pairs with gamma 2 and 100,000 anchors) a positive weighs a third of a negative; at
    0.01, chosen as "the positive rate", a hundredth. Of BCE it is `pos_weight`, and of cross-entropy and a
    softmax focal loss the class weights: frequencies where their inverse was meant.

    ## Remedy
    Set the printed alpha or `pos_weight`, at which both sides begin at about the same scale. Choose class
    weights that grow as the class gets rarer, not with its frequency.

    ## Evidence
    The positives' share of the gradient's norm at the first step, from alpha and the observed rate r:
    w sqrt(r / (1 - r)) with w = alpha / (1 - alpha). Sigmoid focal, gamma 2, batch 256, 300 steps, seed 0;
    AP on Gaussian data / digits, and recall at p = 0.5, mean of both:

    | alpha | rate 1 %: share | AP | recall | rate 5 %: share | AP | recall |
    |---|---|---|---|---|---|---|
    | 0.01 | 0.001 | .52 / .06 | .00 | 0.002 | .90 / .75 | .02 |
    | 0.1 | 0.01 | .80 / .66 | .14 | 0.03 | .93 / .92 | .54 |
    | 0.25 | 0.03 | .83 / .74 | .35 | 0.08 | .94 / .94 | .77 |
    | 0.75 | 0.3 | .85 / .81 | .77 | 0.7 | .94 / .98 | .92 |
    | 0.95 | 2 | .85 / .84 | .88 | 4 | .94 / .96 | .96 |

    Below 0.012 AP fell by 4 to 40 % on Gaussian data and by a fifth and more on digits, and below 0.05 by 1
    to 12 %: a warning and information.

    BCE with a `pos_weight` w obeys the same law (300 steps, seed 0):

    | pos_weight | rate 1 %: share | AP | recall | rate 10 %: share | AP | recall |
    |---|---|---|---|---|---|---|
    | 0.01 | 0.001 | .41 / .02 | .00 | 0.003 | .90 / .72 | .00 |
    | 0.1 | 0.01 | .64 / .36 | .00 | 0.03 | .96 / .88 | .49 |
    | 0.3 | 0.03 | .79 / .57 | .16 | 0.1 | .96 / .91 | .76 |
    | 1 | 0.1 | .84 / .64 | .38 | 0.3 | .96 / .95 | .88 |
    | 10 | 1 | .86 / .75 | .82 | 3 | .96 / .97 | .97 |

    The published sign, a small share of positives in the loss or gradient, was there in the first 50 steps
    only: by step 100 positives had 35 to 68 % of the loss and more of the gradient than negatives in every
    run, however small alpha was, because scores sink until the two sides balance. So this rule computes the
    share at the start, and looks at no later one.

    ## Known problems
    Long runs make up for part of it. The rate is that of the batches, as it must be.

    ## References
    Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017, section 3.3 (initial class imbalance).
    """

    code = "IMB106"
    name = "negatives-drown-positives"
    severity = "warning"
    kinds = LIKELIHOOD
    requires = ("live_pos_count", "live_neg_count")
    explained_by = ("IMB001",)
    foreseeable = True
    new_run = ("alpha", "alpha")

    symptom = (
        "at the first step, positives of {class_label} get {share_percent:.2g} % of the gradient that "
        "negatives get: their rate is {positive_rate:.2g}, and each has {weight:.2g} times the weight of a "
        "negative."
    )
    cause = "alpha gives positives less weight than negatives although they are rare."
    remedy = "set alpha to about {alpha:.4g}."
    pos_weight_cause = "pos_weight gives positives less weight than negatives although they are rare."
    pos_weight_remedy = "set pos_weight to about {pos_weight:.5g}."
    class_cause = "the class weights give the class less weight than the others although it is rare."
    class_remedy = "make its class weight about {factor:,.5g} times as large."

    little: float = threshold(
        0.05,
        "Positives' share of the gradient at the first step, below which it is reported: AP was 1 to 12 % "
        "lower.",
    )
    nothing: float = threshold(
        0.012,
        "Share below which it is a warning: AP fell by 4 to 40 % on Gaussian data and by a fifth and more on "
        "digits.",
    )
    wanted: float = threshold(
        0.3,
        "Share that the remedy aims at: at 0.3, which is alpha 0.75 at a rate of 1 %, AP was within .03 of "
        "the best.",
    )
    positives: float = threshold(
        5.0,
        "Positives by which the rate must be known: its standard error is 45 % then, and the borders are "
        "four times apart.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compute what the weights make of the observed rates."""
        odds = odds_of(window)
        weight = positive_weight(window, odds)
        if weight is None or in_warmup(window):
            return []
        live = window.series("live_pos_count").values.sum(axis=0)
        share = weight * np.sqrt(odds)
        # A class that weighs as much as the others is no fault of the weights, and one that has most of the
        # rows is not drowned by those of others: they weigh too much (IMB015).
        drowned = (share < self.little) & (live >= self.positives) & (weight < 1.0) & (odds < 1.0)
        if not drowned.any():
            return []
        return self._findings(window, weight, odds, share, classes_of(drowned))

    def _findings(
        self, window: Window, weight: Floats, odds: Floats, share: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        kind = window.kind
        cause, remedy = {
            "sigmoid_focal": (self.cause, self.remedy),
            "bce": (self.pos_weight_cause, self.pos_weight_remedy),
        }.get(kind, (self.class_cause, self.class_remedy))
        # Beside a `pos_weight`, alpha has that much less to do.
        factor = pos_factor(window, odds) if kind == "sigmoid_focal" else np.ones_like(odds)
        for index in classes:
            wanted = self.wanted / np.sqrt(odds[index])
            yield Evidence(
                {
                    "share_percent": 100.0 * share[index],
                    "positive_rate": odds[index] / (1.0 + odds[index]),
                    "weight": weight[index],
                    "pos_weight": round_to(wanted),
                    # Rounded by what it leaves to negatives: they keep a weight, however rare positives are.
                    "alpha": 1.0 - round_to(factor[index] / (factor[index] + wanted)),
                    "factor": round_to(wanted / max(weight[index], 1e-9)),
                },
                index,
                severity="warning" if share[index] < self.nothing else "info",
                cause=cause,
                remedy=remedy,
            )
