"""IMB010: the pool holds only one class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of, mean, recent


@dataclass(frozen=True)
class SingleClassPool(Rule):
    """Every row of the pool is a positive: there is nothing to rank them against.

    ## Symptom
    `pool_neg_count` is 0 while `pool_pos_count` is not, record after record. Smooth-AP is exactly 0, and
    partial AUC has no threshold.

    ## Cause
    A sorted or filtered loader that delivers one class at a time, or labels that are all 1 (the wrong
    column, a threshold on the wrong side).

    ## Remedy
    Shuffle the training data, and look at the labels of one batch.

    ## Evidence
    At least half of the recent records have no negative of the class while they have positives. At a
    positive rate of 99 % a pool of 512 rows still holds 5 negatives and lacks any once in 170 pools, so
    half of all pools without one does not happen by chance.

    ## Known problems
    A sorted loader that begins with the negatives shows as missing positives (IMB002) instead.

    ## References
    Bottou, *Stochastic Gradient Descent Tricks*, 2012 (shuffle the examples).
    """

    code: ClassVar[str] = "IMB010"
    name: ClassVar[str] = "single-class-pool"
    severity: ClassVar[Severity] = "error"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = ("pool_pos_count", "pool_neg_count")
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001",)
    min_records: ClassVar[int] = 3

    symptom: ClassVar[str] = (
        "every one of the {pool_positives:,.0f} pooled rows is a positive of {class_label}, in "
        "{empty_percent:.0f} % of recent records: there is nothing to rank them against."
    )
    cause: ClassVar[str] = (
        "the loader delivers one class at a time (sorted or filtered), or all labels are 1."
    )
    remedy: ClassVar[str] = "shuffle the training data, and look at the labels of one batch."

    #: Share of recent records without a negative. See Evidence.
    share: float = 0.5

    def examine(self, window: Window) -> Verdict:
        """Count the records that hold positives and no negatives."""
        positives, negatives = recent(window, "pool_pos_count"), recent(window, "pool_neg_count")
        alone = (negatives == 0) & (positives > 0)
        share = alone.sum(axis=0) / len(alone)
        sick = share >= self.share
        return self._findings(mean(positives), share, classes_of(sick)) if sick.any() else []

    def _findings(self, positives: Floats, share: Floats, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence(
                {"pool_positives": float(positives[index]), "empty_percent": 100.0 * float(share[index])},
                index,
            )
