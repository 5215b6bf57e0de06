"""IMB005: the scores do not tell the classes apart, far into the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, mean
from imbalance_doctor.rules.measures.scores import auroc_error, fresh_rows, weighted


@dataclass(frozen=True)
class NoSeparation(Rule):
    """Far into the run, positives score no higher than negatives.

    ## Symptom
    `pool_auroc` is 0.5 within its sampling error, and does not rise.

    ## Cause
    The inputs say nothing of the label (rows and labels that do not belong together, a constant or wrong
    feature), or the model cannot learn it: too small, a learning rate that is too low or too high.

    ## Remedy
    Check that rows and labels belong together: overfit one batch. Then features, capacity, learning rate. No
    choice of loss fixes this.

    ## Evidence
    The pool's AUROC over the newer half of the run, each look with the weight of the positives
    that are new in it, is below 0.6 by two standard errors and not above 0.5 by as much, from 300 steps or
    half of a run on (500 where its length is unknown; the age of the queue comes on top, whose rows were
    scored that long ago), has not risen by 0.05 above one half or by two standard errors from below it, and
    validation, where logged, says the same. Or validation proves it, where the pool holds too few positives:
    the higher of the newest two evaluations is below 0.6 by two standard errors, does not rise, and the pool
    is not above 0.5 by two of its own. The error is that of a random order, sqrt((1 / positives + 1 /
    negatives) / 12), over the different rows that were ranked.

    Rows and labels that do not belong together, and inputs of pure noise (3 families, 6 losses, 2 seeds): .45
    to .52 (errors .01 to .03), and found in all but those in which a random direction happened to fit clean
    validation data. 148 ordinary runs: one, of a loss that pushes positives only (IMB509 explains it; AP
    .05). Runs that learn slowly were at .43 to .58 by step 200, which is why it waits.

    ## Known problems
    A learning rate ten times too low looks the same until the order begins to rise. A model that
    fits the training rows by heart separates them, and is left to IMB701 and IMB704.

    ## References
    Hanley & McNeil, *The meaning and use of the area under a ROC curve*, Radiology 1982 (its error).
    """

    code = "IMB005"
    name = "no-separation"
    severity = "warning"
    kinds = RANKING | LIKELIHOOD
    requires = (
        "pool_auroc", "live_pos_count", "live_neg_count", "pool_pos_count", "pool_neg_count",
    )  # fmt: skip
    explained_by = (
        "IMB001", "IMB002", "IMB010", "IMB011", "IMB016", "IMB020", "IMB201", "IMB202", "IMB305", "IMB402",
        "IMB509", "IMB703",
    )  # fmt: skip

    symptom = (
        "after {steps:,.0f} steps the pool's AUROC of {class_label} is {auroc:.2f} (± {error:.2f}), no "
        "better than that of a random order."
    )
    confirmed_symptom = (
        "after {steps:,.0f} steps the pool's AUROC of {class_label} is {auroc:.2f} (± {error:.2f}) and that "
        "of validation {judged:.2f} (± {judged_error:.2f}), no better than that of a random order."
    )
    cause = (
        "the inputs do not tell the label, or the model cannot learn it with this capacity and learning rate."
    )
    remedy = (
        "check that rows and labels belong together, and that the model can overfit one batch; then look at "
        "features, capacity and learning rate. Another loss does not fix this."
    )

    auroc: float = threshold(
        0.6,
        "AUROC below which, by two standard errors, nothing was learnt: rows and labels that do not belong "
        "together were at .45 to .52.",
    )
    settle_steps: int = threshold(
        300, "Steps before the first verdict: runs that learn slowly were at .43 to .58 by step 200."
    )
    settle_share: float = threshold(
        0.5,
        "Share of a run of known length before the first verdict, where that is more: a long run may learn "
        "slowly, and half of it is left to act in.",
    )
    unknown_steps: int = threshold(
        500,
        "Steps before the first verdict where the length of the run is unknown: of 22 runs at a learning "
        "rate of 0.001 one was at .49 by step 390 and at .79 by 600.",
    )
    rise: float = threshold(
        0.05,
        "Rise of AUROC since the first third of the records, from which the run is on its way: the errors "
        "of random orders were .01 to .03.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the order of the scores with a random one."""
        steps = window.step - window.run.start_step
        total = window.run.total_steps
        settled = max(self.settle_steps, int(self.settle_share * total)) if total else self.unknown_steps
        age = window.series("queue_age").values[-1:]
        settled += int(age[0]) if len(age) else 0
        if steps < settled:
            return Skipped(
                f"too early: judged from step {window.run.start_step + settled} on (now {window.step})"
            )
        series = window.series("pool_auroc")
        since = min(window.run.start_step + steps // 2, int(series.steps[-2:][0]))
        now = series.since(since)
        positives, negatives = (fresh_rows(window, kind, now) for kind in ("pos", "neg"))
        low = weighted(now.values, positives)
        error = auroc_error(positives.sum(axis=0), negatives.sum(axis=0))
        if not (low - 2.0 * error < self.auroc).any():
            return []
        third = max(len(series) // 3, 1)
        before = weighted(series.values[:third], fresh_rows(window, "pos", series)[:third])
        judged, judged_error = self._validation(window, since, low.shape)
        # A pool that is ranked while validation is not is learnt by heart: IMB701 and IMB704 tell of it.
        random = low - 2.0 * error <= 0.5
        confirmed = random & (judged + 2.0 * judged_error < self.auroc)
        poor = random & (low + 2.0 * error < self.auroc) & ~self._rising(before, low, error)
        # Of an unknown number of positives it is taken as it stands: comparisons with nan are False.
        poor &= ~((judged >= self.auroc) & ~(judged < 0.5 + 2.0 * judged_error))
        judgement = np.stack([judged, judged_error])
        return self._findings(steps, low, error, judgement, confirmed, classes_of(poor | confirmed))

    def _rising(self, before: Floats, now: Floats, error: Floats) -> Bools:
        rising: Bools = now > np.fmax(before, 0.5) + self.rise
        # Initial weights may order the classes the wrong way round (.32 at the start of one run).
        rising |= now > before + np.maximum(self.rise, 2.0 * np.sqrt(2.0) * error)
        return rising

    def _validation(self, window: Window, since: int, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        """The higher AUROC of the newest two evaluations and its error, [C] each; nan where there is none.

        Without an error, so that it proves nothing, where there is one only, or it is old, or rises.
        """
        unknown = np.full(shape, np.nan)
        orders = window.eval_series("auroc")
        if orders.values.shape[1:] != shape:
            return unknown, unknown
        judged = np.fmax(*orders.values[[-min(2, len(orders)), -1]])
        positives, rows = (window.eval_series(name).values[-1:] for name in ("positives", "rows"))
        if not positives.shape == rows.shape == (1, *shape) or len(orders.since(since)) < 2:
            return judged, unknown
        error = auroc_error(positives[0], rows[0] - positives[0])
        rising = orders.values[-1] > np.fmax(mean(orders.values[: len(orders) // 2]), 0.5) + self.rise
        return judged, np.where(rising, np.nan, error)

    def _findings(
        self, steps: int, auroc: Floats, error: Floats, judged: Floats, confirmed: Bools, classes: list[int]
    ) -> Iterator[Evidence]:
        for index in classes:
            values = {"steps": steps, "auroc": auroc[index], "error": error[index]}
            if confirmed[index]:
                values |= {"judged": judged[0, index], "judged_error": judged[1, index]}
            yield Evidence(values, index, symptom=self.confirmed_symptom if confirmed[index] else None)
