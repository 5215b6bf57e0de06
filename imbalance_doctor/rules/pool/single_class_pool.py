"""IMB010: the pool, or whole batches, hold only one class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.gate import unrecorded
from imbalance_doctor.rules.measures.pool import Floats, classes_of, mean, recent


@dataclass(frozen=True)
class SingleClassPool(Rule):
    """Every row of the pool is a positive, or batches hold one class at a time.

    ## Symptom
    Ranking losses: `pool_neg_count` is 0 while `pool_pos_count` is not, record after record. Smooth-AP is
    exactly 0, and partial AUC has no threshold. Likelihood losses: batches of nothing but positives, between
    long stretches without any; or no negative at all.

    ## Cause
    A sorted or filtered loader that delivers one class at a time, or labels that are all 1 (the wrong
    column, a threshold on the wrong side).

    ## Remedy
    Shuffle the training data, and look at the labels of one batch.

    ## Evidence
    Ranking: at least half of the recent records have no negative of the class while they have positives. At
    a positive rate of 99 % a pool of 512 rows still holds 5 negatives and lacks any once in 170 pools, so
    half of all pools without one does not happen by chance.

    Likelihood: more batches of nothing but a class than the class's share of the rows lets expect, by five
    standard errors and at least two batches. At a share of 2 % a batch of 32 rows is all positive once in
    10^54 times, so two of them say that the data is sorted (or one, if its class is in no other of 20);
    batches of one row, and classes that nearly every row has, are left alone. BCE, 400 steps, 6 of 200 steps
    with all of the positives, against the same share mixed, AP on Gaussian data / digits /
    make_classification / sequences: .99 / .79 / .98 / .54 and .99 / .99 / .99 / .81; with 20 of 600 steps,
    and 1,200 in all, .02 on another make_classification. So the order is a warning.

    Or no negative in 1,000 rows: at a positive rate of 99 % that has a chance of 4e-5.

    ## Known problems
    A sorted loader that begins with the negatives shows as missing positives (IMB002) instead. Batches that
    are drawn from one source each, and sources of one class, are found as well, and rightly so.

    ## References
    Bottou, *Stochastic Gradient Descent Tricks*, 2012 (shuffle the examples).
    """

    code = "IMB010"
    name = "single-class-pool"
    severity = "error"
    kinds = RANKING | LIKELIHOOD
    requires = ("live_pos_count", "live_neg_count")
    explained_by = ("IMB001",)
    min_records = 3

    symptom = (
        "every one of the {pool_positives:,.0f} pooled rows is a positive of {class_label}, in "
        "{empty_percent:.0f} % of recent records: the loss has nothing to rank them against."
    )
    cause = "the loader delivers one class at a time (sorted or filtered), or all labels are 1."
    remedy = "shuffle the training data, and look at the labels of one batch."

    all_symptom = (
        "every one of the {rows:,.0f} rows in {records:.0f} recorded batches is a positive of {class_label}."
    )
    order_symptom = (
        "{alone:.0f} of {records:.0f} recorded batches hold nothing but positives of {class_label}, "
        "although these are {rate_percent:.2g} % of the rows."
    )
    many_symptom = (
        "{alone:.0f} of {records:.0f} recorded batches hold a single class (classes that were alone: "
        "{classes:.0f})."
    )
    order_cause = (
        "the loader delivers one class at a time (data sorted by label or by source), and each stretch "
        "undoes what the one before has taught."
    )

    share: float = threshold(
        0.5,
        "Share of recent records without a negative: a pool of 512 rows at a positive rate of 99 % lacks "
        "any once in 170 times, so that half of them do not by chance.",
    )
    rows: float = threshold(
        1000.0,
        "Rows of a likelihood loss without a negative: at a positive rate of 99 % a thousand have none with "
        "a chance of 4e-5.",
    )
    errors: float = threshold(
        5.0,
        "Standard errors beyond the batches of one class that its share of the rows lets expect: far "
        "outside of chance, as a sorted loader is.",
    )
    least: float = threshold(
        1.5,
        "Batches of one class beyond that number, so that it takes two: a single one may be chance in a "
        "small batch.",
    )
    never: float = threshold(
        1e-6, "Chance of a batch of one class, below which one is enough: a loader that gives it is sorted."
    )
    records: float = threshold(
        20.0, "Records that there must be for that, none of which mixes the class with others."
    )

    def examine(self, window: Window) -> Verdict:
        """Count the records that hold positives and no negatives."""
        if window.kind in LIKELIHOOD:
            return self._of_batches(window)
        missing = unrecorded(window, ("pool_pos_count", "pool_neg_count"))
        if missing:
            return missing
        positives, negatives = recent(window, "pool_pos_count"), recent(window, "pool_neg_count")
        alone = (negatives == 0) & (positives > 0)
        share = alone.sum(axis=0) / len(alone)
        sick = share >= self.share
        return self._of_pools(mean(positives), share, classes_of(sick)) if sick.any() else []

    def _of_pools(self, positives: Floats, share: Floats, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence(
                {"pool_positives": positives[index], "empty_percent": 100.0 * share[index]},
                index,
            )

    def _of_batches(self, window: Window) -> Iterator[Evidence]:
        positives, negatives = (window.series(f"live_{kind}_count").values for kind in ("pos", "neg"))
        rows, records = positives + negatives, len(positives)
        seen = rows.sum(axis=0)
        rate = positives.sum(axis=0) / np.maximum(seen, 1.0)
        for index in classes_of((negatives.sum(axis=0) == 0) & (seen >= self.rows)):
            yield Evidence({"rows": seen[index], "records": records}, index, symptom=self.all_symptom)
        alone = ((negatives == 0) & (positives > 0)).sum(axis=0)
        chance = np.where(rows > 0, rate**rows, 0.0).sum(axis=0)
        mixed = ((negatives > 0) & (positives > 0)).sum(axis=0)
        # One batch will do where its class was in no other, and mixed in none.
        surely = (alone > 0) & (mixed == 0) & (chance < self.never) & (records >= self.records)
        found = classes_of(surely | (alone > chance + self.errors * np.sqrt(chance) + self.least))
        if not found:
            return
        values = {
            "alone": alone[found].sum(),
            "records": records,
            "classes": len(found),
            "rate_percent": 100.0 * rate[found[0]],
        }
        only = len(found) == 1
        yield Evidence(
            values,
            found[0] if only and len(rate) == 1 else None,
            severity="warning",
            symptom=self.order_symptom if only and len(rate) == 1 else self.many_symptom,
            cause=self.order_cause,
        )
