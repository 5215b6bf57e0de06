"""IMB002: a class has no positive in the pool, record after record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.gate import unrecorded
from imbalance_doctor.rules.measures.pool import (
    PoolSize,
    classes_of,
    larger_queue,
    pool,
    population_rates,
    positive_rates,
    without_positives,
)


@dataclass(frozen=True)
class NoPositivesInPool(Rule):
    """A class has no positive in the pool, or in any batch: it is not trained at all.

    ## Symptom
    Ranking losses: `pool_pos_count` is 0 in most records. The class is invalid there and left out of the
    mean; when it is the only class, the loss is exactly 0 and so is its gradient. Likelihood losses:
    `live_pos_count` is 0 in every record, and the loss falls towards 0. The rare class never improves, and
    the loss curve, flat and low, looks like success.

    ## Cause
    The pool (live batch and queue) is smaller than one over the positive rate, so that it is a matter of
    luck whether it holds a positive. Or the loader never delivers any, or delivers them in stretches: sorted
    or filtered data, a label that does not occur, positives marked as ignored.

    ## Remedy
    Raise `queue_size` first, which costs memory for scores only; the finding prints the size with which 10
    positives are expected. A larger batch, gathering over ranks (`gather_distributed=True`), or a sampler
    that draws more positives do the same. Where the rate (declared, of the validation data, or of the rows
    seen so far) says that the pool should hold many, no queue helps: look at the loader, and shuffle it.

    ## Evidence
    Ranking: `pool_pos_count` is 0 in all of the first 3 to 9 records, in the newest 9, or in more than half
    of the window by 1.6 standard errors (of those with a pool at least half full). With an expectation of 1
    positive, exp(-1) = 37 % of pools have none, with 0.7 it is half; without the margin a run with 1
    expected positive opened and closed this finding twice in 2,000 steps. A well-sized pool (10 expected)
    that is half full has none with a probability of exp(-5) = 0.7 %, so a queue that still fills raises no
    alarm. Where the rows seen say that 10 belong in the pool, two standard errors of their count off, the
    order is to blame: in blocks of 25 steps with 10 % positives and 100 with none, 42 were expected in a
    pool that had none in two records of three.

    Likelihood: none in all batches of the window, where 10 or more were to be expected (none of 10 has a
    chance of 5e-5) by the declared rate, which is an error, or by that of the validation data, which may
    have been enriched: a warning until 5,000 rows were seen. With no rate known at all, two classes and
    5,000 rows without a positive: a warning, because a rate of 0.1 % would show none once in 150 times and
    one of 0.01 % more often than not. With all labels 0 (BCE, rate 2 %, batch 128, 400 steps), AP on Gaussian
    data / digits / make_classification / sequences was .11 / .02 / .51 / .02 by the luck of the start, and
    .90 / .83 / .89 / .11 with the labels.

    ## Known problems
    A queue so large that it is not half full after several hundred steps delays the finding. A class
    that is meant to be absent from the training data is reported as well; leave it out of the loss. Of a
    likelihood loss, only the recorded batches are counted, one step in ten: batches of one class that take
    turns in step with the records show one of the classes alone.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (needs positives in the retrieval set);
    Wang et al., *Cross-Batch Memory for Embedding Learning*, CVPR 2020 (the queue).
    """

    code = "IMB002"
    name = "no-positives-in-pool"
    severity = "error"
    kinds = RANKING | LIKELIHOOD
    requires = ("live_pos_count", "live_neg_count")
    explained_by = ("IMB001", "IMB010")
    foreseeable = True

    symptom = (
        "{class_label} has no positive in the pool of {pool_size:,.0f} rows in {empty_percent:.0f} % of "
        "recorded steps, so it is not trained in those."
    )
    cause = (
        "the pool is too small for a positive rate of about {positive_rate:.2g}: the expected number of "
        "positives in it is {expected_positives:.2g}."
    )
    remedy = (
        "raise queue_size to about {queue_size:,.0f}, with which {wanted_positives:.0f} positives are "
        "expected in the pool; or use a larger batch, gather over ranks, or oversample positives."
    )

    unseen_cause = (
        "none of about {rows_seen:,.0f} rows seen so far was positive: the class is rarer than that, or "
        "the loader does not deliver it (sorted or filtered data, wrong label id)."
    )
    unseen_remedy = (
        "check that the training data holds the class and is shuffled. If so, raise queue_size to "
        "{queue_size:,.0f} or more, for {wanted_positives:.0f} positives, or oversample the class."
    )
    loader_cause = (
        "at the declared positive rate of {positive_rate:.2g} this pool should hold "
        "{expected_positives:,.0f} positives: the loader sorts or filters the data, or labels are wrong."
    )
    validation_cause = (
        "at the positive rate of the validation data, {positive_rate:.2g}, this pool should hold "
        "{expected_positives:,.0f} positives: the loader sorts or filters the data, or labels are wrong."
    )
    loader_remedy = "shuffle the loader, and check labels and ignore_index; no setting of the loss helps."
    order_cause = (
        "positives come in stretches: {positive_rate:.2g} of the rows seen so far were positive, so this "
        "pool should hold {expected_positives:,.0f}."
    )
    order_remedy = (
        "shuffle the loader: data that is sorted by label, time or source brings positives in stretches. "
        "The pool is large enough."
    )

    batch_symptom = (
        "{class_label} had no positive in {records:,.0f} recorded batches with {rows_seen:,.0f} rows, so it "
        "is not trained."
    )
    batch_cause = (
        "at the declared positive rate of {positive_rate:.2g} those rows should hold "
        "{expected_positives:,.0f} positives: the loader sorts or filters the data, or labels are wrong."
    )
    batch_validation_cause = (
        "at the positive rate of the validation data, {positive_rate:.2g}, those rows should hold "
        "{expected_positives:,.0f} positives: the loader sorts or filters the data, or labels are wrong."
    )
    batch_unknown_cause = (
        "the loader does not deliver the class (sorted or filtered data, wrong label column), or it is "
        "rarer than one row in {rarer_than:,.0f}."
    )
    batch_remedy = (
        "look at the labels of some batches: label column and ignore_index, filters, the order of the data. "
        "Without positives, no setting of the loss helps."
    )

    wanted_positives: float = threshold(
        10.0,
        "Positives that the prescribed queue is expected to hold: a pool with 10 expected ones holds none "
        "once in 22,000 times.",
    )
    surely_expected: float = threshold(
        10.0,
        "Expected positives from which the loader is to blame if there is none: with 10 expected, none has "
        "a chance of 5e-5.",
    )
    unknown_rows: float = threshold(
        5000.0,
        "Rows of a likelihood loss without any positive that count with no rate known: at 0.1 % they hold "
        "none with a chance of exp(-5) = 0.7 %.",
    )
    validated_rows: float = threshold(
        1000.0,
        "Rows from which the rate of validation data is believed, which may have been enriched 20 times for "
        "the sake of the metrics: at a true rate of 0.3 % a thousand rows have none once in 20 times.",
    )

    def examine(self, window: Window) -> Verdict:
        """Count the records without positives: of the pool, or of the batch where there is no pool."""
        if window.kind in LIKELIHOOD:
            return self._of_batches(window)
        missing = unrecorded(window, ("pool_pos_count", "pool_size"))
        if missing:
            return missing
        now = pool(window)
        absent = without_positives(window, now)
        return self._of_pools(window, now, classes_of(absent)) if absent.any() else []

    def _of_pools(self, window: Window, now: PoolSize, classes: list[int]) -> Iterator[Evidence]:
        counts, rates = window.series("pool_pos_count").values, positive_rates(window)
        known = population_rates(window, len(rates))
        live = window.series("live_pos_count").values.sum(axis=0)
        records = len(window.series("live_pos_count"))
        seen = now.size + now.batch * (records - 1)
        for index in classes:
            declared, rate = window.run.positive_rate(index), known[index]
            # What the rows seen so far let expect, less two standard errors of their number.
            sure = (live[index] - 2.0 * np.sqrt(live[index])) / max(now.batch * records, 1.0)
            cause = remedy = None
            if sure * now.whole >= self.surely_expected:
                cause, remedy, rate = self.order_cause, self.order_remedy, rates[index]
            elif rate * now.whole >= self.surely_expected:  # never so where it is nan
                cause = self.validation_cause if declared is None else self.loader_cause
                remedy = self.loader_remedy
            to = None
            if cause is None:
                rate = declared or rates[index]
                if rate == 0.0:
                    cause, remedy = self.unseen_cause, self.unseen_remedy
                elif rate * now.whole >= self.wanted_positives:
                    rate = 1.0 / now.whole  # of a mostly empty pool, whatever a few lucky batches say
                to = larger_queue(self.wanted_positives / (rate or 1.0 / max(seen, now.whole)), now)
            yield Evidence(
                {
                    "pool_size": now.size,
                    "empty_percent": 100.0 * np.mean(counts[:, index] == 0),
                    "positive_rate": rate,
                    "expected_positives": rate * now.whole,
                    "rows_seen": seen,
                    "wanted_positives": self.wanted_positives,
                    **({} if to is None else {"queue_size": to}),
                },
                index,
                cause=cause,
                remedy=remedy,
                prescription=None if to is None else Change("queue_size", now.queue_size, to),
            )

    def _of_batches(self, window: Window) -> Iterator[Evidence]:
        positives = window.series("live_pos_count").values
        total = positives.sum(axis=0)
        rows = total + window.series("live_neg_count").values.sum(axis=0)
        known = population_rates(window, len(total))
        for index in classes_of((total == 0) & (rows > 0)):
            declared, rate, seen = window.run.positive_rate(index), known[index], rows[index]
            severity: Severity = "error"
            if np.isnan(rate):
                if len(total) > 2 or seen < self.unknown_rows:
                    continue  # one of many classes may be known to be missing
                severity, cause = "warning", self.batch_unknown_cause
            elif rate * seen < self.surely_expected:
                continue
            elif declared is not None:
                cause = self.batch_cause
            elif seen < self.validated_rows:
                continue
            else:
                severity = "error" if seen >= self.unknown_rows else "warning"
                cause = self.batch_validation_cause
            values = {"rows_seen": seen, "records": len(positives), "rarer_than": seen / 3.0}
            if not np.isnan(rate):
                values |= {"positive_rate": rate, "expected_positives": rate * seen}
            yield Evidence(
                values,
                index,
                severity=severity,
                symptom=self.batch_symptom,
                cause=cause,
                remedy=self.batch_remedy,
            )
