"""IMB401: few or no negatives in the band of false positive rates."""

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
    round_to,
    round_up,
    wider_cap,
    without_positives,
)


@dataclass(frozen=True)
class EmptyBand(Rule):
    """Hardly any pooled negative lies in the band from alpha to beta, which those negatives define.

    ## Symptom
    `band_neg_count` is near 0 or 1. The lower edge of the band is the score of the single highest
    negative, and jumps whenever that row leaves the queue.

    ## Cause
    The pool holds too few independent negatives for so narrow a band: a band of width beta - alpha holds
    (beta - alpha) times as many. A budget of 0.5 % needs 200 negatives for the first one. Or a
    `max_pool_size` leaves too few of those that batch and queue hold; or, with
    `budget_basis="population"`, the positives fill the band (IMB405 where a sampler draws them).

    ## Remedy
    Raise `queue_size` until the band holds 20 negatives (printed), which steadies its edges. It adds nothing
    to the gradient, which live rows alone carry: where a batch brings less than one negative into the band,
    the remedy is a wider band or a larger batch (printed). Under a cap the cap goes first, and where
    positives fill the band `budget_basis="fpr"` empties it of them; no queue is prescribed then.

    ## Evidence
    The mean of `band_neg_count` over the last 20 records with a full queue; while the queue fills, the
    most that the full queue can promise. Pairwise partial AUC, rate 2 %, batch 256, 400 steps, seed 0, AP on
    Gaussian data / digits:

    | band, queue | negatives in the band | live ones | AP |
    |---|---|---|---|
    | 0.1 %, 512 | 1 | 0.25 | .88 / .79 |
    | 0.1 %, 21,000 | 21 | 0.25 | .87 / .77 |
    | 1 %, 2,048 | 23 | 2.5 | .89 / .93 |
    | 2 %, 1,024 | 25 | 5 | .90 / .93 |
    | 2 %, 4,096, cap 128 | 2 | 5 | .87 / .72 |
    | 2 %, 4,096, no cap | 85 | 5 | .89 / .91 |

    The queue gave the edges their rows and AP nothing; what a batch brings into the band decides, and a cap
    drops most of that. Gaussian data lost .03 at most.

    ## Known problems
    Heavily tied scores put more rows into the band than its width says, and hide the fault.

    ## References
    Narasimhan & Agarwal, *A Structural SVM Based Approach for Optimizing Partial AUC*, ICML 2013.
    """

    code = "IMB401"
    name = "empty-band"
    severity = "warning"
    kinds = frozenset({"pauc_at_budget"})
    requires = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count", "band_neg_count", "iid_neg_count",
    )  # fmt: skip
    explained_by = ("IMB001", "IMB002", "IMB402", "IMB010", "IMB405", "IMB204")
    foreseeable = True

    symptom = (
        "the band of false positive rates from {alpha:.3g} to {beta:.3g} holds {band_negatives:.2g} "
        "negatives of {class_label}, out of {iid_negatives:,.0f} that define it, so single rows set its "
        "edges."
    )
    cause = (
        "the pool holds too few negatives for so narrow a band: one negative in it takes "
        "{negatives_for_one:,.0f}."
    )
    remedy = (
        "raise queue_size to about {queue_size:,.0f} (now {queue_size_now:,.0f}): {wanted_negatives:.0f} "
        "negatives in the band steady its edges. Or widen the band."
    )
    live_remedy = (
        "widen the band, for example to beta={beta_wanted:.2g}, or use a batch of {batch_wanted:,.0f}: only "
        "live rows carry gradient, and a batch brings {live_band:.2g} negatives into the band. queue_size ≈ "
        "{queue_size:,.0f} (now {queue_size_now:,.0f}) would steady its edges only."
    )
    cap_cause = "max_pool_size leaves too few of {whole:,.0f} rows for so narrow a band."
    cap_remedy = UNCAP
    population_cause = (
        'with budget_basis="population" the positives use up the budget of {beta:.3g}. Counted in negatives '
        "alone, the band would hold {fpr_band:,.0f}."
    )
    population_remedy = (
        'use budget_basis="fpr", or a beta well above the positive rate; if a sampler draws the positives, '
        "pass iid_mask with the rows that were drawn at random. A larger queue changes nothing."
    )

    few: float = threshold(
        10.0,
        "Negatives in the band, below which it is a warning: the relative error of a quantile is one over "
        "the root of their number, 32 % at 10.",
    )
    empty: float = threshold(
        1.5,
        "Negatives in the band up to which it is an error: edges that include their own row hold one at the "
        "least.",
    )
    wanted_negatives: float = threshold(
        20.0, "Negatives that the prescribed queue puts into the band: the relative error is 22 % at 20."
    )
    live: float = threshold(
        1.0,
        "Live negatives in the band, below which a queue is not the remedy: at 1, 37 % of the batches have "
        "none. With 0.25, AP on digits was .79 and .77 at a queue of 512 and of 21,000; with 2.5 it was .93.",
    )
    wanted_live: float = threshold(
        2.0,
        "Live negatives in the band that is recommended: with 2.5, AP was as good as with 5 (.93 on digits).",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the band's negatives with what its edges need."""
        now = pool(window)
        counts = pooled_count(window, "band_neg_count", now)
        few = counts < self.few
        if not few.any():
            return []
        few &= ~without_positives(window, now)
        return self._findings(window, now, counts, classes_of(few))

    def _findings(
        self, window: Window, now: PoolSize, counts: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        alpha, beta = float(window.config("alpha", 0.0)), float(window.config("beta", 1.0))
        width = beta - alpha
        negatives = pooled_count(window, "iid_neg_count", now)
        population = window.config("budget_basis") == "population"
        for index in classes:
            share = negatives[index] / now.full_size
            rows = self.wanted_negatives / width / max(share, 1e-9)
            to = larger_queue(rows, now)
            fpr_band = width * negatives[index]
            cause = remedy = None
            prescription = None
            if population and fpr_band >= self.few:
                cause, remedy = self.population_cause, self.population_remedy
            elif now.cap:
                cause, remedy, prescription = self.cap_cause, self.cap_remedy, wider_cap(rows, now)
            elif to is None:  # a band this wide holds enough: what is counted in it will show that
                continue
            else:
                remedy = self.live_remedy if now.batch * width < self.live else None
                prescription = Change("queue_size", now.queue_size, to)
            yield Evidence(
                {
                    "alpha": alpha,
                    "beta": beta,
                    "band_negatives": counts[index],
                    "iid_negatives": negatives[index],
                    "negatives_for_one": 1.0 / width,
                    "wanted_negatives": self.wanted_negatives,
                    "fpr_band": fpr_band,
                    "live_band": now.batch * width,
                    "batch_wanted": round_up(self.wanted_live / width),
                    "beta_wanted": min(round_to(alpha + self.wanted_live / max(now.batch, 1.0)), 1.0),
                    "whole": now.whole,
                    "queue_size_now": now.queue_size,
                    **({} if to is None else {"queue_size": to}),
                    **({"cap_wanted": cap_for(rows, now)} if now.cap else {}),
                },
                index,
                severity="error" if counts[index] <= self.empty else "warning",
                cause=cause,
                remedy=remedy,
                prescription=prescription,
            )
