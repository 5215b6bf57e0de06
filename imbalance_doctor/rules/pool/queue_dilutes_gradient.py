"""IMB404: the gradient of live positives is divided by all pooled ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, pool, queue_for, recent


@dataclass(frozen=True)
class QueueDilutesGradient(Rule):
    """Live positives carry all of the gradient and are a few per cent of those it is averaged over.

    ## Symptom
    `live_pos_count` is below 5 % of `pool_pos_count`, and the loss's gradient is that much smaller than
    the gradient of the batch alone.

    ## Cause
    Every ranking loss averages over the pooled positives; queued rows are detached, so that the gradient of
    the live ones is divided by the size of the pool. With Smooth-AP and the pairwise surrogate negatives are
    live or queued as well.

    ## Remedy
    Shrink the queue where it holds more positives than an estimate needs (printed), or raise the learning
    rate. For partial AUC with the trapezoid `pos_numerator="live"` restores the scale (prescribed). Other
    losses have no such setting, and nothing is prescribed. Adam makes up for the scale, though not for rows
    that are old.

    ## Evidence
    Live positives are fewer than 5 % of the pooled ones over the last 20 records. Except for the trapezoid,
    they are fewer than 1 %, and half of the queue would hold 50 positives and 20 negatives beyond the
    threshold.

    AP at a rate of 2 %, batch 64, 300 steps, seed 0, queue 16,384 / 1,024:

    | | trapezoid | and "live", 16,384 | Smooth-AP |
    |---|---|---|---|
    | Gaussian data, SGD 0.02 | .04 / .04 | .60 | .86 / .88 |
    | make_classification, SGD 0.02 | .12 / .18 | .50 | .58 / .83 |
    | Gaussian data, Adam | .39 / .34 | .49 | .87 / .88 |
    | make_classification, Adam | .35 / .45 | .41 | .82 / .89 |

    Under SGD the larger queue cost up to .25 of AP (the trapezoid was too slow on Gaussian data with either),
    and "live" made up for it; under Adam it cost .10 at most, and once it gained. The log does not tell the
    optimizer, and most ordinary runs with a large queue lose little: information.

    Partial AUC of 2 % alone, queue 16,384, rate 1 %, batch 256, 300 steps, seed 0; AP with the numerator
    "pool" / "live":

    | | Adam | SGD, 0.1 | SGD, 0.01 |
    |---|---|---|---|
    | Gaussian data | .41 / .56 | .40 / .63 | .05 / .58 |
    | make_classification | .39 / .47 | .38 / .39 | .16 / .32 |

    Beside BCE at half of the weight under SGD: .85 / .84 (Gaussian), .66 / .64 (digits). So the
    dilution is for the most part the scale of a learning rate, which a larger one makes up for. Not all of
    it: "live" was ahead at every rate, by up to .23 at the larger one, and by .08 and .15 under Adam.
    Published lists of symptoms call it a defect.

    ## Known problems
    The scale of a gradient says nothing by itself; gradient clipping and weight decay depend on it.

    ## References
    Kingma & Ba, *Adam*, ICLR 2015 (steps that do not depend on the gradient's scale).
    """

    code = "IMB404"
    name = "queue-dilutes-gradient"
    severity = "info"
    kinds = RANKING
    requires = (
        "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count",
    )  # fmt: skip
    min_records = 10
    foreseeable = True
    explained_by = ("IMB001", "IMB002", "IMB403")

    symptom = (
        "only {live_positives:.2g} live positives of {class_label} carry gradient, but the loss averages "
        "over all {pool_positives:,.0f} pooled ones: the gradient is {dilution:.0f} times smaller than with "
        "the batch alone."
    )
    cause = "the loss averages over queued positives too, which are detached."
    remedy = (
        'set pos_numerator="live"; or raise the learning rate, up to {dilution:.0f} times with plain SGD. '
        "Adam makes up for the scale, so expect less from either."
    )
    queue_remedy = (
        "shrink the queue (queue_size of about {enough:,.0f} holds {wanted_positives:.0f} positives); or "
        "raise the learning rate, up to {dilution:.0f} times with plain SGD. Adam makes up for the scale, so "
        "expect less from either."
    )

    share: float = threshold(
        0.05,
        "Share of live among pooled positives, below which it is reported: a factor of 20 on the gradient is "
        "more than a search over learning rates usually spans.",
    )
    queue_share: float = threshold(
        0.01,
        "The same for losses whose remedy is another queue: under SGD, Smooth-AP had .02 and .25 less AP "
        "with a queue of 256 batches than with one of 16; ordinary runs have 30.",
    )
    wanted_positives: float = threshold(
        50.0, "Positives that a smaller queue must leave: 2.5 times what IMB003 asks for."
    )
    wanted_beyond: float = threshold(
        20.0,
        "Negatives beyond the threshold or in the band that it must leave: twice what IMB304 and IMB401 ask "
        "for.",
    )
    smaller: float = threshold(
        0.5,
        "Share of the present queue that the smaller one may have: less than halving it is worth no change.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare live with pooled positives."""
        if window.config("pos_numerator") == "live":
            return []
        live = recent(window, "live_pos_count").sum(axis=0)
        pooled = recent(window, "pool_pos_count").sum(axis=0)
        share = self.share if _has_numerator(window) else self.queue_share
        diluted = (live < share * pooled) & (live > 0)
        if not diluted.any():
            return []
        return self._findings(window, live, pooled, classes_of(diluted))

    def _findings(
        self, window: Window, live: Floats, pooled: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        records, now = len(recent(window, "live_pos_count")), pool(window)
        numerator = _has_numerator(window)
        beyond = window.config("quantile" if window.kind == "recall_at_quantile" else "beta")
        least = self.wanted_beyond / float(beyond) if beyond else 0.0
        # One queue serves all classes: the rarest decides.
        rows = max(self.wanted_positives * now.size * records / pooled[pooled > 0].min(), least)
        queue = queue_for(rows, now)
        if not numerator and queue > self.smaller * now.queue_size:
            return
        live_numerator = Change("pos_numerator", "pool", "live")
        for index in classes:
            yield Evidence(
                {
                    "live_positives": live[index] / records,
                    "pool_positives": pooled[index] / records,
                    "dilution": pooled[index] / live[index],
                    "enough": queue,
                    "wanted_positives": self.wanted_positives,
                },
                index,
                remedy=None if numerator else self.queue_remedy,
                prescription=live_numerator if numerator else None,
            )


def _has_numerator(window: Window) -> bool:
    """Whether the loss can average over live positives alone."""
    return window.kind == "pauc_at_budget" and window.config("surrogate") != "pairwise"
