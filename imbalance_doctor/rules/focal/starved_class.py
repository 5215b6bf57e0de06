"""IMB103: a class with a weight of its own is hardly ever in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import FOCAL, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, in_warmup


@dataclass(frozen=True)
class StarvedClass(Rule):
    """A weight per class cannot help a class that fewer than one batch in 20 holds.

    ## Symptom
    `live_pos_count` of the class is 0 in more than 95 % of the records, while `alpha` has a weight for it.

    ## Cause
    The class is rare, and the batch small: its alpha counts in one step of 20 or fewer.

    ## Remedy
    Bring it into the batches: use larger ones, or oversample it. The weight does no harm, and gains next to
    nothing.

    ## Evidence
    The share of recorded batches that hold the class, with two standard errors allowed. Four classes, the
    rarest at the given rate, batch 64, 500 steps of Adam, seed 0. AP, mean over the four classes (0.05 is
    0.2 of the rare one), on Gaussian data:

    | rate: batches that hold it | alpha 1 / rate | no alpha | alpha, batch 1024 | Smooth-AP, queue 16,384 |
    |---|---|---|---|---|
    | 0.03 %: 1 in 50 | .74 | .73 | .77 | .72 |
    | 1 %: 1 in 2 | .92 | .93 | .92 | .91 |

    Where one batch in 50 held it, the class lost most of its AP: the mean is .18 lower. The published table
    calls its alpha a factor on nothing and advises Smooth-AP with a queue: the alpha gained next to nothing
    (.04 of the rare class), and Smooth-AP did no better, because a queue brings the class's scores to each
    step but no gradient. Larger batches gained most.

    ## Known problems
    Only every tenth batch is seen: it takes 41 records to be sure of fewer than one batch in 20.

    ## References
    Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019.
    """

    code = "IMB103"
    name = "starved-class"
    severity = "warning"
    kinds = FOCAL
    requires = ("live_pos_count",)
    min_records = 20
    explained_by = ("IMB001",)
    foreseeable = True

    symptom = (
        "{class_label} was in {seen:.0f} of the last {records:.0f} recorded batches; its alpha of "
        "{alpha:,.5g} had nothing to weigh in the others."
    )
    cause = "the class is so rare that most batches do not hold it, and a weight cannot create rows."
    remedy = "use larger batches, or oversample the class. Its alpha does no harm but gains next to nothing."

    share: float = threshold(
        0.05,
        "Share of batches that hold the class, below which it is starved: the mean AP of four classes was "
        ".18 lower where one batch in 50 held the rarest than where one in 2 did.",
    )

    def examine(self, window: Window) -> Verdict:
        """Count the records that hold each class, and allow for their chance."""
        alpha = window.config("alpha")
        if not isinstance(alpha, (list, tuple)) or in_warmup(window):
            return []
        live = window.series("live_pos_count").values
        seen = (live > 0).sum(axis=0)
        # Two standard errors of a count, and two for a count of none.
        starved = seen + 2.0 * np.sqrt(seen) + 2.0 <= self.share * len(live)
        if not starved.any() or len(alpha) != len(starved):
            return []
        return self._findings(seen.astype(np.float64), len(live), alpha, classes_of(starved))

    @staticmethod
    def _findings(
        seen: Floats, records: int, alpha: list[float] | tuple[float, ...], classes: list[int]
    ) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence({"seen": seen[index], "records": records, "alpha": alpha[index]}, index)
