"""IMB203: the loss jumps from record to record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import RECENT, Floats, classes_of, mean, median, pool, queue_for, recent

#: From the median of absolute second differences to a standard deviation: 0.6745 of it is the median of
#: absolute normal values, and a second difference x2 - (x1 + x3) / 2 has 1.5 times the variance of x.
_TO_DEVIATION = 1.0 / (0.6745 * 1.5**0.5)


@dataclass(frozen=True)
class OscillatingLoss(Rule):
    """The loss moves by 0.12 or more between records, without a trend.

    ## Symptom
    A ranking loss, which lies between 0 and 1, jumps by 0.12 and more from record to record, up and down.

    ## Cause
    Nearly always the sample: a pool with a handful of positives estimates the loss with a standard error of
    sqrt(loss (1 - loss) / positives). Where the jumps are far larger than that, the steps are too large for
    the temperature, and ranks flip.

    ## Remedy
    The finding says which. For a small sample, the `queue_size` with which the standard error is 0.05, or
    patience: the mean over records shows the trend. For large steps, a lower learning rate and
    `tau_scale="iqr"`.

    ## Evidence
    The standard deviation of the class's loss around its trend in the last 20 records (from the median
    second difference, so that neither a falling loss nor one bad batch counts), and its ratio to the
    standard error above.

    The published table blames a sharp temperature. Smooth-AP at a rate of 5 %, batch 256, 400 steps, on
    Gaussian data / digits / sequences, 2 seeds (deviation of the loss; AP):

    | queue, temperature, learning rate | deviation over standard error | deviation | AP |
    |---|---|---|---|
    | 2048, iqr 0.1, 0.003 | 0.8-1.7 | .02 / .02 / .07 | .94 / .98 / .52 |
    | 2048, 0.0005, 0.003 | 1.0-2.1 | .03 / .02 / .08 | .93 / .96 / .51 |
    | 2048, iqr 0.1, 0.1 | 0.8-1.7 | .02 / .03 / .07 | .94 / .91 / .44 |
    | 2048, 0.0005, 0.1 | 1.1-2.0 | .05 / .09 / .05 | .78 / .28 / .10 |
    | 0, 0.01, 0.003 | 0.3-1.3 | .05 / .01 / .14 | .94 / .97 / .52 |

    So a sharp temperature did harm with a large learning rate only, and did not show as oscillation there;
    what shows is the sample. It did no harm there; with 2.5 positives (rate 2 %, batch 128, no queue) on
    classes that overlap AP was .42 against .46 and .52 against .66 (5 seeds), which `few-positives-in-pool`
    (IMB003) warns of. Hence information here. A sharp temperature that does harm is `saturated-temperature`
    (IMB202).

    ## Known problems
    Batches that differ in kind (sorted by source) move the loss as well.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020, section 5.
    """

    code: ClassVar[str] = "IMB203"
    name: ClassVar[str] = "oscillating-loss"
    severity: ClassVar[Severity] = "info"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = (
        "per_class_loss", "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count",
    )  # fmt: skip
    min_records: ClassVar[int] = 15
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB002", "IMB003", "IMB202", "IMB402")

    symptom: ClassVar[str] = (
        "the loss of {class_label} moves by ±{deviation:.2f} around its trend, {excess:.1f} times the "
        "standard error of an estimate from {positives:.0f} positives."
    )
    cause: ClassVar[str] = "the pool is a small sample: what moves is the estimate, not the model."
    remedy: ClassVar[str] = (
        "read its mean over records; queue_size ≈ {queue_size:,.0f} (now {queue_size_now:,.0f}) would bring "
        "the standard error to {wanted_error:.2g}."
    )
    steps_cause: ClassVar[str] = "the model itself moves: its steps are too large, and ranks flip."
    steps_remedy: ClassVar[str] = 'lower the learning rate, or use tau_scale="iqr".'

    #: Standard deviation of the loss around its trend that reads as wild. 0.02 to 0.09 in ordinary pools.
    deviation: float = 0.12
    #: Ratio to the standard error from which the sample does not explain it: 0.3 to 2.2 in all runs of the
    #: table, and above 2.5 in 4 of 148 ordinary ones, whose loss was falling fast.
    excess: float = 4.0
    #: Standard error that the prescribed queue would have.
    wanted_error: float = 0.05

    def examine(self, window: Window) -> Verdict:
        """Measure the movement, and compare it with that of a sample of this size."""
        losses = recent(window, "per_class_loss", RECENT)
        if len(losses) < self.min_records:
            return []
        bends = np.abs(losses[1:-1] - 0.5 * (losses[:-2] + losses[2:]))
        deviation = median(bends) * _TO_DEVIATION
        wild = deviation >= self.deviation
        return self._findings(window, losses, deviation, classes_of(wild)) if wild.any() else []

    def _findings(
        self, window: Window, losses: Floats, deviation: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        now = pool(window)
        positives, level = mean(recent(window, "pool_pos_count")), mean(losses)
        variance = np.maximum(level * (1.0 - level), 1e-4)
        excess = deviation / np.sqrt(variance / np.maximum(positives, 1.0))
        wanted = variance / self.wanted_error**2
        for index in classes:
            rows = float(wanted[index] / max(positives[index], 0.1)) * now.size
            to = queue_for(rows, now)
            sampled = excess[index] < self.excess and to > now.queue_size
            prescription: dict[str, Any] = {"parameter": "queue_size", "from": now.queue_size, "to": to}
            yield Evidence(
                {
                    "deviation": float(deviation[index]),
                    "excess": float(excess[index]),
                    "positives": float(positives[index]),
                    "queue_size": float(to),
                    "queue_size_now": float(now.queue_size),
                    "wanted_error": self.wanted_error,
                },
                index,
                cause=None if sampled else self.steps_cause,
                remedy=None if sampled else self.steps_remedy,
                prescription=prescription if sampled else None,
            )
