"""IMB401: few or no negatives in the band of false positive rates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import (
    Floats,
    Pool,
    classes_of,
    pool,
    pooled_count,
    queue_for,
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
    (beta - alpha) times as many. A budget of 0.5 % needs 200 negatives for the first one.

    ## Remedy
    A `queue_size` with which the band holds 20 negatives (printed), or a wider band.

    ## Evidence
    The mean of `band_neg_count` over the last 20 records with a full queue; while the queue fills, the
    most that the full queue can promise. In runs at a rate of 10 % (3 families, one seed), a band of 0.2
    % in a pool of 512 rows, which holds one negative, ended with an AP of .70 / .31 / .80 where one of 2
    % in a pool of 2,304 reached .63 / .38 / .89: the harm is real on two of the three, and not large in
    runs this short.

    ## Known problems
    Heavily tied scores put more rows into the band than its width says, and hide the fault.

    ## References
    Narasimhan & Agarwal, *A Structural SVM Based Approach for Optimizing Partial AUC*, ICML 2013.
    """

    code: ClassVar[str] = "IMB401"
    name: ClassVar[str] = "empty-band"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = frozenset({"pauc_at_budget"})
    requires: ClassVar[tuple[str, ...]] = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count", "band_neg_count", "iid_neg_count",
    )  # fmt: skip
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002", "IMB402", "IMB010", "IMB405")
    foreseeable: ClassVar[bool] = True

    symptom: ClassVar[str] = (
        "the band of false positive rates from {alpha:.3g} to {beta:.3g} holds {band_negatives:.2g} "
        "negatives of {class_label}, out of {iid_negatives:,.0f} that define it; its edges are the scores "
        "of single rows."
    )
    cause: ClassVar[str] = (
        "too few pooled negatives for so narrow a band: one negative in it takes {negatives_for_one:,.0f}."
    )
    remedy: ClassVar[str] = (
        "{wanted_negatives:.0f} negatives in the band need queue_size ≈ {queue_size:,.0f} "
        "(now {queue_size_now:,.0f}); or a wider band."
    )

    #: Fewer than these is a warning: the relative error of a quantile is one over the root, 32 % at 10.
    few: float = 10.0
    #: This many or fewer is an error: edges that include their own row hold one negative at the least.
    empty: float = 1.5
    #: Negatives that the prescribed queue puts into the band.
    wanted_negatives: float = 20.0

    def examine(self, window: Window) -> Verdict:
        """Compare the band's negatives with what its edges need."""
        now = pool(window)
        counts = pooled_count(window, "band_neg_count", now)
        few = counts < self.few
        if not few.any():
            return []
        few &= ~without_positives(window, now)
        return self._findings(window, now, counts, classes_of(few))

    def _findings(self, window: Window, now: Pool, counts: Floats, classes: list[int]) -> Iterator[Evidence]:
        alpha, beta = float(window.config("alpha", 0.0)), float(window.config("beta", 1.0))
        negatives = pooled_count(window, "iid_neg_count", now)
        for index in classes:
            share = float(negatives[index]) / now.full_size
            rows = self.wanted_negatives / (beta - alpha) / max(share, 1e-9)
            to = queue_for(rows, now)
            yield Evidence(
                {
                    "alpha": alpha,
                    "beta": beta,
                    "band_negatives": float(counts[index]),
                    "iid_negatives": float(negatives[index]),
                    "negatives_for_one": 1.0 / (beta - alpha),
                    "wanted_negatives": self.wanted_negatives,
                    "queue_size": float(to),
                    "queue_size_now": float(now.queue_size),
                },
                index,
                severity="error" if counts[index] <= self.empty else "warning",
                prescription={"parameter": "queue_size", "from": now.queue_size, "to": to},
            )
