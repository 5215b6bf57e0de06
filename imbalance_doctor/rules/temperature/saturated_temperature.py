"""IMB202: the scores are spread over so many temperatures that positives carry no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, TooFew, Verdict, threshold
from imbalance_doctor.rules.measures.pool import (
    Bools,
    Floats,
    carrying_share,
    classes_of,
    mean,
    recent,
    round_to,
    spread_in_temperatures,
)


@dataclass(frozen=True)
class SaturatedTemperature(Rule):
    """The temperature is far too small for the scores, and few positives carry gradient.

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
    IQR of the pool's scores over `tau_eff`, and the share of the last 20 or more live positives that
    carry gradient, both over recent records, while the loss is far from its minimum.

    Measured at a rate of 2 %, batch 256, 300 steps, seed 0, Gaussian data / digits:

    | loss, optimizer, fault | spread / temperature | with gradient | AP | AP where it is 10 |
    |---|---|---|---|---|
    | Smooth-AP, Adam, logits times 30 | 2,800 / 1,200 | 16 % / 36 % | .89 / .74 | .89 / .92 |
    | Smooth-AP, Adam, logits times 300 | 27,000 / 11,000 | 5 % / 15 % | .81 / .67 | .89 / .92 |
    | Smooth-AP, SGD, temperature 0.0005 | 12,000 / 7,800 | 5 % / 41 % | .86 / .01 | .90 / .79 |
    | Recall@5 %, Adam, temperature 0.001 | 1,300 / 2,000 | 0 % / 1 % | .22 / .18 | .58 / .17 |
    | partial AUC, Adam, temperature 0.001 | 1,000 / 1,000 | 0 % / 0 % | .30 / .26 | .52 / .14 |

    For Smooth-AP the dead share alone says little (an ordinary run has 70 % of its positives dead, because
    they are solved); its harm comes with spread / temperature above 1,000. For the two losses with a
    threshold a share below 2 % does harm, at any spread that the temperature can be blamed for: .22 and .36
    of AP on Gaussian data. On digits, where these two alone learn little at any temperature, it did none.

    Up to 4,000 the order decides: a linear model (tumour data, SGD) with 1,100 to 2,000 and a third of its
    positives alive had a pool AUROC of .98 to 1.00 and an AP of .91 against .92; digits with 1,600 to 4,700
    and moons with 2,100 to 3,400 had .89 to .95, and an AP of .60 against .88 and .41 against .44.

    ## Known problems
    A warning may be early: a model with a saturated temperature often goes on improving, slowly. It is
    an error only where no positive carries gradient at all.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020, section 5 (choice of the temperature).
    """

    code = "IMB202"
    name = "saturated-temperature"
    severity = "warning"
    kinds = RANKING
    requires = (
        "per_class_loss", "live_pos_count", "grad_pos_count", "tau_eff", "score_iqr", "score_std",
    )  # fmt: skip
    #: 100 steps at the default: a model that has just begun may have no positive near the threshold yet.
    min_records = 10
    #: IMB406: partial AUC with a temperature that was copied from a loss in raw logits.
    explained_by = ("IMB001", "IMB002", "IMB406")

    symptom = (
        "{carrying_percent:.1f} % of the live positives of {class_label} carry gradient while the loss is "
        "still {class_loss:.2f}, and the scores are spread over {spread_ratio:,.0f} temperatures."
    )
    cause = (
        "the temperature of {tau:.2g} is too small for scores with a spread of {spread:.2g}: most "
        "comparisons are a hard 0 or 1, which has no slope."
    )
    remedy = 'raise the temperature to about {tau_wanted:.2g}, normalise the logits, or use tau_scale="iqr".'
    scaled_remedy = "raise the temperature (a multiple of the scores' spread) to about {tau_wanted:.2g}."

    wide: float = threshold(
        1000.0,
        "Spread of the scores, in temperatures, from which Smooth-AP gets a warning: on digits AP fell by "
        ".18 at 1,200, by .25 at 11,000 and, under SGD, by .78 at 7,800; on Gaussian data it fell by .00 at "
        "2,800 and by .08 at 27,000.",
    )
    wider: float = threshold(
        4000.0,
        "Spread up to which a pool that is ordered learns all the same: a linear model with 1,100 to 2,000 "
        "and a pool AUROC of .98 to 1.00 lost .01 of AP.",
    )
    ordered: float = threshold(
        0.97,
        "AUROC of the pool from which it counts as ordered: runs with .89 to .95 at that spread had an AP "
        "of .60 against .88.",
    )
    now: int = threshold(5, "Newest records whose looks at the scores tell the order as it is now: one look.")
    wide_threshold: float = threshold(
        50.0,
        'Spread from which the losses with a threshold are looked at: ordinary runs (scale "iqr", '
        "temperature 0.1) are at 10.",
    )
    carrying: float = threshold(
        0.02,
        "Share of live positives that carry gradient, below which those losses get a warning: with 0 % AP "
        "was .22 and .36 lower on Gaussian data, and runs with 3 % and more went on learning (IMB305).",
    )
    none: float = threshold(
        0.005, "Share below which next to nothing is learnt from positives, and it is an error: none in 200."
    )
    solved: float = threshold(
        0.1, "Loss below which it is near its minimum, where dead positives are solved ones."
    )
    positives: float = threshold(
        20.0,
        "Live positives over which the share is taken: at 2 % carrying, 0 of 20 happens in two of three "
        "windows, but such a window is sick too.",
    )
    wanted_ratio: float = threshold(
        10.0,
        "Spread that the remedy aims at: with it AP was as good as or better than in each of the runs with a "
        "fault, but for two on digits where the loss learns little at any spread.",
    )

    def examine(self, window: Window) -> Verdict:
        """Find classes whose positives carry no gradient because of the temperature."""
        ranks = window.kind == "smooth_ap"
        ratio = mean(spread_in_temperatures(window))
        sick: Bools = ratio > (self.wide if ranks else self.wide_threshold)
        if not sick.any():
            return []
        losses = mean(recent(window, "per_class_loss"))
        sick &= losses > self.solved
        live, carrying = carrying_share(window, self.positives)
        sick &= live >= self.positives
        if not ranks:
            sick &= carrying < self.carrying
        elif sick.any() and window.has("pool_auroc"):
            sick &= ~((mean(recent(window, "pool_auroc", self.now)) >= self.ordered) & (ratio < self.wider))
        return self._findings(window, ratio, carrying, losses, classes_of(sick)) if sick.any() else []

    def passed_over(self, window: Window) -> TooFew | None:
        """Classes with too few live positives to tell what share of them carries gradient."""
        return TooFew(self.positives, carrying_share(window, self.positives)[0] < self.positives)

    def _findings(
        self, window: Window, ratio: Floats, carrying: Floats, losses: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        taus = mean(recent(window, "tau_eff"))
        temperature = float(window.config("temperature") or 0.0)
        for index in classes:
            spread = ratio[index] * taus[index]
            wanted = round_to(temperature * ratio[index] / self.wanted_ratio, 1)
            scaled = window.config("tau_scale") is not None
            prescription = Change("temperature", temperature, wanted)
            yield Evidence(
                {
                    "carrying_percent": 100.0 * carrying[index],
                    "class_loss": losses[index],
                    "spread_ratio": ratio[index],
                    "spread": spread,
                    "tau": taus[index],
                    "tau_wanted": wanted,
                },
                index,
                severity="error" if carrying[index] < self.none else "warning",
                remedy=self.scaled_remedy if scaled else None,
                prescription=prescription,
            )
