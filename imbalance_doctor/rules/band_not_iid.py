"""IMB405: batches are no fair draw of the population, and every row counts as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity, Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of


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
    `budget_basis="fpr"`, or `iid_mask`: mark the rows that were drawn fairly. The others still count as
    positives and get gradient.

    ## Evidence
    The share of positives in the live batches of the window is more than twice the declared one (or that
    of the validation data), from at least 25 positives, and `iid_neg_count` equals `pool_neg_count`.

    Partial AUC of 5 %, pairwise, rate 2 %, batch 512, 300 steps, mean ± deviation over 2 seeds; positives
    drawn 20 times as often, or the fifth of the negatives kept that a trained model scores highest:

    | | fair | more positives, "fpr" | hard negatives, "fpr" | more positives, "population" |
    |---|---|---|---|---|
    | Gaussian data: AP | .90 ± .00 | .90 ± .00 | .89 ± .00 | .79 ± .05 |
    | digits: AP | .93 ± .03 | .95 ± .01 | .88 ± .01 | .47 ± .06 |

    With the budget over all rows the band lies among the positives, and hardly a negative is pushed down:
    a warning. Beside BCE at half of the weight it cost nothing (.91 / .86). With the budget over negatives,
    drawing more positives is harmless, and nothing is said of it. Nor is anything said of mining, which cost
    .01 on Gaussian data and .05 on digits: counts do not show it.

    ## Known problems
    Hard negatives that are mined make a budget of 1 % of them far less than 1 % of all, and cannot be told
    from counts: pass `iid_mask` where you mine. With
    validation data that were balanced on purpose and no declared rate, nothing is found.

    ## References
    Narasimhan & Agarwal, *A Structural SVM Based Approach for Optimizing Partial AUC*, ICML 2013 (false
    positive rates are those of the negatives' distribution).
    """

    code: ClassVar[str] = "IMB405"
    name: ClassVar[str] = "band-not-iid"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = frozenset({"pauc_at_budget"})
    requires: ClassVar[tuple[str, ...]] = (
        "live_pos_count", "live_neg_count", "pool_neg_count", "iid_neg_count",
    )  # fmt: skip
    min_records: ClassVar[int] = 10
    explained_by: ClassVar[tuple[str, ...]] = ("IMB010",)

    symptom: ClassVar[str] = (
        "{observed:.2g} of the batches' rows are positives of {class_label}, {ratio:.0f} times their share "
        "of {expected:.2g} in the population, and every row counts as a fair draw."
    )
    cause: ClassVar[str] = (
        'a sampler changes the mix, and with budget_basis="population" the drawn positives use up the budget '
        "of {beta:.3g} before a negative is counted."
    )
    remedy: ClassVar[str] = 'pass iid_mask with the rows that were drawn fairly, or use budget_basis="fpr".'

    #: Multiple of the population's rate from which the mix was changed and not drawn.
    ratio: float = 2.0
    #: Positives that the batches (and validation data, where its rate is used) must hold, for the ratio to be
    #: no chance: its standard error is 20 % then.
    positives: float = 25.0

    def examine(self, window: Window) -> Verdict:
        """Compare the batches' positive rates with the population's."""
        if window.config("budget_basis") != "population":
            return []
        expected = self._expected(window)
        if expected is None:
            return Skipped("the population's positive rate is not known; give population_positive_rate")
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
                    "observed": float(observed[index]),
                    "expected": float(expected[index]),
                    "ratio": float(observed[index] / max(float(expected[index]), 1e-9)),
                    "beta": float(window.config("beta", 1.0)),
                },
                index,
            )
