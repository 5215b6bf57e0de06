"""IMB012: a sampler balances the classes, and weights balance them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures.pool import classes_of, in_warmup, round_to
from imbalance_doctor.rules.measures.weights import (
    Correction,
    Overweight,
    correction,
    false_positive_rates,
    flagged_percent,
)


@dataclass(frozen=True)
class CorrectedTwice(Overweight, Rule):
    """The batches hold more positives than the population, and each of them weighs more as well.

    ## Symptom
    Many false alarms at the default threshold: precision is a fraction of what one correction leaves, and the
    mean probability is far above the rate.

    ## Cause
    A sampler that draws positives more often (`WeightedRandomSampler`, undersampled negatives) and a weight
    (`pos_weight`, alpha, class weights) correct the same imbalance; their factors multiply.

    ## Remedy
    Use one of the two: the sampler without a weight, or the weight with plain shuffling. Probabilities are
    then off by the factor that is left; take its logarithm from the log-odds where they are needed.

    ## Evidence
    The odds of the class in the batches are at least twice those of the population, as declared
    (`population_positive_rate`) or of the validation data; the weight is 2 or more; and together they make
    positives outweigh negatives five times (see IMB015, which also says when it is a warning). BCE, as many
    negatives as positives in each batch, 400 steps, seed 0, Gaussian data / digits / make_classification:

    | weight | rate 5 %: precision | AP | rate 1 %: precision | AP |
    |---|---|---|---|---|
    | none | .57 / .71 / .68 | .94 / .97 / .97 | .24 / .15 / .27 | .86 / .84 / .90 |
    | 3 | .41 / .61 / .50 | .94 / .97 / .97 | .15 / .12 / .16 | .86 / .83 / .87 |
    | the ratio again | .24 / .31 / .28 | .94 / .91 / .92 | .04 / .03 / .03 | .85 / .65 / .53 |

    ## Known problems
    The rule is silent where the population's rate is neither declared nor known from 25 validation positives.
    A validation set that is itself balanced hides the sampler.

    ## References
    Elkan, *The Foundations of Cost-Sensitive Learning*, IJCAI 2001 (sampling and weighting are one
    correction).
    """

    code = "IMB012"
    name = "corrected-twice"
    severity = "info"
    kinds = LIKELIHOOD
    requires = ("live_pos_count", "live_neg_count")
    explained_by = ("IMB001", "IMB703")

    symptom = (
        "{class_label} makes up {live_rate:.2g} of the batches but {positive_rate:.2g} of the population, "
        "and its rows weigh {weight:,.5g} times as much as others: its positives weigh {total:,.4g} times "
        "as much as all negatives together."
    )
    cause = "a sampler and a weight correct the same imbalance, and their factors multiply."
    remedy = "drop the weight and keep the sampler, or keep the weight and shuffle without a sampler."

    def examine(self, window: Window) -> Verdict:
        """Compare the rate of the batches with that of the population, and both with the weight."""
        if in_warmup(window):
            return []
        found = correction(window)
        twice = found.twice & self.overweight(window, found)
        return self._findings(window, found, classes_of(twice)) if twice.any() else []

    def _findings(self, window: Window, found: Correction, classes: list[int]) -> Iterator[Evidence]:
        alarms = false_positive_rates(window)
        for index in classes:
            odds = found.odds[index]
            population = odds / found.sampled[index]
            total, alarm = found.total[index], alarms[index]
            yield Evidence(
                {
                    "live_rate": odds / (1.0 + odds),
                    "positive_rate": round_to(population / (1.0 + population), 3),
                    "weight": found.weight[index],
                    "total": total,
                    **flagged_percent(alarm),
                },
                index,
                severity="warning" if self.is_far(total, alarm) else None,
            )
