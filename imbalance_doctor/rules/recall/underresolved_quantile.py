"""IMB304: the threshold of Recall@Quantile rests on one or a few rows."""

from __future__ import annotations

from dataclasses import dataclass

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    UNCAP,
    cap_for,
    larger_queue,
    pool,
    wider_cap,
    without_positives,
)


@dataclass(frozen=True)
class UnderresolvedQuantile(Rule):
    """The pool has too few rows above the quantile: one row decides the threshold.

    ## Symptom
    The pool's size times `quantile` is below 10. With less than 1, the threshold is the highest score of the
    pool.

    ## Cause
    The pool (live batch and queue) is small for so small a quantile.

    ## Remedy
    Raise `queue_size` until 20 rows lie above the threshold (printed), or raise the quantile. Under a
    `max_pool_size` no queue adds a row: the cap goes first.

    ## Evidence
    (batch + queue_size) x quantile, with the queue taken as full. The relative sampling error of the
    share above a threshold is one over the root of this number: 100 % at 1, 32 % at 10, 22 % at 20. In
    runs at a rate of 10 % (3 families, one seed) with a quantile of 0.2 % in 384 rows, AP was .64 / .36 /
    .36, and .68 / .34 / .69 with a quantile of 1 % in 2,304: what the small pool adds shows on one of the
    three.

    ## Known problems
    With a quantile at or above the positive rate this comes together with few positives in the pool
    (IMB003), which is then the cause.

    ## References
    David & Nagaraja, *Order Statistics*, 2003 (variance of a sample quantile).
    """

    code = "IMB304"
    name = "underresolved-quantile"
    severity = "warning"
    kinds = frozenset({"recall_at_quantile"})
    requires = ("pool_size", "pool_pos_count", "live_pos_count", "live_neg_count")
    explained_by = ("IMB001", "IMB002", "IMB003", "IMB010", "IMB204")
    foreseeable = True

    symptom = (
        "only {rows_above:.2g} of {pool_size:,.0f} pooled rows lie above the threshold at quantile "
        "{quantile:.3g}, and these few rows set it."
    )
    cause = "the pool is too small for so small a quantile."
    remedy = (
        "raise queue_size to about {queue_size:,.0f} (now {queue_size_now:,.0f}), for {wanted_rows:.0f} "
        "rows above the threshold; or raise the quantile."
    )
    cap_cause = "max_pool_size leaves too few of {whole:,.0f} rows for so small a quantile."
    cap_remedy = UNCAP

    few: float = threshold(
        10.0,
        "Rows above the threshold, below which it is a warning: the relative error of their share is one "
        "over the root of their number, 32 % at 10.",
    )
    none: float = threshold(
        1.0, "Rows above the threshold, below which it is an error: the threshold is the maximum of the pool."
    )
    wanted_rows: float = threshold(
        20.0, "Rows above the threshold with the prescribed queue: the relative error is 22 % at 20."
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the size of the full pool with the quantile."""
        now = pool(window)
        quantile = float(window.config("quantile", 1.0))
        above = now.full_size * quantile
        if above >= self.few:
            return []
        wanted = self.wanted_rows / quantile
        values = {
            "rows_above": above,
            "pool_size": now.full_size,
            "whole": now.whole,
            "quantile": quantile,
            "wanted_rows": self.wanted_rows,
            "queue_size_now": now.queue_size,
        }
        severity: Severity = "error" if above < self.none else "warning"
        # The pool and the quantile are those of all classes; a single column is class 0.
        only = 0 if window.classes == 1 else None
        if without_positives(window, now).all():
            return []
        if now.cap:
            values["cap_wanted"] = cap_for(wanted, now)
            cause, remedy = self.cap_cause, self.cap_remedy
            return [Evidence(values, only, severity, None, cause, remedy, wider_cap(wanted, now))]
        to = larger_queue(wanted, now)
        if to is None:
            return []
        values["queue_size"] = to
        prescription = Change("queue_size", now.queue_size, to)
        return [Evidence(values, only, severity=severity, prescription=prescription)]
