"""IMB015: rare positives weigh far more than all negatives together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import classes_of, in_warmup, round_to
from imbalance_doctor.rules.measures.weights import (
    CORRECTS,
    Correction,
    Overweight,
    correction,
    false_positive_rates,
    flagged_percent,
)


@dataclass(frozen=True)
class OverCorrected(Overweight, Rule):
    """Positives weigh more than balance asks for: the default decision calls too many negatives positive.

    ## Symptom
    Recall of the default decision is near 1 and its precision near the positive rate; the mean probability is
    far above the rate. With a weight in the hundreds the order of the scores suffers as well.

    ## Cause
    `pos_weight` (or alpha, or a class weight, or a sampler) is larger than the number of negatives for each
    positive. At that number both sides weigh the same; beyond it a false alarm costs next to nothing.

    ## Remedy
    Set the printed weight, at which both sides weigh the same, or less. For more recall than that, lower the
    decision threshold on validation data, which leaves the ranking as it is. A weight shifts the log-odds by
    its logarithm; where probabilities are needed, take that away again.

    ## Evidence
    What all positives weigh against all negatives: the weight times the odds of the class in the batches.
    BCE, batch 256, 300 steps, seed 0, Gaussian data / digits / make_classification; false alarms are the
    share of validation negatives that the default decision calls positive:

    | total | rate 5 %: false alarms | precision | AP | rate 1 %: false alarms | AP |
    |---|---|---|---|---|---|
    | no weight | .00 / .01 / .00 | .90 / .87 / .94 | .94 / .88 / .94 | .00 / .00 / .00 | .84 / .64 / .81 |
    | 1 | .04 / .04 / .02 | .59 / .55 / .69 | .94 / .93 / .96 | .03 / .08 / .04 | .86 / .77 / .86 |
    | 5 | .08 / .10 / .08 | .40 / .34 / .39 | .94 / .91 / .94 | .08 / .19 / .13 | .85 / .72 / .76 |
    | 30 | .18 / .24 / .24 | .23 / .18 / .19 | .94 / .84 / .86 | .25 / .57 / .44 | .83 / .56 / .57 |
    | 200 | .52 / .54 / 1.00 | .09 / .09 / .05 | .90 / .67 / .78 | .81 / .89 / 1.00 | .70 / .36 / .45 |

    Balance, a total of 1, costs precision at p = 0.5 and no AP: whoever sets it asks for that, and the rule
    is silent. From 5 on it is information: there a third and more of the precision of balance is gone, and up
    to .10 of AP. It is a warning from 30 on where a quarter of the negatives are called positive: there AP
    was .18 to .41 below that of balance on digits and make_classification and .03 to .16 on Gaussian data,
    and the weight at balance wins that back. On Gaussian data that hardly separate (AUROC .84), totals of 1 /
    5 / 10 / 30 / 100 had false alarms of .25 / .61 / .79 / .97 / .97 and the AP of balance (.31 / .31 / .31 /
    .30 / .29): false alarms alone say nothing of the order.

    ## Known problems
    A weight that stands for costs (a miss costs a hundred false alarms) is what it should be. In the first
    steps of a run, before the scores have settled, any large weight calls everything positive.

    ## References
    Elkan, *The Foundations of Cost-Sensitive Learning*, IJCAI 2001. Saerens et al., *Adjusting the Outputs of
    a Classifier to New a Priori Probabilities*, Neural Computation 2002.
    """

    code = "IMB015"
    name = "over-corrected"
    severity = "warning"
    kinds = LIKELIHOOD
    requires = ("live_pos_count", "live_neg_count")
    explained_by = ("IMB001", "IMB703", "IMB012")
    foreseeable = True

    symptom = (
        "the positives of {class_label} weigh {total:,.4g} times as much as all negatives together: "
        "{weight:,.5g} each, at a rate of {positive_rate:.2g}."
    )
    flagged_symptom = (
        "the default decision calls {flagged_percent:.0f} % of the negatives of {class_label} positive; its "
        "positives weigh {total:,.4g} times as much as all negatives together."
    )
    cause = "pos_weight is larger than the number of negatives per positive."
    remedy = (
        "lower pos_weight to {pos_weight:,.5g} or less: at that value both sides weigh the same. For more "
        "recall, lower the decision threshold, which leaves the ranking as it is."
    )
    alpha_cause = "alpha gives a positive more weight than there are negatives per positive."
    alpha_remedy = (
        "lower alpha to {alpha:.3g} or less: at that value both sides weigh the same. For more recall, "
        "lower the decision threshold, which leaves the ranking as it is."
    )
    class_cause = "its class weight is larger than its rarity calls for."
    class_remedy = (
        "divide its class weight by {total:,.3g}; it then weighs as much as all other classes together."
    )
    sampler_cause = "the batches hold far more positives than negatives."
    sampler_remedy = "have the sampler draw at most as many positives as negatives."

    common: float = threshold(
        2.0,
        "Odds of the class in the population, or in the batches where that is unknown, up to which it is "
        "one to be corrected for: 1 is balance, with room for a balanced sampler's luck. Weights that "
        "favour a majority are IMB106's.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compute what the weights make of the observed rates, and look what became of the negatives."""
        if in_warmup(window):
            return []
        found = correction(window)
        corrected = (found.weight > 1.0) | (found.sampled >= CORRECTS)
        corrected &= found.odds / np.fmax(found.sampled, 1.0) <= self.common
        over = corrected & self.overweight(window, found) & ~found.twice
        return self._findings(window, found, classes_of(over)) if over.any() else []

    def _findings(self, window: Window, found: Correction, classes: list[int]) -> Iterator[Evidence]:
        alarms = false_positive_rates(window)
        cause, remedy = {
            "bce": (self.cause, self.remedy),
            "sigmoid_focal": (self.alpha_cause, self.alpha_remedy),
        }.get(window.kind, (self.class_cause, self.class_remedy))
        for index in classes:
            total, alarm = found.total[index], alarms[index]
            flagged = self.is_far(total, alarm)
            weighted = found.weight[index] > 1.0
            odds = found.odds[index]
            yield Evidence(
                {
                    "total": total,
                    "weight": found.weight[index],
                    "positive_rate": odds / (1.0 + odds),
                    "pos_weight": round_to(1.0 / odds),
                    "alpha": round_to(1.0 / (1.0 + odds), 3),
                    **flagged_percent(alarm),
                },
                index,
                severity="warning" if flagged else "info",
                symptom=self.flagged_symptom if flagged else None,
                cause=cause if weighted else self.sampler_cause,
                remedy=remedy if weighted else self.sampler_remedy,
            )
