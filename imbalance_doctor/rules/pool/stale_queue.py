"""IMB006: the queued scores are not the scores that the model gives now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Floats, classes_of, recent
from imbalance_doctor.rules.measures.scores import MEDIAN, Q25, Q75


@dataclass(frozen=True)
class StaleQueue(Rule):
    """Live scores lie far from the queued ones: the model has changed faster than the queue.

    ## Symptom
    `live_score_quantiles` and `queue_score_quantiles` differ by several interquartile ranges. Live rows are
    ranked among scores that the model would not give any more.

    ## Cause
    A jump in the scores (a checkpoint loaded, layers unfrozen, a spike of the learning rate, another data
    set), or a queue that is long for the pace of training.

    ## Remedy
    None is needed in most cases: the queue renews itself in the printed number of steps. Call `reset_queue()`
    after the event if the scores were stretched and a batch alone holds positives. Lower `queue_size` where
    it lasts.

    ## Evidence
    The largest of the differences of quartiles and median in the newest record, in the larger of the two
    interquartile ranges, less two standard errors of a batch's median. Ordinary runs reached 1.6 in their
    first hundred steps (one of 148 reached 2.1), events 2 to 150.

    A jump was planted at step 150 (queue 4,096, batch 64, rate 5 %, seed 0). Mean AP over Smooth-AP and
    pairwise partial AUC, 40 steps after it:

    | event | Gaussian data | digits |
    |---|---|---|
    | none | .93 | .84 |
    | all scores shifted by 10 | .93 | .84 |
    | that shift, and reset_queue() | .92 | .68 |
    | all scores times 5 | .91 | .44 |
    | that stretch, and reset_queue() | .92 | .79 |
    | learning rate times 30 | .87 | .20 |

    So stale rows as such cost nothing where the order of the scores is what it was, emptying the queue costs
    more in a batch with 3 positives, and what does harm is the event: information, not a warning. The
    published advice to reset after any event held where scores had been stretched, and nowhere else.

    ## Known problems
    Quantiles are taken some 50 steps apart, later hundreds: an event that the queue forgets sooner passes
    unseen. The statistics hold all rows of a class together, so that a change of the class balance of
    the batches looks like a jump.

    ## References
    He et al., *Momentum Contrast*, CVPR 2020 (queues and consistency).
    """

    code = "IMB006"
    name = "stale-queue"
    severity = "info"
    kinds = RANKING
    requires = (
        "live_score_quantiles", "queue_score_quantiles", "queue_fill", "queue_age", "live_pos_count",
        "live_neg_count",
    )  # fmt: skip
    explained_by = ("IMB001", "IMB505", "IMB703")

    symptom = (
        "live scores of {class_label} lie {distance:.1f} interquartile ranges from the queued ones (medians "
        "{live_median:.3g} and {queue_median:.3g})."
    )
    cause = (
        "the scores have moved since the oldest queued rows, {age:,.0f} steps ago: a checkpoint was loaded, "
        "layers were unfrozen, the learning rate spiked, or the queue is long for the pace of training."
    )
    remedy = (
        "none is needed in most cases; the queue renews itself within {age:,.0f} steps. Call reset_queue() "
        "if the scores were stretched and batches hold enough positives; lower queue_size if it lasts."
    )

    distance: float = threshold(
        2.0,
        "Interquartile ranges between live and queued scores: ordinary runs reached 1.6 in their first "
        "hundred steps (one of 148 reached 2.1), events 2 to 150.",
    )
    filled: float = threshold(
        0.25, "Share of the queue that must be filled: before, its few rows are those of the first steps."
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the quartiles of the newest record that has them."""
        live = window.series("live_score_quantiles").values[-1]
        queue = window.series("queue_score_quantiles").values[-1]
        apart = np.abs(live[:, Q25 : Q75 + 1] - queue[:, Q25 : Q75 + 1]).max(axis=1)
        spread = np.maximum(live[:, Q75] - live[:, Q25], queue[:, Q75] - queue[:, Q25])
        far = apart > self.distance * spread
        if not far.any() or recent(window, "queue_fill", 1)[0] < self.filled:
            return []
        rows = (recent(window, "live_pos_count", 1) + recent(window, "live_neg_count", 1))[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            # A quartile of n rows errs by about one interquartile range over the root of n.
            distance = apart / spread - 2.0 / np.sqrt(rows)
        far &= distance > self.distance
        return self._findings(window, distance, live, queue, classes_of(far & np.isfinite(distance)))

    @staticmethod
    def _findings(
        window: Window, distance: Floats, live: Floats, queue: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        age = recent(window, "queue_age", 1)[0]
        for index in classes:
            yield Evidence(
                {
                    "distance": distance[index],
                    "live_median": live[index, MEDIAN],
                    "queue_median": queue[index, MEDIAN],
                    "age": age,
                },
                index,
            )
