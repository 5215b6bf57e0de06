"""IMB204: `max_pool_size` leaves too few rows of a pool that has more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    UNCAP,
    PoolSize,
    cap_for,
    classes_of,
    mean,
    pool,
    recent,
    wider_cap,
)


@dataclass(frozen=True)
class SubsampledPoolTooSmall(Rule):
    """The cap on the pool throws rows away that the loss needs, and that the batch and the queue hold.

    ## Symptom
    `pool_size` equals `max_pool_size`, and `pool_pos_count` is a fraction of what batch and queue hold.
    Or the positives are kept, and of the negatives hardly any lie in the band or above the quantile.

    ## Cause
    `max_pool_size` was sized by the memory of a matrix of pairs. Each class is granted half of its equal
    share of the cap, and the rest is drawn at random: many classes in a small cap have a few rows each.

    ## Remedy
    Remove the cap: the kernels of these losses take time and memory near-linear in the rows. If there must be
    one, grant it 40 rows for each class, twice the positives that an estimate needs, and 20 rows in the band
    of partial AUC or above the quantile.

    ## Evidence
    The recent mean of `pool_pos_count` of the poorest class, against its share of the live rows times the
    rows of batch and queue. Smooth-AP, seed 0, 250 steps, AP:

    | data | cap, and positives of the class | | | | none |
    |---|---|---|---|---|---|
    | Gaussian, 2 % | 16: 4 | 32: 8 | 64: 16 | 256: 36 | 2,176: 36 |
    | | .62 | .81 | .72 | .83 | .88 |
    | digits, 10 classes | 64: 4 | 128: 8 | 256: 21 | 512: 39 | 2,304: 196 |
    | | .94 | .97 | .98 | .98 | .99 |

    At fewer than 5 positives AP fell by 30 % on Gaussian data, below 20 by 8 and 18 %; the ten digits, where
    ten classes train one model, lost 5 % at 4 and 2 % at 8. Recall at a quantile beside BCE lost 2 to 5 % at
    4 positives and nothing above 8: for the losses with a threshold it is one degree milder there. What those
    resolve is another matter. Of pairwise partial AUC to 2 % a cap of 128 left 2 of 85 negatives in the band:
    AP .87 / .72, against .89 / .91 without (Gaussian data / digits; the table of IMB401). So fewer than 10
    rows in the band or above the quantile, where the whole pool has 1.5 times as many, are a warning, and
    with hardly one an error.

    ## Known problems
    What the whole pool would hold is estimated from the live batches.

    ## References
    None: the cap is this library's.
    """

    code = "IMB204"
    name = "subsampled-pool-too-small"
    severity = "warning"
    kinds = RANKING
    requires = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count", "queue_fill",
    )  # fmt: skip
    explained_by = ("IMB001",)
    foreseeable = True

    symptom = (
        "max_pool_size leaves {rows:,.0f} of {whole:,.0f} rows, and {positives:.2g} of about {held:,.0f} "
        "positives that batch and queue hold."
    )
    classes_symptom = (
        "max_pool_size leaves {rows:,.0f} of {whole:,.0f} rows, and for class {poorest:.0f} it leaves "
        "{positives:.2g} of about {held:,.0f} positives that batch and queue hold."
    )
    resolved_symptom = (
        "max_pool_size leaves {rows:,.0f} of {whole:,.0f} rows; in the band or above the quantile, whose "
        "rows set the threshold, it leaves {resolved:.2g} of about {resolvable:,.0f}."
    )
    cause = "the cap is too small for what this loss estimates from the pool."
    remedy = UNCAP

    few: float = threshold(
        20.0,
        "Positives of a class, below which it is reported, where there were more: with 8 and 16, AP fell by "
        "8 and 18 % on Gaussian data; with 8, by 2 % on ten digits.",
    )
    noise: float = threshold(
        5.0,
        "Positives below which it is an error (a warning for losses with a threshold): with 4, AP fell by 30 "
        "% on Gaussian data and by 5 % on ten digits.",
    )
    lost: float = threshold(
        1.5, "Positives held over positives left, from which the cap is to blame and not the rate."
    )
    few_resolved: float = threshold(
        10.0, "Rows in the band or above the quantile, below which it is a warning: as in IMB401 and IMB304."
    )
    none_resolved: float = threshold(1.5, "Rows there below which it is an error: hardly one, as in IMB401.")
    wanted_resolved: float = threshold(20.0, "Rows there with the prescribed cap: as in IMB401 and IMB304.")

    def examine(self, window: Window) -> Verdict:
        """Compare what the capped pool holds with the rows that it was drawn from."""
        now = pool(window)
        if now.cap is None:
            return []
        live, others = mean(recent(window, "live_pos_count")), mean(recent(window, "live_neg_count"))
        whole = now.batch + now.queue_size * float(mean(recent(window, "queue_fill")))
        positives = mean(recent(window, "pool_pos_count"))
        held = live / np.maximum(live + others, 1.0) * whole
        few = positives < self.few
        few &= (held > self.lost * positives) & (held - positives > 1.0)
        poorest = min(classes_of(few) or range(len(held)), key=lambda index: positives[index])
        resolved, resolvable = self._resolved(window, now, whole, poorest)
        blind = resolved < self.few_resolved and resolvable > self.lost * max(resolved, 1.0)
        if not few.any() and not blind:
            return []
        wanted = max(2.0 * self.few * max(len(positives), 2), 2.0 * now.cap)
        if blind:
            wanted = max(wanted, self.wanted_resolved * now.size / max(resolved, 1e-9))
        values = {
            "rows": recent(window, "pool_size", 1)[0],
            "whole": whole,
            "positives": positives[poorest],
            "held": held[poorest],
            "poorest": poorest,
            "cap_wanted": cap_for(wanted, now),
        }
        severity: Severity = "info"
        if few.any():
            degrees: tuple[Severity, Severity] = ("error", "warning")
            if window.kind != "smooth_ap":
                degrees = ("warning", "info")
            severity = degrees[int(positives[poorest] >= self.noise)]
        symptom = self.classes_symptom if len(positives) > 1 else None
        if blind:
            symptom = self.resolved_symptom
            values |= {"resolved": resolved, "resolvable": resolvable}
            severity = "error" if resolved < self.none_resolved else "warning"
        return [
            Evidence(values, None, severity=severity, symptom=symptom, prescription=wider_cap(wanted, now))
        ]

    @staticmethod
    def _resolved(window: Window, now: PoolSize, whole: float, poorest: int) -> tuple[float, float]:
        """Rows that set the threshold: in the capped pool, and in all rows of batch and queue.

        They are negatives, of which a cap that grants each class its share keeps the smaller part.
        """
        if window.kind == "recall_at_quantile":
            quantile = float(window.config("quantile", 1.0))
            return now.size * quantile, whole * quantile
        if window.kind == "pauc_at_budget" and window.has("band_neg_count"):
            width = float(window.config("beta", 1.0)) - float(window.config("alpha", 0.0))
            live, others = mean(recent(window, "live_pos_count")), mean(recent(window, "live_neg_count"))
            negatives = others / np.maximum(live + others, 1.0) * whole
            return float(mean(recent(window, "band_neg_count"))[poorest]), width * float(negatives[poorest])
        return math.inf, math.inf
