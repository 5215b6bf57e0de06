"""IMB404: the gradient of live positives is divided by all pooled ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of, recent


@dataclass(frozen=True)
class QueueDilutesGradient(Rule):
    """Live positives carry all of the gradient and are a few per cent of those it is averaged over.

    ## Symptom
    `live_pos_count` is below 5 % of `pool_pos_count`, and the loss's gradient is that much smaller than
    the gradient of the batch alone.

    ## Cause
    `pos_numerator="pool"` averages the recall over all pooled positives; queued ones are detached, so that
    the gradient of the live ones is divided by the size of the pool.

    ## Remedy
    Usually none. Where the learning rate was chosen for a loss without a queue (plain SGD), or the loss
    shares a batch with another one, `pos_numerator="live"` restores the scale (prescribed), and so does a
    factor on the loss.

    ## Evidence
    Live positives are fewer than 5 % of the pooled ones over the last 20 records.

    Partial AUC of 2 % alone, queue 16,384, rate 1 %, batch 256, 400 steps, 3 seeds; AP with the numerator
    "pool" / "live":

    | | Adam | SGD, 0.1 | SGD, 0.01 |
    |---|---|---|---|
    | Gaussian data | .49 / .54 | .48 / .61 | .16 / .60 |
    | digits | .10 / .09 | .09 / .08 | .07 / .07 |
    | sequences | .02 / .02 | .03 / .02 | .09 / .02 |

    Beside BCE at half of the weight under SGD: .85 / .84 (Gaussian), .66 / .64 (digits). So the dilution is
    the scale of a learning rate, which a larger one makes up for, and not a loss of information: it cost
    much in one of nine settings and gained in another. Published lists of symptoms call it a defect; here
    it is information.

    ## Known problems
    The scale of a gradient says nothing by itself; gradient clipping and weight decay depend on it.

    ## References
    Kingma & Ba, *Adam*, ICLR 2015 (steps that do not depend on the gradient's scale).
    """

    code: ClassVar[str] = "IMB404"
    name: ClassVar[str] = "queue-dilutes-gradient"
    severity: ClassVar[Severity] = "info"
    kinds: ClassVar[frozenset[str]] = frozenset({"pauc_at_budget"})
    requires: ClassVar[tuple[str, ...]] = ("pool_pos_count", "live_pos_count")
    min_records: ClassVar[int] = 10
    foreseeable: ClassVar[bool] = True
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002", "IMB403")

    symptom: ClassVar[str] = (
        "{live_positives:.2g} live positives of {class_label} carry gradient, and it is divided by the "
        "{pool_positives:,.0f} of the pool: it is {dilution:.0f} times smaller than that of the batch alone."
    )
    cause: ClassVar[str] = 'pos_numerator="pool" averages over queued positives too, which are detached.'
    remedy: ClassVar[str] = (
        "none under Adam; where the learning rate of plain SGD or another loss's weight was chosen without "
        'a queue, pos_numerator="live", or a factor of {dilution:.0f} on this loss.'
    )

    #: Share of live among pooled positives below which it is worth knowing: a factor of 20 on the gradient
    #: is more than a search over learning rates usually spans.
    share: float = 0.05

    def examine(self, window: Window) -> Verdict:
        """Compare live with pooled positives."""
        if window.config("surrogate") == "pairwise" or window.config("pos_numerator") == "live":
            return []
        live = recent(window, "live_pos_count").sum(axis=0)
        pooled = recent(window, "pool_pos_count").sum(axis=0)
        diluted = (live < self.share * pooled) & (live > 0)
        if not diluted.any():
            return []
        return self._findings(live, pooled, len(recent(window, "live_pos_count")), classes_of(diluted))

    def _findings(self, live: Floats, pooled: Floats, records: int, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence(
                {
                    "live_positives": float(live[index]) / records,
                    "pool_positives": float(pooled[index]) / records,
                    "dilution": float(pooled[index] / live[index]),
                },
                index,
                prescription={"parameter": "pos_numerator", "from": "pool", "to": "live"},
            )
