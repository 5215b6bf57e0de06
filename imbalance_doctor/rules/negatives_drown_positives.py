"""IMB106: positives have so little weight in the loss that negatives drown them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures import Floats, classes_of, in_warmup, round_to
from imbalance_doctor.rules.weights import odds_of, pos_factor, positive_weight


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
    The printed alpha or `pos_weight`, at which both sides begin at about the same scale. Class weights that
    grow as the class gets rarer, not with its frequency.

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

    BCE with a `pos_weight` w obeys the same law (300 steps, 2 seeds):

    | pos_weight | rate 1 %: share | AP | recall | rate 10 %: share | AP | recall |
    |---|---|---|---|---|---|---|
    | 0.01 | 0.001 | .38 / .02 / .73 | 0 | 0.003 | .88 / .74 / .87 | .00 |
    | 0.1 | 0.010 | .59 / .48 / .77 | 0 | 0.03 | .95 / .89 / .93 | .45 |
    | 0.3 | 0.03 | .75 / .66 / .80 | .14 | 0.1 | .95 / .92 / .95 | .75 |
    | 1 | 0.10 | .80 / .70 / .82 | .45 | 0.33 | .95 / .96 / .97 | .88 |
    | 10 | 1.0 | .82 / .77 / .84 | .82 | 3.3 | .95 / .97 / .98 | .96 |

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
        "positives of {class_label} began with {share_percent:.2g} % of the negatives' gradient, at a rate "
        "of {positive_rate:.2g} and {weight:.2g} times the weight of a negative."
    )
    cause = "alpha weighs positives down although they are rare."
    remedy = "alpha of about {alpha:.2g}."
    pos_weight_cause = "pos_weight weighs positives down although they are rare."
    pos_weight_remedy = "pos_weight of about {pos_weight:.2g}."
    class_cause = "the class weights weigh it down although it is rare."
    class_remedy = "a class weight about {factor:.2g} times as large."

    little: float = threshold(
        0.05,
        "Positives' share of the gradient at the first step, below which it is worth knowing: AP was 2 to "
        "10 % lower.",
    )
    nothing: float = threshold(0.012, "Share below which it is a warning: AP fell by a tenth and more.")
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
                    "alpha": round_to(wanted / (factor[index] + wanted)),
                    "factor": round_to(wanted / max(weight[index], 1e-9)),
                },
                index,
                severity="warning" if share[index] < self.nothing else "info",
                cause=cause,
                remedy=remedy,
            )
