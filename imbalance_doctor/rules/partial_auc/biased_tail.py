"""IMB407: the upper edge of the band is the highest negative."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    UNCAP,
    Floats,
    PoolSize,
    cap_for,
    classes_of,
    larger_queue,
    pool,
    pooled_count,
    wider_cap,
    without_positives,
)


@dataclass(frozen=True)
class BiasedTail(Rule):
    """With alpha above 0 and few negatives beyond it, the upper edge of the band is an extreme value.

    ## Symptom
    `t_alpha` is the score of one of the highest negatives and jumps with it; the band reaches further up
    than its false positive rates say.

    ## Cause
    The pooled negatives times `alpha` are fewer than 5.

    ## Remedy
    Raise `queue_size` until 10 negatives lie above the edge (printed), or set `alpha=0`, whose edge is meant
    to be the highest negative. Under a `max_pool_size` no queue adds a row: the cap goes first.

    ## Evidence
    `iid_neg_count` times `alpha`, with the queue taken as full. The k-th highest of N scores has a false
    positive rate of k / (N + 1) with a relative standard error of one over the root of k: 45 % at 5.

    ## Known problems
    No harm to average precision or recall was measured in small runs, so this is information.

    ## References
    David & Nagaraja, *Order Statistics*, 2003.
    """

    code = "IMB407"
    name = "biased-tail"
    severity = "info"
    kinds = frozenset({"pauc_at_budget"})
    requires = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count", "iid_neg_count",
    )  # fmt: skip
    explained_by = ("IMB001", "IMB002", "IMB010", "IMB204", "IMB401")
    foreseeable = True

    symptom = (
        "only {above:.2g} of {negatives:,.0f} negatives of {class_label} lie above the upper edge of the "
        "band at a false positive rate of {alpha:.2g}."
    )
    cause = "the pool holds too few negatives for so small an alpha: the highest scores alone set the edge."
    remedy = (
        "raise queue_size to about {queue_size:,.0f} (now {queue_size_now:,.0f}), which puts {wanted:.0f} "
        "negatives above the edge; or set alpha=0."
    )
    cap_cause = "max_pool_size leaves too few of {whole:,.0f} rows for so small an alpha."
    cap_remedy = UNCAP

    few: float = threshold(
        5.0,
        "Negatives above the edge, below which it is reported: the relative error of the edge's false "
        "positive rate is one over the root of their number, 45 % at 5.",
    )
    wanted: float = threshold(
        10.0, "Negatives above the edge with the prescribed queue: the relative error is 32 % at 10."
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the negatives above the edge with what an edge needs."""
        alpha = float(window.config("alpha", 0.0))
        if alpha <= 0.0:
            return []
        now = pool(window)
        negatives = pooled_count(window, "iid_neg_count", now)
        few = negatives * alpha < self.few
        if not few.any():
            return []
        few &= ~without_positives(window, now) & (negatives > 0)
        return self._findings(window, now, negatives, classes_of(few))

    def _findings(
        self, window: Window, now: PoolSize, negatives: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        alpha = float(window.config("alpha"))
        for index in classes:
            count = negatives[index]
            values = {
                "above": alpha * count,
                "negatives": count,
                "alpha": alpha,
                "wanted": self.wanted,
                "whole": now.whole,
                "queue_size_now": now.queue_size,
            }
            rows = now.full_size * self.wanted / (alpha * count)
            if now.cap:
                values["cap_wanted"] = cap_for(rows, now)
                cause, remedy = self.cap_cause, self.cap_remedy
                yield Evidence(values, index, cause=cause, remedy=remedy, prescription=wider_cap(rows, now))
                continue
            to = larger_queue(rows, now)
            if to is not None:
                values["queue_size"] = to
                prescription = Change("queue_size", now.queue_size, to)
                yield Evidence(values, index, prescription=prescription)
