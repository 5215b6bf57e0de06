"""IMB301: the quantile is smaller than the positive rate, so that full recall is impossible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, positive_rates, recent, round_to


@dataclass(frozen=True)
class QuantileBelowPositiveRate(Rule):
    """More rows are positive than the quantile lets through: recall is capped even for a perfect model.

    ## Symptom
    Recall and the loss stall at a level that has nothing to do with the model: with a quantile of 0.5 %
    and 2 % positives, recall cannot exceed 0.25.

    ## Cause
    The threshold is the score below which 1 - `quantile` of the pool lies. With a positive rate above the
    quantile it lies among the positives. A sampler makes the rate of the pool higher than that of the
    population, which the budget was meant for.

    ## Remedy
    Raise the quantile above the positive rate (printed), unless the budget really is that small. Under a
    sampler, and with the population's rate declared, set the quantile that lets the same share of the pool's
    negatives through: at a rate of 0.5 % in the population and 30 % in the pool, 2 % of the population are 31
    % of the pool. Or train without the sampler, and let the queue hold the positives.

    ## Evidence
    `quantile` over the positive rate of the pool, which is the recall that a perfect model would reach.
    AP after 300 steps (seed 0, scale-free temperature):

    | quantile / rate | 0.1 | 0.25 | 0.5 | 1 | 2 |
    |---|---|---|---|---|---|
    | Gaussian data, rate 2 % | .41 | .38 | .48 | .49 | .58 |
    | Gaussian data, rate 10 % | .55 | .57 | .61 | .69 | .75 |
    | digits, rate 2 % | .22 | .14 | .18 | .19 | .17 |
    | digits, rate 10 % | .37 | .40 | .45 | .45 | .44 |

    Against a quantile at the rate, AP was 11 to 22 % lower below one half, and up to 12 % lower at one half:
    there the finding is a warning, and up to 0.9 it is information. On digits at 2 %, where this loss alone
    learns little at any quantile, nothing was to be seen.

    ## Known problems
    A budget that really is smaller than the positive rate is meant so; the finding is then a reminder
    that this loss's value cannot fall to 0, and that Smooth-AP or partial AUC rank the top as well.

    ## References
    Boyd et al., *Accuracy at the Top*, NeurIPS 2012.
    """

    code = "IMB301"
    name = "quantile-below-positive-rate"
    severity = "warning"
    kinds = frozenset({"recall_at_quantile"})
    requires = ("pool_pos_count", "pool_neg_count")
    explained_by = ("IMB001", "IMB010")
    foreseeable = True
    new_run = ("quantile", "quantile_wanted")

    symptom = (
        "{rate_percent:.3g} % of the pool are positives of {class_label}, but the loss flags only its top "
        "{quantile_percent:.3g} %: recall cannot exceed {cap_percent:.0f} %."
    )
    cause = (
        "the quantile is smaller than the positive rate, so the threshold lies among the positives even for "
        "a perfect model."
    )
    remedy = (
        "raise the quantile above the positive rate, for example to {quantile_wanted:.2g}, unless the budget "
        "really is that small."
    )

    sampler_cause = (
        "most likely a sampler draws more positives: {rate_percent:.3g} % of the pool are positives but "
        "only {population_percent:.2g} % of the population, and the quantile counts rows of the pool."
    )
    sampler_remedy = (
        "set quantile={quantile_wanted:.2g}, which flags the same share of this pool's negatives as "
        "{meant_percent:.3g} % flags in the population; or train without the sampler and let the queue hold "
        "the positives."
    )

    cap: float = threshold(
        0.9,
        "Recall that a perfect model could reach, below which the cap is reported: 1, with room for the "
        "sampling error of the rate.",
    )
    low: float = threshold(
        0.5,
        "Recall that a perfect model could reach, below which it is a warning: AP was 11 to 22 % lower than "
        "with the quantile at the rate (but for digits at 2 %, where this loss learns little at any "
        "quantile).",
    )
    wanted: float = threshold(
        2.0,
        "Quantile that is recommended, in positive rates: against a quantile at the rate, AP was 9 and 18 % "
        "higher on Gaussian data, and no higher on digits.",
    )
    sampled: float = threshold(
        2.0,
        "Times the declared rate, above which a sampler made that of the pool: less is a declared rate that "
        "is off.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the quantile with the positive rate."""
        positives, negatives = recent(window, "pool_pos_count"), recent(window, "pool_neg_count")
        rate = positives.sum(axis=0) / (positives + negatives).sum(axis=0).clip(1.0)
        if window.config("max_pool_size") is not None and window.has("live_pos_count"):
            rate = positive_rates(window)  # a cap draws more positives, and gives each less weight
        capped = rate * self.cap > float(window.config("quantile", 1.0))
        return self._findings(window, rate, classes_of(capped)) if capped.any() else []

    def _findings(self, window: Window, rate: Floats, classes: list[int]) -> Iterator[Evidence]:
        quantile = float(window.config("quantile", 1.0))
        for index in classes:
            pooled, declared = rate[index], window.run.positive_rate(index)
            sampled = declared is not None and pooled > self.sampled * declared
            population = declared if declared is not None and sampled else pooled
            # A share of the population is meant; what carries over to the pool is that of its negatives.
            fits = quantile >= self.cap * population
            meant = max(quantile, population) if fits else min(self.wanted * population, 0.99)
            flagged = (meant - population) / max(1.0 - population, 1e-9)
            yield Evidence(
                {
                    "quantile_percent": 100.0 * quantile,
                    "rate_percent": 100.0 * pooled,
                    "cap_percent": 100.0 * quantile / pooled,
                    "population_percent": 100.0 * population,
                    "meant_percent": 100.0 * meant,
                    "quantile_wanted": min(round_to(pooled + flagged * (1.0 - pooled)), 0.99),
                },
                index,
                severity="warning" if quantile < self.low * pooled else "info",
                cause=self.sampler_cause if sampled else None,
                remedy=self.sampler_remedy if sampled else None,
            )
