"""IMB007: a few scores lie far from all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, median
from imbalance_doctor.rules.measures.scores import LEAST, MEDIAN, MOST, Q05, Q25, Q75, Q95


@dataclass(frozen=True)
class ScoreOutliers(Rule):
    """A few negatives score many interquartile ranges away from the rest.

    ## Symptom
    The smallest or largest of `neg_score_quantiles` is tens of interquartile ranges from the others.

    ## Cause
    Rows with extreme inputs: a feature in another unit, a fill value like -999, a corrupt file. A model
    without bounds answers them with extreme scores.

    ## Remedy
    Find the rows (they have the extreme scores) and look at their inputs; clip or standardise features.

    ## Evidence
    The distance of the extreme negative from the central 90 %, in interquartile ranges, in the middle one of
    the newest 5 records that have quantiles; of a likelihood loss at least 2.3 logits as well, because scores
    that have collapsed lie 50 ranges within 0.01. Ordinary runs: below 11. Inputs of a share of the rows were
    multiplied, at a rate of 5 % (seed 0, 300 steps; AP on Gaussian data / digits with ordinary inputs):

    | rows, factor | distance | Smooth-AP | BCE |
    |---|---|---|---|
    | none | 1 | .94 / .97 | .94 / .88 |
    | 0.5 %, 10 | 2-26 | .94 / .96 | .94 / .88 |
    | 0.5 %, 100 | 21-280 | .94 / .93 | .93 / .82 |
    | 2 %, 100 | 219-421 | .93 / .96 | .94 / .75 |

    The published table says that outliers compress all other soft ranks. They do not: ranking losses count
    how many rows are above and scale by the interquartile range; Smooth-AP lost .04 at most. A likelihood
    loss pays for every unit of a wrong extreme score and does suffer, on digits by .06 and .13, though not on
    Gaussian data: a warning there from 50 on, information elsewhere.

    ## Known problems
    Only negatives are looked at: of rare positives the extremes are too few to have quantiles.

    ## References
    Huber & Ronchetti, *Robust Statistics*, 2009.
    """

    code = "IMB007"
    name = "score-outliers"
    severity = "info"
    kinds = RANKING | LIKELIHOOD
    requires = ("neg_score_quantiles",)
    explained_by = ("IMB001", "IMB006", "IMB402", "IMB703")

    symptom = (
        "the most extreme negative of {class_label} scores {extreme:.3g}, {distance:,.0f} interquartile "
        "ranges beyond 95 % of the negatives (median {middle:.3g})."
    )
    cause = (
        "most likely some rows have extreme inputs (another unit, a fill value, a corrupt file), which the "
        "model answers with extreme scores."
    )
    remedy = "look at the inputs of the rows with extreme scores; clip or standardise them."

    distance: float = threshold(
        20.0,
        "Interquartile ranges beyond the central 90 %, from which it is reported: ordinary runs were below "
        "11.",
    )
    harmful: float = threshold(
        50.0,
        "The same for a likelihood loss, from which it is a warning: with inputs times 100 (distances of 21 "
        "to 421) AP fell by .06 and .13 on digits, with inputs times 10 (2 to 26) it did not.",
    )
    logits: float = threshold(
        2.3,
        "Distance that it must be as well, in logits of a likelihood loss: a factor of ten in the odds. "
        "Scores that had all collapsed had 50 to 62 interquartile ranges within 0.01.",
    )
    records: int = threshold(
        5, "Newest records of quantiles: the middle one must show it, because one batch may hold an odd row."
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the extremes of the negatives with their spread."""
        quantiles = window.series("neg_score_quantiles").values[-self.records :]
        spread = quantiles[..., Q75] - quantiles[..., Q25]
        above = quantiles[..., MOST] - quantiles[..., Q95]
        below = quantiles[..., Q05] - quantiles[..., LEAST]
        away = np.maximum(above, below)
        far = away > self.distance * spread
        if not far.any():
            return []
        # Scores that are nearly all tied have no spread to measure by.
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(spread > 0.0, away / spread, np.nan)
        usual = median(distance)
        sick = (usual > self.distance) & np.isfinite(distance).all(axis=0)
        if window.kind in LIKELIHOOD:
            sick &= median(away) > self.logits
        upper = above[-1] >= below[-1]
        extreme = np.where(upper, quantiles[-1, :, MOST], quantiles[-1, :, LEAST])
        return self._findings(window, usual, extreme, quantiles[-1, :, MEDIAN], classes_of(sick))

    def _findings(
        self, window: Window, distance: Floats, extreme: Floats, middle: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        likelihood = window.kind in LIKELIHOOD
        for index in classes:
            yield Evidence(
                {
                    "distance": distance[index],
                    "extreme": extreme[index],
                    "middle": middle[index],
                },
                index,
                severity="warning" if likelihood and distance[index] > self.harmful else "info",
            )
