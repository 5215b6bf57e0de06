"""IMB405: batches are no fair draw of the population, and every row counts as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of


@dataclass(frozen=True)
class BandNotIid(Rule):
    """The batches hold far more positives than the population, and those use up the band's budget.

    ## Symptom
    `budget_basis="population"`, the share of positives in the batches is a multiple of the declared (or the
    validation data's) rate, and no row is marked as not iid.

    ## Cause
    A sampler draws positives more often. The band's edges are quantiles of the rows they are taken from, and
    with `budget_basis="population"` the drawn positives use up the budget.

    ## Remedy
    Set `budget_basis="fpr"`, or pass `iid_mask` and mark the rows that were drawn at random. The others still
    count as positives and get gradient.

    ## Evidence
    The share of positives in the live batches of the window is more than twice the declared one (or that
    of the validation data), from at least 25 positives, and `iid_neg_count` equals `pool_neg_count`.

    Partial AUC of 5 %, pairwise, rate 2 %, batch 512, 300 steps, mean ± deviation over 2 seeds; positives
    drawn 20 times as often, or the fifth of the negatives kept that a trained model scores highest:

    | | fair | more positives, "fpr" | hard negatives, "fpr" | more positives, "population" |
    |---|---|---|---|---|
    | Gaussian data: AP | .90 ± .00 | .90 ± .00 | .89 ± .00 | .79 ± .05 |
    | digits: AP | .93 ± .03 | .95 ± .01 | .88 ± .01 | .47 ± .06 |

    With the budget over all rows the band lies among the positives, and hardly a negative is pushed down: a
    warning. Beside BCE at half of the weight it cost nothing (.91 / .86). With the budget over negatives,
    drawing more positives is harmless, and the rule is silent. It is silent on hard negatives too, which cost
    .01 on Gaussian data and .05 on digits, because counts do not show them.

    ## Known problems
    Where hard negatives are mined, a budget of 1 % of them is far less than 1 % of all. Counts do not show
    it: pass `iid_mask` where you mine. With validation data that were balanced on purpose and no declared
    rate, nothing is found.

    ## References
    Narasimhan & Agarwal, *A Structural SVM Based Approach for Optimizing Partial AUC*, ICML 2013 (false
    positive rates are those of the negatives' distribution).
    """

    code = "IMB405"
    name = "band-not-iid"
    severity = "warning"
    kinds = frozenset({"pauc_at_budget"})
    requires = (
        "live_pos_count", "live_neg_count", "pool_neg_count", "iid_neg_count",
    )  # fmt: skip
    min_records = 10
    explained_by = ("IMB010",)

    symptom = (
        "{observed:.2g} of the rows in the batches are positives of {class_label}, {ratio:.0f} times their "
        "share of {expected:.2g} in the population, yet every row counts as a random draw."
    )
    cause = (
        'most likely a sampler changes the mix: with budget_basis="population" the additional positives '
        "count against the budget of {beta:.3g}, which leaves less of it for negatives."
    )
    remedy = 'pass iid_mask with the rows that were drawn at random, or use budget_basis="fpr".'

    ratio: float = threshold(
        2.0,
        "Times the population's rate, above which a sampler must have changed the mix: a rate from 25 "
        "positives has a standard error of 20 %, and twice the rate is far outside of that.",
    )
    positives: float = threshold(
        25.0,
        "Positives that the batches must hold, and the validation data where its rate is used: the standard "
        "error of the rate is 20 % then.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the batches' positive rates with the population's."""
        if window.config("budget_basis") != "population":
            return []
        expected = self._expected(window)
        if expected is None:
            return Skipped("the population's positive rate is unknown; pass population_positive_rate")
        positives = window.series("live_pos_count").values.sum(axis=0)
        rows = positives + window.series("live_neg_count").values.sum(axis=0)
        if expected.shape != positives.shape:
            return []
        observed: Floats = positives / np.maximum(rows, 1.0)
        found = (observed > self.ratio * expected) & (positives >= self.positives)
        if not found.any():
            return []
        marked, pooled = window.series("iid_neg_count").values[-1], window.series("pool_neg_count").values[-1]
        return self._findings(window, observed, expected, classes_of(found & (marked >= pooled)))

    def _expected(self, window: Window) -> Floats | None:
        """The population's positive rates, [C]: as declared, or those of the validation data."""
        declared = window.run.population_positive_rate
        if declared is not None:
            return np.atleast_1d(np.asarray(declared, np.float64))
        rates, counts = (window.eval_series(name).last(1).values for name in ("positive_rate", "positives"))
        if not len(rates) or not len(counts):
            return None
        known: Floats = np.where(counts[0] >= self.positives, rates[0], np.nan)
        return known

    def _findings(
        self, window: Window, observed: Floats, expected: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence(
                {
                    "observed": observed[index],
                    "expected": expected[index],
                    "ratio": observed[index] / max(expected[index], 1e-9),
                    "beta": window.config("beta", 1.0),
                },
                index,
            )
