"""IMB305: recall is not met, yet no positive is close enough to the threshold to be moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import Evidence, Rule, TooFew, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    Bools,
    Floats,
    carrying_share,
    classes_of,
    mean,
    recent,
    round_to,
    spread_in_temperatures,
)
from imbalance_doctor.rules.measures.scores import LEVELS


@dataclass(frozen=True)
class DeadRecallGradient(Rule):
    """Positives are missed, and none is within a few temperatures of the threshold: nothing is learnt.

    ## Symptom
    Recall in the pool is below 1 and the loss does not move, because `grad_pos_count` is 0 although
    batches hold positives.

    ## Cause
    The slope of the loss at a positive is that of a sigmoid centred on the threshold: at 6 temperatures
    from it, 1 % of the largest is left, at 10 a five-thousandth. A temperature that is small for the
    spread of the scores leaves every positive outside.

    ## Remedy
    Raise the temperature to the printed value, with which the middle one of the missed positives is 3
    temperatures below the threshold; or begin with a warmup, so that positives start near the threshold.

    ## Evidence
    Of the last 20 or more live positives at most 1 % carried gradient (5 % where the scores are spread over
    more than 1,000 temperatures: the threshold is the score of a row, and that row always carries), and at
    least a tenth of the pooled positives is below the threshold. In runs at a rate of 2 % (300 steps), those
    in which none carried gradient ended with an AP of .48, .18, .10, .26 (Adam) and .14, .53, .04, .10 (SGD),
    Gaussian data and digits; those with 3 % and more carrying ended with .55 and .17 (Adam) and .68 and .16
    (SGD).

    ## Known problems
    Adam magnifies tiny gradients, so such a run may creep ahead and, in time, reach the others.

    ## References
    Boyd et al., *Accuracy at the Top*, NeurIPS 2012.
    """

    code = "IMB305"
    name = "dead-recall-gradient"
    severity = "error"
    kinds = frozenset({"recall_at_quantile"})
    requires = (
        "live_pos_count", "grad_pos_count", "pool_pos_count", "above_threshold_count",
        "tau_eff", "threshold", "pos_score_quantiles",
    )  # fmt: skip
    #: 100 steps at the default: a model that has just begun may have no positive near the threshold yet.
    min_records = 10
    explained_by = ("IMB001", "IMB002", "IMB202", "IMB301", "IMB304")

    symptom = (
        "{missed_percent:.0f} % of the positives of {class_label} are below the threshold, and "
        "{carrying:.0f} of {live_positives:.0f} live positives carried gradient: the model learns next to "
        "nothing from them."
    )
    cause = (
        "the missed positives are too far from the threshold: the middle one is {distance:,.0f} "
        "temperatures of {tau:.2g} below it, and the gradient reaches about 6."
    )
    remedy = (
        "raise the temperature to about {tau_wanted:.2g}, which brings the missed positives within reach; "
        "or warm up with BCE or cross-entropy, which brings them near the threshold."
    )
    unmeasured_cause = (
        "the gradient reaches about 6 temperatures of {tau:.2g} from the threshold, and next to no missed "
        "positive is that near."
    )
    unmeasured_remedy = (
        'raise the temperature, use tau_scale="iqr", or warm up with BCE or cross-entropy, which brings the '
        "missed positives near the threshold."
    )

    positives: float = threshold(
        20.0,
        "Live positives that must have been seen: of 20, one that carries gradient is 5 %, far above "
        "`carrying`.",
    )
    carrying: float = threshold(
        0.01,
        "Share of them that may carry gradient: runs with none of them ended with an AP of .04 to .53, "
        "those with 3 % and more with .16 to .68.",
    )
    carrying_alone: float = threshold(
        0.05,
        "The same where the scores are wider than `wide`. There only the row that is the threshold is near "
        "it, and if it is a live positive it counts as carrying: 3 of 98 in one of 9 such runs, which ended "
        "with an AP of .35.",
    )
    wide: float = threshold(
        1000.0,
        "Spread of the scores, in temperatures, from which `carrying_alone` holds: ordinary runs are at 10, "
        "those without gradient were at 1,300 to 2,000 (IMB202).",
    )
    missed: float = threshold(
        0.1,
        "Share of the pooled positives that must be below the threshold: where fewer are, recall is nearly "
        "met.",
    )
    reach: float = threshold(
        3.0,
        "Temperatures from the threshold to the middle missed positive that the remedy aims at: there a "
        "sigmoid has 18 % of its largest slope.",
    )

    def examine(self, window: Window) -> Verdict:
        """Find classes that miss positives and learn from none."""
        live, carrying = carrying_share(window, self.positives)
        enough = live >= self.positives
        dead: Bools = enough & (carrying <= self.carrying)
        if window.has("score_iqr") and window.has("score_std"):
            wide = mean(spread_in_temperatures(window)) > self.wide
            dead |= enough & wide & (carrying <= self.carrying_alone)
        if not dead.any():
            return []
        above = mean(recent(window, "above_threshold_count"))
        missed = 1.0 - above / mean(recent(window, "pool_pos_count")).clip(1e-9)
        dead &= missed >= self.missed
        return self._findings(window, live, carrying, missed, classes_of(dead))

    def passed_over(self, window: Window) -> TooFew | None:
        """Classes with too few live positives to tell what share of them carries gradient."""
        return TooFew(self.positives, carrying_share(window, self.positives)[0] < self.positives)

    def _findings(
        self, window: Window, live: Floats, carrying: Floats, missed: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        taus, thresholds = mean(recent(window, "tau_eff")), mean(recent(window, "threshold"))
        quantiles = mean(recent(window, "pos_score_quantiles"))
        # Half of the missed share: the middle one of those below the threshold.
        middle = [np.interp(0.5 * m, LEVELS, q) for m, q in zip(missed, quantiles, strict=True)]
        distance = (thresholds - np.array(middle)) / taus
        temperature = float(window.config("temperature") or 0.0)
        for index in classes:
            # The quantiles of few positives, far apart, may put the middle one above the threshold.
            measured = bool(distance[index] > self.reach)
            wanted = round_to(temperature * distance[index] / self.reach, 1)
            prescription = None
            if measured and wanted > temperature:
                prescription = Change("temperature", temperature, wanted)
            yield Evidence(
                {
                    "missed_percent": 100.0 * missed[index],
                    "live_positives": live[index],
                    "carrying": carrying[index] * live[index],
                    "tau": taus[index],
                    **({"distance": distance[index], "tau_wanted": wanted} if measured else {}),
                },
                index,
                cause=None if measured else self.unmeasured_cause,
                remedy=None if measured else self.unmeasured_remedy,
                prescription=prescription,
            )
