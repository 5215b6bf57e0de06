"""IMB020: the model outputs one number for every row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import ANY, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, held
from imbalance_doctor.rules.measures.scores import LEAST, MOST


@dataclass(frozen=True)
class ConstantScores(Rule):
    """All rows have the same score: nothing of the input reaches the output.

    ## Symptom
    The smallest and the largest score of a batch are equal to rounding, record after record; validation AUROC
    is exactly 0.5 and average precision exactly the positive rate, because all rows are tied. The loss may
    look ordinary: at a low rate, one number near the logarithm of the odds has almost the loss of a model
    that learns slowly.

    ## Cause
    Hidden units that no longer fire for any row (ReLU after a step that was far too large), activations that
    are saturated, an output that is clipped, a head of zeros that gets no gradient, an input that is constant
    (a normalisation without spread, a column that was filled by mistake).

    ## Remedy
    Dead units get no gradient, and no later step revives them: restart from an earlier checkpoint with a
    tenth of the learning rate, or with a learning-rate warmup. Where the scores were constant from the start,
    look at the input of the head for two different rows, and at which parameters the optimizer has.

    ## Evidence
    A look is the range of the live scores of one batch of at least 8 rows: constant where the range is below
    1e-6 (times the score, where that is above 1). An evaluation is constant where AUROC is 0.5 and average
    precision the rate, both to 1e-6. The newest looks and evaluations, 3 of them together at least, are all
    constant, after 50 steps or half of a run that is shorter than 100. Looks at logits that are not finite do
    not count (IMB001).

    MLPs with 1 and 2 hidden layers of 64 ReLU, a rate of 3 %, batch 64, 200 steps, Adam at 0.1 to 3, 5 seeds
    (40 runs): 7 ended with one number for all validation rows and 3 more with one for all but a handful of
    3,000 (AUROC 0.50); all 10 were found, 8 at step 90, and none of the others. A head of zeros had a range
    of 3e-5 at step 20 and 7e-4 at step 90 with a learning rate warmed up to 1e-4 over 10,000 steps, the
    slowest start that was tried. Units dead from the start, under BCE on 3 families: found at step 90.

    ## Known problems
    A model that answers with one number for all but a few rows is not found. Partial AUC has IMB402.

    ## References
    Lu et al., *Dying ReLU and Initialization*, Communications in Computational Physics 2020.
    """

    code = "IMB020"
    name = "constant-scores"
    severity = "error"
    kinds = ANY - {"pauc_at_budget"}
    requires = ("live_score_quantiles", "live_pos_count", "live_neg_count")
    explained_by = ("IMB001", "IMB011", "IMB703")
    min_records = 1

    symptom = (
        "the model outputs one number for every row: within each of the last {looks:.0f} batches whose "
        "scores were recorded (since step {since:,.0f}), scores differ by at most {spread:.2g}; the newest "
        "are {score:.4g}."
    )
    eval_symptom = (
        "in validation the model outputs one number for every row: AUROC is exactly 0.5 and average "
        "precision exactly the positive rate in the last {evaluations:.0f} evaluations."
    )
    cause = (
        "scores differed before, so most likely hidden units died or saturated after too large a step, or "
        "the output is clipped."
    )
    never_cause = (
        "the scores have been constant from the start: the head's weights are zero and get no gradient, or "
        "its input is the same for every row."
    )
    eval_cause = (
        "scores differ in training but not in validation: eval mode makes them equal (batch-norm statistics "
        "that exploded, or rows that only dropout set apart), or the validation input is constant."
    )
    remedy = (
        "restart from an earlier checkpoint with a tenth of the learning rate, or with a learning-rate "
        "warmup; dead units get no gradient and do not recover. If it returns, use LeakyReLU or GELU, or "
        "clip gradients."
    )
    never_remedy = (
        "compare the input of the last layer for two different rows, initialise the head's weights, and "
        "check that the optimizer has its parameters."
    )
    eval_remedy = (
        "compare the scores of one batch in train and in eval mode; then check the running statistics of "
        "the batch norms and the validation input, or lower the learning rate if units are dead."
    )

    readings: int = threshold(
        3,
        "Looks and evaluations, together, that are constant in a row: all of 10 dead networks were found "
        "with 3, and none of 30 others.",
    )
    settle_steps: int = threshold(
        50,
        "Steps before the first verdict: a head of zeros, with the slowest start that was tried, had a "
        "range of 3e-5 at step 20, above `rounding`.",
    )
    settle_share: float = threshold(
        0.5,
        "Share of a run of known length that takes the place of `settle_steps` where it is shorter: a run "
        "of 20 steps gets its verdict before its end.",
    )
    rounding: float = threshold(
        1e-6,
        "Range of log-odds, absolute and relative, that is rounding: float32 resolves 1.2e-7, and sums lose "
        "a digit.",
    )
    rows: float = threshold(
        8.0,
        "Rows of a batch that differ from each other, if the model lets them: of fewer, all may be the same "
        "by chance.",
    )

    def examine(self, window: Window) -> Verdict:
        """Count constant looks and evaluations from the newest back."""
        total = window.run.total_steps
        settled = min(self.settle_steps, int(self.settle_share * total)) if total else self.settle_steps
        steps = window.step - window.run.start_step + 1
        if steps < settled:
            return Skipped(
                f"too early: judged from step {window.run.start_step + settled - 1} on (now {window.step})"
            )
        quantiles, constant = self._looks(window)
        if not len(quantiles):
            return Skipped(
                f"no recorded batch has {self.rows:.0f} rows with finite scores, all of them in the pool"
            )
        looks = _in_a_row(constant)
        evaluations = _in_a_row(self._evaluations(window, quantiles.shape[1]))
        sick = looks + evaluations >= self.readings
        if sick.all() and len(sick) > 1:
            return self._findings(window, looks, evaluations, [0], whole=True)
        return self._findings(window, looks, evaluations, classes_of(sick), whole=False)

    def _looks(self, window: Window) -> tuple[Floats, Bools]:
        """Quantiles of the looks that count, [T, C, Q], and whether the scores are constant, [T, C]."""
        series = window.series("live_score_quantiles")
        rows = held(window, "live_pos_count", series.steps) + held(window, "live_neg_count", series.steps)
        counts = rows.max(axis=1) >= self.rows
        if window.has("nonfinite_count"):
            counts &= held(window, "nonfinite_count", series.steps) == 0.0
        cap = window.config("max_pool_size")
        if cap is not None and window.has("pool_size"):
            # Of a pool that was drawn down, they are those of the live rows that were drawn: one, say.
            counts &= held(window, "pool_size", series.steps) < float(cap)
        quantiles = series.values[counts]
        low, high = quantiles[..., LEAST], quantiles[..., MOST]
        size = np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
        return quantiles, np.asarray(high - low <= self.rounding * size)

    def _evaluations(self, window: Window, classes: int) -> Bools:
        """Whether all rows were tied, evaluation by evaluation, [E, C]."""
        names = ("auroc", "average_precision", "positive_rate")
        auroc, precision, rate = (window.eval_series(name).values for name in names)
        if not auroc.shape == precision.shape == rate.shape or auroc.shape[1:] != (classes,):
            return np.zeros((0, classes), np.bool_)
        tied: Bools = (np.abs(auroc - 0.5) <= self.rounding) & (np.abs(precision - rate) <= self.rounding)
        # With no positives, or no negatives, nothing was ranked: nan is no evidence, and no exception.
        return tied[np.isfinite(auroc).all(axis=1)]

    def _findings(
        self, window: Window, looks: Floats, evaluations: Floats, classes: list[int], *, whole: bool
    ) -> Iterator[Evidence]:
        quantiles, constant = self._looks(window)
        steps = window.series("live_score_quantiles").steps[-len(quantiles) :]
        for index in classes:
            count = int(looks[index])
            values = {"looks": count, "evaluations": evaluations[index]}
            if count:
                newest = quantiles[-count:, index]
                values |= {
                    "spread": (newest[:, MOST] - newest[:, LEAST]).max(),
                    "score": newest[-1, MOST],
                    "since": steps[-count],
                }
            never = count == len(constant)
            symptom = self.symptom if count else self.eval_symptom
            alone = not whole and len(looks) > 1
            yield Evidence(
                values,
                index if alone else None,
                symptom="in {class_label}, " + symptom if alone else symptom,
                cause=(self.never_cause if never else None) if count else self.eval_cause,
                remedy=(self.never_remedy if never else None) if count else self.eval_remedy,
            )


def _in_a_row(constant: Bools) -> Floats:
    """How many of the newest are constant without an exception, [T, C] to [C]."""
    result: Floats = np.logical_and.accumulate(constant[::-1], axis=0).sum(axis=0).astype(np.float64)
    return result
