"""IMB505: the ranking loss takes over with a queue of scores that another model gave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.losses import catalogue
from imbalance_doctor.prescriptions import ResetQueue
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of

_LOW, _MIDDLE, _HIGH = (catalogue.QUANTILE_LEVELS.index(level) for level in (0.25, 0.5, 0.75))


@dataclass(frozen=True)
class QueuePoisonedAtSwitch(Rule):
    """At the moment a ranking loss takes over, its queue holds rows that are older and scored otherwise.

    ## Symptom
    In the first record of a phase (or of the run, or after a pause) the queue is fuller than the steps
    since can have filled it, and its scores lie elsewhere than those of the live batch.

    ## Cause
    The ranking loss was called before its phase, past the wrapper, which empties the queue at the switch;
    or the queue was loaded from a checkpoint of another model.

    ## Remedy
    Call the wrapper in every phase, or call `reset_queue()` when the loss takes over.

    ## Evidence
    At the first record (or the first after a pause of three times the usual gap), the queue holds more rows
    than 1.5 times those that the batches since the record before can have brought, none at the start of a
    run; and the medians of live and queued scores are more than one mean interquartile range apart. It is
    reported until the queue has turned over. The first record after a treatment is no switch: the queue goes
    on.

    A queue of 8,192 rows from before a model's 200 steps of BCE, batch 64 (128 steps to turn over), Smooth-AP
    at 2 %, 4 seeds; AP after 20 / 40 / 80 / 160 / 300 steps with the old queue, and with an empty one:
    Gaussian data .89 .90 .90 .89 .90 against .88 .88 .88 .89 .89; digits .74 .74 .70 .81 .81 against
    .73 .74 .75 .76 .77. The spike of the
    loss that published lists warn of cost nothing: information.

    ## Known problems
    Where several batches fit between the switch and the first record, a small queue could have been filled
    since, and is not reported.

    ## References
    He et al., *Momentum Contrast*, CVPR 2020 (a queue is useful while its keys come from similar encoders).
    """

    code = "IMB505"
    name = "queue-poisoned-at-switch"
    severity = "info"
    kinds = RANKING
    requires = (
        "queue_fill", "live_pos_count", "live_neg_count", "live_score_quantiles", "queue_score_quantiles",
    )  # fmt: skip
    min_records = 1
    explained_by = ("IMB001",)

    symptom = (
        "when this loss took over at step {took_over:.0f}, its queue held {queued:,.0f} older rows with a "
        "median score of {queue_median:.2g} for {class_label}; the live batch has {live_median:.2g}."
    )
    cause = (
        "the queue was filled before the switch by calls that bypassed the wrapper, or comes from another "
        "model's checkpoint."
    )
    remedy = (
        "call reset_queue() when the loss takes over, or call the wrapper in every phase; left alone, the "
        "queue drops these rows within {steps:,.0f} steps."
    )

    shift: float = threshold(
        1.0,
        "Distance of the medians of live and queued scores, in mean interquartile ranges, from which the "
        "queued ones are another model's: either median then lies outside the other's middle half.",
    )
    margin: float = threshold(
        1.5, "Batches that may have been added for each step since the last record: a margin for uneven ones."
    )

    def examine(self, window: Window) -> Verdict:
        """Look at the queue at the newest takeover, while its rows can still be there."""
        fill = window.series("queue_fill")
        at, usual = _takeover(fill.steps, window.run.every)
        if at == 0 and window.records > len(fill):
            return []  # the takeover was longer ago than the window reaches
        size = int(window.config("queue_size") or 0)
        if fill.values[at] == 0.0 or not size:
            return []
        batch = window.series("live_pos_count").values[at, 0] + window.series("live_neg_count").values[at, 0]
        step = int(fill.steps[at])
        elapsed = 0 if step == window.run.start_step else usual
        if at == 0 and window.treated:
            return []
        older = fill.values[at] * size - self.margin * batch * elapsed
        if older <= 0.0 or (window.step - step) * batch > size:
            return []
        return self._compare(window, step, older, size / max(batch, 1.0))

    def _compare(self, window: Window, step: int, older: float, forgets: float) -> Iterator[Evidence]:
        live, queue = (
            series.since(step).values[:1]
            for series in window.aligned("live_score_quantiles", "queue_score_quantiles")
        )
        if not len(live):
            return
        now, then = live[0], queue[0]
        widths: Floats = (now[:, _HIGH] - now[:, _LOW] + then[:, _HIGH] - then[:, _LOW]) / 2.0
        apart: Bools = np.abs(now[:, _MIDDLE] - then[:, _MIDDLE]) > self.shift * widths
        for index in classes_of(apart):
            values = {
                "took_over": step,
                "queued": older,
                "queue_median": then[index, _MIDDLE],
                "live_median": now[index, _MIDDLE],
                "steps": forgets,
            }
            yield Evidence(values, index, prescription=ResetQueue())


def _takeover(steps: np.ndarray[tuple[int], np.dtype[np.int64]], every: int) -> tuple[int, int]:
    """Index of the first record, or of the first after the newest pause, and steps between records before.

    A pause is three times as long as the gap before it: records grow apart with the run, but slowly.
    """
    gaps = np.maximum(steps[1:] - steps[:-1], every)
    pauses = np.flatnonzero(gaps[1:] > 3 * gaps[:-1])
    if not len(pauses):
        return 0, every
    return int(pauses[-1]) + 2, int(gaps[pauses[-1]])
