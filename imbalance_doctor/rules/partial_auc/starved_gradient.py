"""IMB403: a batch brings hardly one live positive, and only live positives carry gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import THRESHOLDED, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    Bools,
    Floats,
    classes_of,
    mean,
    pool,
    recent,
    round_up,
    without_positives,
)


@dataclass(frozen=True)
class StarvedGradient(Rule):
    """Hardly one live positive a batch, in a loss whose gradient reaches positives only.

    ## Symptom
    `live_pos_count` is typically 0 or 1, and so is `grad_pos_count`. The pool may hold many positives:
    those in the queue are detached and teach nothing.

    ## Cause
    Batch size times positive rate is about 1 or less.

    ## Remedy
    Use a larger batch, gather over ranks, or oversample positives. Or use a loss whose gradient reaches the
    negatives too, of which every batch has plenty: `surrogate="pairwise"` for partial AUC, or Smooth-AP.

    ## Evidence
    The mean of `live_pos_count` over the window, with one standard error added, is below 1: at a mean
    of 1, 37 % of steps have no gradient at all, at 0.5 it is 61 %.

    Measured at a rate of 0.5 % on Gaussian data with a queue of 8,192, AP (mean ± deviation over 2 seeds):

    | loss | 0.32 live positives, 480 steps | 1.3 live positives, 120 steps | 1.3 live positives, 480 steps |
    |---|---|---|---|
    | partial AUC, trapezoid | .37 ± .05 | .13 ± .08 | .39 ± .03 |
    | the same, `pos_numerator="live"` | .38 ± .08 | .24 ± .01 | .39 ± .02 |
    | Recall@2 % | .43 ± .11 | .14 ± .06 | .38 ± .02 |
    | partial AUC, pairwise | .78 ± .04 | .77 ± .03 | .80 ± .00 |

    For the same steps (the first column and the last) the mean loses nothing that two seeds can show, and for
    the same rows (the first two) small batches were ahead; what grows is the spread over seeds, two- to
    fivefold. So it is information below 1, and a warning below one half. `pos_numerator="live"`, which is
    recommended elsewhere, was ahead after 120 steps and gained nothing by 480 (Adam); a surrogate that moves
    negatives gained most.

    ## Known problems
    A single run does not show the spread over seeds: one with a small batch may be a lucky one.

    ## References
    Narasimhan & Agarwal, *A Structural SVM Based Approach for Optimizing Partial AUC*, ICML 2013.
    """

    code = "IMB403"
    name = "starved-gradient"
    severity = "warning"
    kinds = THRESHOLDED
    requires = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count", "grad_pos_count",
    )  # fmt: skip
    min_records = 10
    explained_by = ("IMB001", "IMB002")
    foreseeable = True
    new_run = ("batch_size", "batch_needed")

    symptom = (
        "a batch of {batch:,.0f} brings {live_positives:.2g} positives of {class_label} on average, and none "
        "in {empty_percent:.0f} % of steps; the pool holds {pool_positives:.0f}, but queued ones carry no "
        "gradient."
    )
    cause = (
        "batch size times positive rate is about {live_positives:.2g}, and this loss pushes live positives "
        "only."
    )
    remedy = (
        "use a batch of {batch_needed:,.0f} for {wanted_positives:.0f} live positives, gather over ranks, or "
        "oversample positives. Expect runs that differ less from seed to seed, not a higher mean."
    )
    pairwise_remedy = (
        'set surrogate="pairwise", whose gradient reaches the negatives of every batch; or use a batch of '
        "{batch_needed:,.0f} for {wanted_positives:.0f} live positives, gather over ranks, or oversample "
        "positives, which makes runs differ less from seed to seed."
    )

    starved: float = threshold(
        1.0,
        "Mean live positives a batch, below which it is reported: at 1, 37 % of the steps have no gradient. "
        "At 0.32 the mean AP was no lower than at 1.3, but its spread over seeds was 2 to 5 times as large.",
    )
    idle: float = threshold(
        0.5,
        "Mean live positives a batch, below which it is a warning, as most steps have no gradient: exp(-0.5) "
        "= 61 %.",
    )
    wanted_positives: float = threshold(
        4.0, "Live positives of the batch that is recommended: with 4, one step in 50 has no gradient."
    )

    def examine(self, window: Window) -> Verdict:
        """Count the live positives of recent batches."""
        if window.config("surrogate") == "pairwise":  # its gradient reaches live negatives too
            return []
        counts = window.series("live_pos_count").values
        total, records = counts.sum(axis=0), len(counts)
        # With one standard error of a Poisson count, a mean of 1.3 falls below 1 once in fifty windows.
        starved: Bools = total + np.sqrt(total) < self.starved * records
        if not starved.any():
            return []
        now = pool(window)
        starved &= ~without_positives(window, now)
        return self._findings(window, now.batch, total / records, classes_of(starved))

    def _findings(self, window: Window, batch: float, live: Floats, classes: list[int]) -> Iterator[Evidence]:
        counts = window.series("live_pos_count").values
        pooled = mean(recent(window, "pool_pos_count"))
        carrying = mean(recent(window, "grad_pos_count"))
        remedy = self.pairwise_remedy if window.kind == "pauc_at_budget" else None
        for index in classes:
            positives = max(live[index], 1.0 / len(counts))
            yield Evidence(
                {
                    "batch": batch,
                    "live_positives": live[index],
                    "gradient_positives": carrying[index],
                    "pool_positives": pooled[index],
                    "empty_percent": 100.0 * (counts[:, index] == 0).mean(),
                    "batch_needed": round_up(batch * self.wanted_positives / positives),
                    "wanted_positives": self.wanted_positives,
                },
                index,
                severity="warning" if live[index] < self.idle else "info",
                remedy=remedy,
            )
