"""IMB205: positives are common, and Smooth-AP has no imbalance to work on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of, mean, recent


@dataclass(frozen=True)
class PositivesNotRare(Rule):
    """Smooth-AP is used on a class that is not rare.

    ## Symptom
    `pool_pos_count` is more than 20 % of `pool_size`. Nothing goes wrong.

    ## Cause
    The class is common, or a sampler makes it so. Smooth-AP is made for the case in which a likelihood
    loss is led by the negatives.

    ## Remedy
    None is needed. BCE, cross-entropy or a focal loss reach the same order of scores for less, and give
    probabilities. With a sampler, compare at the rate that the model will meet.

    ## Evidence
    Pooled positives over pooled rows in recent records. AP after 400 steps of Adam, batch 256, 2 seeds, on
    Gaussian data / digits / make_classification:

    | rate | Smooth-AP | BCE | focal, alpha 0.75 |
    |---|---|---|---|
    | 50 % | .993 / .994 / .996 | .994 / .997 / .998 | .994 / .998 / .998 |
    | 20 % | .980 / .984 / .990 | .981 / .990 / .991 | .981 / .993 / .994 |
    | 5 % | .94 / .97 / .97 | .94 / .93 / .95 | .94 / .98 / .97 |
    | 1 % | .86 / .84 / .90 | .86 / .69 / .82 | .86 / .86 / .89 |

    From 20 % on Smooth-AP is never ahead, and its runs took two to five times as long; below, it is well
    ahead of BCE on two of three.

    ## Known problems
    Of few balanced classes each is common (three have a third each); what is said of them is true, but a
    loss that ranks each class against the rest may still be what one wants.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020.
    """

    code: ClassVar[str] = "IMB205"
    name: ClassVar[str] = "positives-not-rare"
    severity: ClassVar[Severity] = "info"
    kinds: ClassVar[frozenset[str]] = frozenset({"smooth_ap"})
    requires: ClassVar[tuple[str, ...]] = ("pool_size", "pool_pos_count")
    explained_by: ClassVar[tuple[str, ...]] = ("IMB010",)
    foreseeable: ClassVar[bool] = True

    symptom: ClassVar[str] = "{rate_percent:.0f} % of the pool are positives of {class_label}."
    cause: ClassVar[str] = "the class is not rare, or a sampler makes it common."
    remedy: ClassVar[str] = (
        "none is needed; BCE, cross-entropy or a focal loss would order the scores as well for less."
    )

    #: Share of positives in the pool from which Smooth-AP gained nothing over BCE. See Evidence.
    common: float = 0.2

    def examine(self, window: Window) -> Verdict:
        """Compare the positives with the pool."""
        sizes, positives = recent(window, "pool_size"), recent(window, "pool_pos_count")
        common = positives.sum(axis=0) > self.common * sizes.sum()
        return self._findings(mean(positives) / mean(sizes), classes_of(common)) if common.any() else []

    @staticmethod
    def _findings(rates: Floats, classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence({"rate_percent": 100.0 * float(rates[index])}, index)
