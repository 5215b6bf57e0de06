"""IMB204: `max_pool_size` leaves too few positives of a pool that has more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import classes_of, mean, recent, round_up


@dataclass(frozen=True)
class SubsampledPoolTooSmall(Rule):
    """The cap on the pool throws positives away that the batch and the queue hold.

    ## Symptom
    `pool_size` equals `max_pool_size`, and `pool_pos_count` is a fraction of what batch and queue hold.

    ## Cause
    `max_pool_size` was sized by the memory of a matrix of pairs. Each class is granted half of its equal
    share of the cap, and the rest is drawn at random: many classes in a small cap have a few rows each.

    ## Remedy
    No cap: the kernels of these losses take time and memory near-linear in the rows. If there must be one,
    40 rows for each class, twice the positives that an estimate needs.

    ## Evidence
    The recent mean of `pool_pos_count` of the poorest class, against its share of the live rows times the
    rows of batch and queue. Smooth-AP, 2 seeds, 250 to 300 steps, AP:

    | data | cap, and positives of the class | | | | none |
    |---|---|---|---|---|---|
    | Gaussian, 2 % | 16: 4 | 32: 8 | 64: 16 | 256: 45 | 2,176: 45 |
    | | .70 | .81 | .85 | .89 | .90 |
    | make_classification, 2 % | .40 | .62 | .76 | .87 | .91 |
    | Gaussian, 30 classes | 64: 2 | 128: 4 | 256: 9 | 512: 17 | 4,352: 145 |
    | | .31 | .48 | .60 | .68 | .75 |
    | digits, 10 classes | 64: 6 | 128: 13 | 256: 26 | 512: 51 | 4,352: 435 |
    | | .92 | .95 | .97 | .98 | .98 |

    At fewer than 5 positives AP fell by a quarter to a half, below 20 by 3 to 20 %. The runs without a cap
    were not slower. Recall at a quantile beside BCE lost 2 to 5 % at 4 positives and nothing above 8: for
    the losses with a threshold it is one degree milder.

    ## Known problems
    What the whole pool would hold is estimated from the live batches.

    ## References
    None: the cap is this library's.
    """

    code: ClassVar[str] = "IMB204"
    name: ClassVar[str] = "subsampled-pool-too-small"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count", "queue_fill",
    )  # fmt: skip
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001",)
    foreseeable: ClassVar[bool] = True

    symptom: ClassVar[str] = (
        "max_pool_size leaves {rows:,.0f} of {whole:,.0f} rows, and {positives:.2g} positives of class "
        "{poorest:.0f} of about {held:,.0f} that batch and queue hold."
    )
    cause: ClassVar[str] = "the cap is too small for the number of classes."
    remedy: ClassVar[str] = (
        "leave max_pool_size out (the kernels are near-linear in rows), or set it to at least {wanted:,.0f}."
    )

    #: Fewer positives of a class than these, where there were more. See Evidence.
    few: float = 20.0
    #: Fewer than these are an error (a warning for losses with a threshold).
    noise: float = 5.0
    #: Positives held over positives left, from which the cap is to blame and not the rate.
    lost: float = 1.5
    #: Rows of batch and queue up to which no cap is prescribed: 0.1 s for loss and gradient on one core.
    small: float = 1_000_000.0

    def examine(self, window: Window) -> Verdict:
        """Compare the positives in the capped pool with those that it was drawn from."""
        cap = window.config("max_pool_size")
        if cap is None:
            return []
        positives = mean(recent(window, "pool_pos_count"))
        few = positives < self.few
        if not few.any():
            return []
        live, others = mean(recent(window, "live_pos_count")), mean(recent(window, "live_neg_count"))
        queue = float(window.config("queue_size") or 0)
        now = float(live[0] + others[0]) + queue * float(mean(recent(window, "queue_fill")))
        held = live / np.maximum(live + others, 1.0) * now
        few &= (held > self.lost * positives) & (held - positives > 1.0)
        if not few.any():
            return []
        poorest = min(classes_of(few), key=lambda index: float(positives[index]))
        wanted = round_up(max(2.0 * self.few * max(len(positives), 2), 2.0 * cap))
        values = {
            "rows": float(recent(window, "pool_size", 1)[0]),
            "whole": now,
            "positives": float(positives[poorest]),
            "held": float(held[poorest]),
            "poorest": float(poorest if len(positives) > 1 else 1),
            "wanted": float(wanted),
        }
        degrees: tuple[Severity, Severity] = ("error", "warning")
        if window.kind != "smooth_ap":
            degrees = ("warning", "info")
        severity = degrees[int(positives[poorest] >= self.noise)]
        to = None if now <= self.small else wanted
        prescription = {"parameter": "max_pool_size", "from": cap, "to": to}
        return [Evidence(values, None, severity=severity, prescription=prescription)]
