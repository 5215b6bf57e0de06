"""IMB202: the scores are spread over so many temperatures that positives carry no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

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
)


@dataclass(frozen=True)
class SaturatedTemperature(Rule):
    """The temperature is far too small for the scores, and hardly any positive carries gradient.

    ## Symptom
    `grad_pos_count` is near 0 although batches hold positives, `saturation` is near 1, and the loss is far
    from its minimum but does not move. Metrics are poor and stay so.

    ## Cause
    Scores spread over thousands of temperatures (logits in +-50 with a temperature of 0.01): every
    comparison is a hard 0 or 1, whose slope is 0.

    ## Remedy
    Raise the temperature to the printed value, normalise the logits, or use `tau_scale="iqr"`, which ties
    the temperature to the spread of the scores.

    ## Evidence
    IQR of the pool's scores over `tau_eff`, and the share of live positives that carry gradient, over
    recent records, while the loss is far from its minimum.

    ## Known problems
    None known.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020, section 5 (choice of the temperature).
    """

    code: ClassVar[str] = "IMB202"
    name: ClassVar[str] = "saturated-temperature"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = (
        "per_class_loss", "live_pos_count", "grad_pos_count", "tau_eff", "score_iqr", "score_std",
    )  # fmt: skip
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002")

    symptom: ClassVar[str] = (
        "{carrying_percent:.1f} % of the live positives of {class_label} carry gradient, while the loss is "
        "{class_loss:.2f}: the scores are spread over {spread_ratio:,.0f} temperatures."
    )
    cause: ClassVar[str] = (
        "a temperature of {tau:.2g} for scores whose interquartile range is {spread:.2g}: comparisons are "
        "hard 0 or 1, with no slope."
    )
    remedy: ClassVar[str] = (
        'raise the temperature to about {tau_wanted:.2g}, normalise the logits, or use tau_scale="iqr".'
    )
    scaled_remedy: ClassVar[str] = (
        "raise the temperature (a multiple of the scores' spread) to about {tau_wanted:.2g}."
    )

    #: Spread over temperature from which saturation is the temperature's doing.
    wide: float = 200.0
    #: Share of live positives that carry gradient, below which the class is warned of.
    carrying: float = 0.05
    #: A loss below this is near its minimum, where dead positives are solved ones.
    solved: float = 0.1
    #: Live positives over which the share is taken.
    positives: float = 20.0
    #: Spread over temperature that the remedy aims at.
    wanted_ratio: float = 10.0

    def examine(self, window: Window) -> Verdict:
        """Find classes whose positives carry no gradient because of the temperature."""
        ratio = mean(spread_in_temperatures(window))
        wide = ratio > self.wide
        if not wide.any():
            return []
        live = window.series("live_pos_count").values.sum(axis=0)
        carrying = window.series("grad_pos_count").values.sum(axis=0) / live.clip(1.0)
        losses = mean(recent(window, "per_class_loss"))
        sick: Bools = wide & (live >= self.positives) & (carrying < self.carrying) & (losses > self.solved)
        return self._findings(window, ratio, carrying, losses, classes_of(sick))

    def _findings(
        self, window: Window, ratio: Floats, carrying: Floats, losses: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        taus = mean(recent(window, "tau_eff"))
        temperature = float(window.config("temperature") or 0.0)
        for index in classes:
            spread = float(ratio[index] * taus[index])
            wanted = round_to(temperature * float(ratio[index]) / self.wanted_ratio, 1)
            scaled = window.config("tau_scale") is not None
            prescription: dict[str, Any] = {"parameter": "temperature", "from": temperature, "to": wanted}
            yield Evidence(
                {
                    "carrying_percent": 100.0 * float(carrying[index]),
                    "class_loss": float(losses[index]),
                    "spread_ratio": float(ratio[index]),
                    "spread": spread,
                    "tau": float(taus[index]),
                    "tau_wanted": wanted,
                },
                index,
                severity="error" if carrying[index] == 0.0 else "warning",
                remedy=self.scaled_remedy if scaled else None,
                prescription=prescription,
            )
