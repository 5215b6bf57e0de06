"""IMB203: the loss jumps from record to record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import standard_error, validation
from imbalance_doctor.rules.measures.pool import (
    RECENT,
    Floats,
    classes_of,
    larger_queue,
    mean,
    median,
    pool,
    recent,
)

#: From the median of absolute second differences to a standard deviation: 0.6745 of it is the median of
#: absolute normal values, and a second difference x2 - (x1 + x3) / 2 has 1.5 times the variance of x.
_TO_DEVIATION = 1.0 / (0.6745 * 1.5**0.5)


@dataclass(frozen=True)
class OscillatingLoss(Rule):
    """The loss moves by 0.12 or more between records without a trend, or validation falls and recovers.

    ## Symptom
    A ranking loss, which lies between 0 and 1, jumps by 0.12 and more from record to record, up and down. Or
    average precision on validation data falls and comes back.

    ## Cause
    Two kinds. The sample: a pool with a handful of positives estimates the loss with a standard error of
    sqrt(loss (1 - loss) / positives). Or the steps: they are too large for the temperature, ranks flip, and
    the model itself moves. Validation data tell the two apart, as they are the same rows each time; without
    them, a movement far larger than the standard error does.

    ## Remedy
    The finding says which. For a small sample, the `queue_size` with which the standard error is 0.05, or
    patience: the mean over records shows the trend. For large steps, a lower learning rate and
    `tau_scale="iqr"`.

    ## Evidence
    The standard deviation of the class's loss around its trend in the last 20 records (from the median second
    difference, so that neither a falling loss nor one bad batch counts), and its ratio to the standard error
    above: at least 0.12 over 60 records and 0.09 over 20. It is reported where the standard error is 0.1 and
    a larger queue would lower it, or where the ratio is above 4. In healthy pools with 40 positives the loss
    moved by 0.12 at 1.8 standard errors.

    Average precision of the newest 8 evaluations falls and rises again, each by more than 0.05 and 2 standard
    errors, and falls once by 0.1 and 3: a warning. A fall alone is a decay, and has other causes. Moons,
    Smooth-AP with a temperature of 0.02: SGD at a learning rate of 3 went .57, .07, .02, .28, Adam at 0.2
    went .42, .27, .02, .20, .04; at 0.003 it rose steadily to .70.
    Without the deep fall a healthy table (.68, .60, .69) was found.

    The published table blames a sharp temperature. Smooth-AP at a rate of 5 %, batch 256, 400 steps, on
    Gaussian data / sequences, seed 0 (deviation of the loss; AP):

    | queue, temperature, learning rate | deviation over standard error | deviation | AP |
    |---|---|---|---|
    | 2048, iqr 0.1, 0.003 | 0.7-1.2 | .03 / .03 | .94 / .51 |
    | 2048, 0.0005, 0.003 | 0.6-1.4 | .03 / .03 | .93 / .51 |
    | 2048, iqr 0.1, 0.1 | 0.9 | .02 / .04 | .94 / .41 |
    | 2048, 0.0005, 0.1 | 0.9-1.5 | .03 / .05 | .86 / .11 |
    | 0, 0.01, 0.003 | 1.0-1.5 | .07 / .22 | .93 / .51 |

    So a sharp temperature did harm with a large learning rate only, and did not show as oscillation there.
    What shows is the small sample of a pool without a queue, which did no harm here; with 2.5 positives (rate
    2 %, batch 128, no queue) on classes that overlap AP was .42 against .46 and .52 against .66 (5 seeds),
    which `few-positives-in-pool` (IMB003) warns of. Hence information here. Any temperature below 0.005 at a
    wide spread is called a fault in published lists; one that does harm is `saturated-temperature` (IMB202).

    ## Known problems
    Batches that differ in kind (sorted by source) move the loss as well. Large steps that ruin a model for
    good are no oscillation: nothing comes back.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020, section 5.
    """

    code = "IMB203"
    name = "oscillating-loss"
    severity = "info"
    kinds = RANKING
    requires = (
        "per_class_loss", "pool_size", "pool_pos_count", "live_pos_count", "live_neg_count",
    )  # fmt: skip
    min_records = 15
    explained_by = (
        "IMB001", "IMB002", "IMB003", "IMB010", "IMB202", "IMB204", "IMB402",
    )  # fmt: skip

    symptom = (
        "the loss of {class_label} moves by ±{deviation:.2f} around its trend, {excess:.1f} times the "
        "standard error of an estimate from {positives:.0f} positives."
    )
    cause = "the pool is a small sample: the estimate moves, not the model."
    remedy = (
        "read the mean over records; to lower the standard error to {wanted_error:.2g}, raise queue_size to "
        "about {queue_size:,.0f} (now {queue_size_now:,.0f})."
    )
    moving_symptom = (
        "average precision was between {lowest:.2f} and {highest:.2f} in the last {evaluations:.0f} "
        "evaluations; it falls and rises by far more than its standard error of {error:.2g}."
    )
    steps_cause = "the model itself moves: most likely its steps are too large, so that ranks flip."
    steps_remedy = 'lower the learning rate, or use tau_scale="iqr".'

    deviation: float = threshold(
        0.12,
        "Standard deviation of the loss around its trend that counts as wild: 0.02 to 0.05 in runs with a "
        "queue of 2,048, 0.07 and 0.22 in runs without a queue.",
    )
    records: int = threshold(
        60,
        "Records over which it must be that, so that a finding near the border does not come and go: it did "
        "twice in 3,000 steps with the newest 20 alone.",
    )
    lasting: float = threshold(
        0.75,
        "Share of that deviation that the newest 20 records must still have: a movement that is over is not "
        "reported.",
    )
    error: float = threshold(
        0.1,
        "Standard error of the estimate, from which a small sample is reported: 25 positives at a loss of "
        "0.5.",
    )
    evaluations: int = threshold(
        8, "Newest evaluations that tell how the model moves: enough for a fall and the rise after it."
    )
    swing: float = threshold(
        0.05,
        "Fall or rise of average precision that counts: a model with too large steps went .57, .07, .02, "
        ".28.",
    )
    swing_errors: float = threshold(
        2.0,
        "Standard errors that it must be as well. The rows are the same each time, so that their errors "
        "largely cancel.",
    )
    deep: float = threshold(
        0.1, "Depth of at least one of the falls: without it a healthy table (.68, .60, .69) was found."
    )
    deep_errors: float = threshold(
        3.0,
        "Standard errors that the deep fall must be as well: 3, because the worst of several is looked at.",
    )
    excess: float = threshold(
        4.0,
        "Deviation over its standard error, from which the sample does not explain it: 0.6 to 1.5 in ten "
        "runs with and without a queue, sharp temperatures and large steps among them, and above 2.5 in 4 of "
        "148 ordinary runs, whose loss was falling fast.",
    )
    wanted_error: float = threshold(
        0.05, "Standard error with the prescribed queue: half of `error`, which is four times the positives."
    )

    def examine(self, window: Window) -> Verdict:
        """Measure the movement, of validation first, and compare that of the loss with its sampling error."""
        moving = self._moving(window)
        if moving is not None:
            return [moving]
        losses = recent(window, "per_class_loss", self.records)
        if len(losses) < self.min_records:
            return []
        deviation, newest = _deviation(losses), _deviation(losses[-RECENT:])
        wild = (deviation >= self.deviation) & (newest >= self.lasting * self.deviation)
        return self._findings(window, losses, deviation, classes_of(wild)) if wild.any() else []

    def _moving(self, window: Window) -> Evidence | None:
        """Validation that falls and rises again under this loss."""
        precision = validation(window).since(window.since).last(self.evaluations).values
        if len(precision) < 3:
            return None
        error = standard_error(window, np.median(precision))
        changes = np.diff(precision)
        large = changes[np.abs(changes) > max(self.swing, self.swing_errors * error)]
        falls = np.flatnonzero(large < 0.0)
        if not len(falls) or not (large[falls[0] :] > 0.0).any():  # it decays, and does not come back
            return None
        if large.min() > -max(self.deep, self.deep_errors * error):
            return None
        return Evidence(
            {
                "evaluations": len(precision),
                "lowest": precision.min(),
                "highest": precision.max(),
                "error": error,
            },
            0 if window.classes == 1 else None,
            severity="warning",
            symptom=self.moving_symptom,
            cause=self.steps_cause,
            remedy=self.steps_remedy,
        )

    def _findings(
        self, window: Window, losses: Floats, deviation: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        now = pool(window)
        positives, level = mean(recent(window, "pool_pos_count")), mean(losses)
        variance = np.maximum(level * (1.0 - level), 1e-4)
        error = np.sqrt(variance / np.maximum(positives, 1.0))
        wanted = variance / self.wanted_error**2
        for index in classes:
            rows = wanted[index] / max(positives[index], 0.1) * now.size
            sampled = deviation[index] < self.excess * error[index]
            # A queue does not help where a cap leaves few of its rows: that is IMB204.
            to = larger_queue(rows, now) if now.cap is None else None
            if sampled and (to is None or error[index] < self.error):
                continue
            prescription = Change("queue_size", now.queue_size, to)
            yield Evidence(
                {
                    "deviation": deviation[index],
                    "excess": deviation[index] / error[index],
                    "positives": positives[index],
                    "queue_size": to or now.queue_size,
                    "queue_size_now": now.queue_size,
                    "wanted_error": self.wanted_error,
                },
                index,
                cause=None if sampled else self.steps_cause,
                remedy=None if sampled else self.steps_remedy,
                prescription=prescription if sampled else None,
            )


def _deviation(losses: Floats) -> Floats:
    """Standard deviation around the trend, from the median second difference, [T, C] to [C]."""
    bends = np.abs(losses[1:-1] - 0.5 * (losses[:-2] + losses[2:]))
    result: Floats = median(bends) * _TO_DEVIATION
    return result
