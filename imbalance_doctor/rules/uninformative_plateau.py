"""IMB201: the loss sits at the value it has when all scores are tied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import (
    Bools,
    Floats,
    classes_of,
    mean,
    recent,
    round_to,
    spread_in_temperatures,
    uninformative_loss,
)


@dataclass(frozen=True)
class UninformativePlateau(Rule):
    """For this temperature all scores are tied: the loss stays at the value that counts alone decide.

    ## Symptom
    The loss hardly moves from its uninformative value: 1 - (P+1)/(M+1) for Smooth-AP with P positives in
    a pool of M, and 0.5 for Recall@Quantile and partial AUC.

    ## Cause
    The temperature is larger than the spread of the scores, so that every comparison is near one half.

    ## Remedy
    A temperature that fits the scores (printed), `tau_scale="iqr"`, or a warmup with BCE or cross-entropy
    from a near-constant start.

    ## Evidence
    The mean spread (IQR) of the pool's scores over `tau_eff` is below 0.5 in recent records, the loss is
    within 0.05 of its uninformative value, and the spread is not growing: a run that is leaving the plateau
    by itself is left alone.

    Measured with Smooth-AP at a rate of 2 %, 300 steps, Gaussian data / digits: under SGD a spread of 0.02
    temperatures ended with an AP of .40 / .03, where a fitting temperature reached .90 / .95; with 0.15 at
    the start (digits) .50 against .95. Adam, which is blind to the gradient's size, left the plateau
    within 100 steps from 0.15 and within 200 from 0.02, and ended with .90 / .67 to .79.

    ## Known problems
    Partial AUC with a temperature of 10 or 100 interquartile ranges stays on the plateau for ever, because
    its temperature grows with the scores; under Adam it still lowers the mean rank of negatives, and in
    small runs lost little (AP .48 against .54, and .18 against .17).

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020, section 5 (choice of the temperature).
    """

    code: ClassVar[str] = "IMB201"
    name: ClassVar[str] = "uninformative-plateau"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = (
        "per_class_loss", "pool_pos_count", "pool_neg_count", "tau_eff", "score_iqr", "score_std",
    )  # fmt: skip
    min_records: ClassVar[int] = 10
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002", "IMB402")

    symptom: ClassVar[str] = (
        "the loss of {class_label} is {class_loss:.3f}, and would be {uninformative:.3f} if all its scores "
        "were equal; they are spread over {spread_ratio:.2g} temperatures."
    )
    cause: ClassVar[str] = (
        "a temperature of {tau:.2g} is large for scores with a spread of {spread:.2g}: every comparison is "
        "near one half."
    )
    remedy: ClassVar[str] = (
        'a temperature of about {tau_wanted:.2g}, tau_scale="iqr", or a warmup with BCE or cross-entropy.'
    )

    #: Spread over temperature, below which all scores count as tied: a sigmoid over half a unit is linear
    #: to 1 %, so that the loss sees the mean of the scores and nothing of their order.
    tied: float = 0.5
    #: Distance of the loss from its uninformative value that still counts as being there: in the runs that
    #: stayed on the plateau it was 0.007 to 0.03.
    near: float = 0.05
    #: Growth of the spread over the recent records, from which the run is leaving the plateau by itself:
    #: 1.0 to 1.3 in 200 steps where SGD was stuck, 6 and more in 70 where Adam left.
    leaving: float = 1.5
    #: Spread over temperature that the remedy aims at: best or near best from 8 to 60.
    wanted_ratio: float = 10.0

    def examine(self, window: Window) -> Verdict:
        """Find classes whose scores are tied at this temperature, and stay so."""
        ratios = spread_in_temperatures(window)
        sick: Bools = ratios[-1] < self.tied
        if not sick.any():
            return []
        ratio = mean(ratios)
        losses, levels = mean(recent(window, "per_class_loss")), mean(uninformative_loss(window))
        sick &= (ratio < self.tied) & (np.abs(losses - levels) < self.near)
        sick &= ratios[-1] < self.leaving * ratios[0]
        return self._findings(window, ratio, losses, levels, classes_of(sick))

    def _findings(
        self, window: Window, ratio: Floats, losses: Floats, levels: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        taus = mean(recent(window, "tau_eff"))
        temperature = float(window.config("temperature") or 0.0)
        for index in classes:
            wanted = round_to(temperature * float(ratio[index]) / self.wanted_ratio, 1)
            prescription: dict[str, Any] | None = None
            if wanted > 0.0:
                prescription = {"parameter": "temperature", "from": temperature, "to": wanted}
            yield Evidence(
                {
                    "class_loss": float(losses[index]),
                    "uninformative": float(levels[index]),
                    "spread_ratio": float(ratio[index]),
                    "spread": float(ratio[index] * taus[index]),
                    "tau": float(taus[index]),
                    "tau_wanted": wanted,
                },
                index,
                prescription=prescription,
            )
