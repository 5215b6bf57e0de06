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
    The spread of the pool's scores over `tau_eff`, and the loss's distance from its uninformative value.

    ## Known problems
    None known.

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

    #: Spread over temperature, below which all scores count as tied.
    tied: float = 0.5
    #: Distance of the loss from its uninformative value that still counts as being there.
    near: float = 0.05
    #: Growth of the spread over the window, from which the run is leaving the plateau by itself.
    leaving: float = 1.5
    #: Spread over temperature that the remedy aims at.
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
