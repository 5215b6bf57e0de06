"""IMB101: fewer than one positive is expected in a batch under a focal loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import FOCAL, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, in_warmup, round_up


@dataclass(frozen=True)
class TooRareForFocal(Rule):
    """Most batches hold no positive: a focal loss re-weights rows, it does not create any.

    ## Symptom
    `live_pos_count` is 0 in most records. Between two positives the loss sees negatives only and pushes all
    scores down.

    ## Cause
    Positive rate times batch size is below 1.

    ## Remedy
    Train for more steps. Or use a batch that holds positives: larger, gathered over ranks, accumulated, or
    drawn by a sampler.

    ## Evidence
    Positives over the batches of the window, with two standard errors allowed. Sigmoid focal (alpha 0.75) at
    a rate of 0.3 %, Adam, seed 0; AP on Gaussian data / digits:

    | batch, steps | positives in a batch | focal | BCE |
    |---|---|---|---|
    | 16, 400 | 0.05 | .65 / .35 | .53 / .33 |
    | 64, 400 | 0.2 | .75 / .45 | .66 / .36 |
    | 1024, 400 | 3 | .75 / .58 | .70 / .42 |
    | 16, 1600 | 0.05 | .78 / .45 | .77 / .44 |

    Smooth-AP with a queue of 8,192 reached .47 / .15, .64 / .34 and .76 / .22 with batches of 16, 64 and 16
    in 3,200 steps: a queue is no substitute for live positives, contrary to the published advice.

    A fall shows below 0.1 in a batch and at the same number of steps: a warning there, information up to 1.
    It is no worse under focal than under BCE, and many small batches did no worse than few large ones of as
    many rows in all (the second row and the last): what counts is positives seen, not positives in a batch.

    ## Known problems
    Of many balanced classes each is rare in a batch, and nothing is wrong: of a softmax only those are named
    that have less than a quarter of an equal share.

    ## References
    Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017.
    """

    code = "IMB101"
    name = "too-rare-for-focal"
    severity = "warning"
    kinds = FOCAL
    requires = ("live_pos_count", "live_neg_count")
    explained_by = ("IMB001", "IMB103")
    foreseeable = True
    new_run = ("batch_size", "wanted_batch")

    symptom = (
        "{class_label} has {expected:.2g} positives in a batch of {batch:,.0f} rows on average, so about "
        "{empty_percent:.0f} % of the batches have none."
    )
    cause = "the positive rate is about {positive_rate:.1g}; a loss weighs rows but cannot create positives."
    remedy = (
        "train for more steps; or use a sampler, or a batch of {wanted_batch:,.0f} rows, which holds "
        "{wanted:.0f} positives (accumulated gradients and ranks count)."
    )

    expected: float = threshold(
        1.0,
        "Positives in a batch, below which it is reported: after as many steps, AP with 0.2 of them was no "
        "lower than with 3 on Gaussian data, and .13 lower on digits.",
    )
    scarce: float = threshold(
        0.1,
        "Positives in a batch, below which it is a warning: after as many steps, AP with 0.05 of them was "
        ".10 lower than with 3 on Gaussian data, and .23 lower on digits.",
    )
    rare: float = threshold(
        0.25,
        "Part of an equal share, below which a class of a softmax is rare: 6 % of four classes, 2.5 % of "
        "ten.",
    )
    wanted: float = threshold(
        4.0, "Positives that the prescribed batch holds: one batch in 50 has none then."
    )

    def examine(self, window: Window) -> Verdict:
        """Count positives over the window, and allow for their chance."""
        if in_warmup(window):
            return []
        live = window.series("live_pos_count").values
        seen = live.sum(axis=0)
        # Two standard errors of a Poisson count, and two rows for a count of none.
        few = seen + 2.0 * np.sqrt(seen) + 2.0 < self.expected * len(live)
        if not few.any():
            return []
        batch = live[:, 0].mean() + window.series("live_neg_count").values[:, 0].mean()
        rates = self._rates(window, seen, batch * len(live))
        few &= self._rare(window, rates)
        return self._findings(live, rates, batch, classes_of(few))

    @staticmethod
    def _rates(window: Window, seen: Floats, rows: float) -> Floats:
        """The declared rates, or those observed; half a row stands for none."""
        observed = np.maximum(seen, 0.5) / max(rows, 1.0)
        declared = [window.run.positive_rate(index) for index in range(len(seen))]
        rates: Floats = np.array(
            [o if d is None else d for o, d in zip(observed, declared, strict=True)], dtype=np.float64
        )
        return rates

    def _rare(self, window: Window, rates: Floats) -> Bools:
        if window.kind != "softmax_focal" or len(rates) == 1:
            return np.ones(len(rates), dtype=np.bool_)
        rare: Bools = rates < self.rare / len(rates)
        return rare

    def _findings(self, live: Floats, rates: Floats, batch: float, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            rate = rates[index]
            yield Evidence(
                {
                    "expected": live[:, index].mean(),
                    "batch": batch,
                    "empty_percent": 100.0 * np.exp(-live[:, index].mean()),
                    "positive_rate": rate,
                    "wanted": self.wanted,
                    "wanted_batch": round_up(self.wanted / rate),
                },
                index,
                severity="warning" if live[:, index].mean() < self.scarce else "info",
            )
