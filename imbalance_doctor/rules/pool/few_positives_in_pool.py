"""IMB003: the pool holds too few positives of a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    UNCAP,
    Floats,
    PoolSize,
    cap_for,
    classes_of,
    larger_queue,
    pool,
    pooled_count,
    positive_rates,
    wider_cap,
    without_positives,
)


@dataclass(frozen=True)
class FewPositivesInPool(Rule):
    """The pool holds so few positives of a class that its loss is an estimate from a handful of rows.

    ## Symptom
    `pool_pos_count` stays below 10. The class's loss jumps from step to step, and runs that differ in
    the seed alone end apart.

    ## Cause
    The pool (live batch and queue) is small for the positive rate: at 0.5 %, a pool of 1,280 rows holds 6.

    ## Remedy
    Raise `queue_size`: the finding prints the size with which 20 positives are expected. It costs memory for
    scores only. A larger batch, gathering over ranks, or a sampler help as well, and also give more positives
    that carry gradient, which the queue does not. Where a cap leaves few of the positives that batch and
    queue hold, or the declared rate promises more than the loader delivers, no queue is prescribed: the cap
    or the loader is to blame.

    ## Evidence
    The mean of `pool_pos_count` over the last 20 records with a full queue; while the queue fills, the
    most that the full queue can promise (two standard errors above the count so far).

    What few positives cost depends on how large the steps are. Smooth-AP, 250 steps, AP (mean ± deviation
    over 2 seeds) with as many pooled positives:

    | rate, batch, learning rate (Adam), temperature | data | 1.5 | 7 | 25 |
    |---|---|---|---|---|
    | 2 %, 32, 0.001, 0.1 | Gaussian data | .87 ± .01 | .88 ± .02 | .87 ± .02 |
    | | make_classification | .83 ± .02 | .85 ± .01 | .85 ± .01 |
    | 1 %, 64, 0.01, 0.01 | Gaussian data | .70 ± .06 | .78 ± .05 | .80 ± .02 |
    | | make_classification | .73 ± .04 | .77 ± .02 | .77 ± .03 |

    At 1.5 positives small steps lost no more than .02; large ones lost .04 and .10, and spread more over
    seeds. At 7, next to nothing was lost. A model that learns all the same is no error: below 5 it is a
    warning, up to 10 information.

    ## Known problems
    Whether a pool of 2 to 5 positives does harm cannot be told from the counts. A class whose count is near a
    threshold may come and go with the data.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020.
    """

    code = "IMB003"
    name = "few-positives-in-pool"
    severity = "warning"
    kinds = RANKING
    requires = ("pool_size", "pool_pos_count", "live_pos_count", "live_neg_count")
    explained_by = ("IMB001", "IMB002", "IMB010", "IMB204")
    foreseeable = True

    symptom = (
        "{class_label} has {positives:.2g} positives in a pool of {pool_size:,.0f} rows, so its loss is "
        "estimated from a handful of rows."
    )
    cause = "the pool is small for a positive rate of about {positive_rate:.2g}."
    remedy = (
        "raise queue_size to about {queue_size:,.0f} (now {queue_size_now:,.0f}), with which "
        "{wanted_positives:.0f} positives are expected; or use a larger batch, gather over ranks, or "
        "oversample positives."
    )

    cap_cause = (
        "max_pool_size keeps {pool_size:,.0f} of the {whole:,.0f} rows of batch and queue, which hold about "
        "{held:,.0f} positives."
    )
    cap_remedy = UNCAP
    loader_cause = (
        "at the declared positive rate of {positive_rate:.2g} this pool should hold {held:,.0f} positives: "
        "the loader sorts or filters the data, or labels or the declared rate are wrong."
    )
    loader_remedy = "shuffle the loader, and check labels and ignore_index, or the declared rate."

    few: float = threshold(
        10.0,
        "Positives in the pool, below which it is reported: with 7, AP was at most .02 below that with 25. A "
        "hundred balanced classes in the default queue have 10 to 11 each, and lose nothing that could be "
        "measured.",
    )
    poor: float = threshold(
        5.0,
        "Positives in the pool, below which it is a warning: with 1.5, AP was up to .02 lower than with 25 "
        "after small steps, and .04 and .10 lower after large ones.",
    )
    wanted_positives: float = threshold(
        20.0,
        "Positives that the prescribed queue is expected to hold: AP with 7 was within .02 of that with 25, "
        "so more than 20 would gain next to nothing.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the pool's positives with what an estimate needs."""
        now = pool(window)
        counts = pooled_count(window, "pool_pos_count", now)
        few = counts < self.few
        if not few.any():
            return []
        few &= ~without_positives(window, now)
        # A class without any positive yet, in a run too young for that rule, has no rate to plan with.
        few &= counts > 0
        return self._findings(window, now, counts, classes_of(few))

    def _findings(
        self, window: Window, now: PoolSize, counts: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        rates = positive_rates(window)
        for index in classes:
            # A capped pool has another share of positives than the rows that it was drawn from.
            seen = rates[index] if now.cap else counts[index] / now.full_size
            rate = window.run.positive_rate(index) or seen
            wanted = self.wanted_positives / max(rate, 1e-9)
            to = larger_queue(wanted, now)
            cause = remedy = None
            prescription = None
            if to is not None:
                prescription = Change("queue_size", now.queue_size, to)
            elif now.cap:
                cause, remedy, prescription = self.cap_cause, self.cap_remedy, wider_cap(wanted, now)
            else:
                cause, remedy = self.loader_cause, self.loader_remedy
            yield Evidence(
                {
                    "positives": counts[index],
                    "pool_size": now.full_size,
                    "whole": now.whole,
                    "held": rate * now.whole,
                    "positive_rate": rate,
                    "observed_rate": rates[index],
                    "wanted_positives": self.wanted_positives,
                    "queue_size_now": now.queue_size,
                    **({} if to is None else {"queue_size": to}),
                    **({"cap_wanted": cap_for(wanted, now)} if now.cap else {}),
                },
                index,
                severity="warning" if counts[index] < self.poor else "info",
                cause=cause,
                remedy=remedy,
                prescription=prescription,
            )
