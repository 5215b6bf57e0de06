"""IMB011: a loss that expects logits is given the output of a sigmoid or a softmax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, SOFTMAX, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, held
from imbalance_doctor.rules.measures.scores import LEAST, MOST, Q05, Q95
from imbalance_doctor.rules.measures.weights import odds_of, positive_weight


@dataclass(frozen=True)
class DoubleActivation(Rule):
    """The model ends in a sigmoid or a softmax, and the loss applies it again.

    ## Symptom
    No score of any record leaves the range of a probability: 0 to 1 where the loss applies a sigmoid, and
    where it applies a softmax the log-odds that a row of probabilities has as logits (-1 to 1 for two
    classes). They crowd at the end of it that is nearest to the rate. With a sigmoid the default decision
    (score >= 0) calls every row positive, and the loss stays near ln 2.

    ## Cause
    The last layer is `nn.Sigmoid`, `nn.Softmax` or another activation with that range, before
    `BCEWithLogitsLoss`, `CrossEntropyLoss` or a focal loss, which apply their own. The probability that the
    loss sees is then 0.5 to 0.73, or e / (e + C - 1) at the most for C classes, for every row; and the
    gradient vanishes at both ends of the first activation.

    ## Remedy
    Remove the activation from the model in training, and apply it to predictions only. Or keep a sigmoid and
    use `nn.BCELoss`; keep a softmax, take its logarithm and use `nn.NLLLoss`.

    ## Evidence
    All of these, over the window's looks at the scores (at least 3 after 50 steps, with 100 rows in all):

    - Every minimum and maximum is in the range. Under a softmax, the score of class c is its log-odds
      z_c - logsumexp of the others. For z on the simplex it is largest at z_c = 1, where it is 1 - ln(C - 1),
      and smallest where another class has all, where it is -ln(C - 2 + e): by convexity, the logsumexp of
      others with a given sum is largest at a corner and smallest where they are equal.
    - In each of the newest 3 looks 5 % of the rows lie within 5 % of the range at one of its ends, while the
      odds of the class, times its weight, are beyond that end by a factor of 1.5: a model that knows the
      rate and nothing else has scores outside. Or, whatever the odds, the smallest score is within 0.5 % of
      the lower end in at least half of the newest 6 looks, or the largest within 0.5 % of the upper one.
      Logits have tails, which cross an end as soon as they come near to it: extremes of 128 logits with that
      range differ by 7 % of it from batch to batch.

    It is an error where validation says the same: the newest evaluation calls every row positive.

    MLPs on Gaussian data, batch 128, Adam at 1e-3 to 1e-2 and SGD at 0.1, 600 steps, 4 seeds, 124 pairs.
    Two activations: found in all runs at rates of 1 to 20 % and with a class of 90 or 95 %, at step 90 to
    540; at 50 % and with balanced classes where their means are 2 apart, and in few where they are 0.5 apart
    (AUROC .64). Without the second activation: in none; nor in runs whose outputs went through a ReLU (beyond
    1), tanh or a clip to -1 to 1, with heads of zeros, untrained models, weak data and weights. Of 67 runs on
    balanced data that hardly separate, 17 had all scores inside, and none touched an end often enough.

    ## Known problems
    While scores are still in the middle of the range (a small learning rate), it cannot be told from a model
    that has hardly begun. On balanced data that hardly separate, an activation may saturate at no end. A ReLU
    whose outputs stay below 1 looks like a sigmoid, and does the same harm.

    ## References
    PyTorch, `BCEWithLogitsLoss`: "combines a Sigmoid layer and the BCELoss in one single class".
    """

    code = "IMB011"
    name = "double-activation"
    severity = "warning"
    kinds = LIKELIHOOD
    requires = ("live_score_quantiles", "live_pos_count", "live_neg_count")
    explained_by = ("IMB001",)

    symptom = (
        "all scores of {loss} in {looks:,.0f} recorded batches since step {first_step:,.0f} are between "
        "{lowest:.3g} and {highest:.3g}: they never leave {least:.3g} to {most:.3g}, the range of scores "
        "that are probabilities already."
    )
    cause = (
        "most likely the model ends in a sigmoid (or another activation with outputs from 0 to 1), and the "
        "loss applies a sigmoid again: its probability is never below 0.5, so every row is called positive."
    )
    softmax_cause = (
        "most likely the model ends in a softmax, and the loss applies a softmax again: no class can have a "
        "probability above {most_probability:.2g}, or below {least_probability:.2g}."
    )
    remedy = (
        "remove the sigmoid at the end of the model and give the loss logits; or keep it and use nn.BCELoss."
    )
    softmax_remedy = (
        "remove the softmax at the end of the model and give the loss logits; or take log_softmax there and "
        "use nn.NLLLoss."
    )

    looks: int = threshold(
        3, "Looks at the scores that must agree: the range of one batch may lie inside by luck."
    )
    more_looks: int = threshold(
        6,
        "Looks, half of them near an end by `extreme`: logits whose extremes are near an end lie beyond it "
        "in some batch.",
    )
    settle_steps: int = threshold(
        50,
        "Steps before the first verdict: a head of zeros and a model that has just been initialised have "
        "left the range by then, or moved inside it.",
    )
    rows: float = threshold(
        100.0,
        "Rows that must have been seen before the first verdict: the scores of a few may all lie in the "
        "range.",
    )
    end: float = threshold(
        0.05,
        "Share of the range that counts as one of its ends, for 5 % of the rows: probabilities of a rare "
        "class crowd there.",
    )
    extreme: float = threshold(
        0.005,
        "The same for the smallest and the largest score: extremes of 128 logits with that range differ by "
        "7 % of it from batch to batch, those of probabilities touch the end.",
    )
    beyond: float = threshold(
        1.5,
        "Factor between the weighted odds of a class and an end of the range, from which a model that knows "
        "the rate alone lies outside: room for the error of the odds.",
    )
    rounding: float = threshold(
        0.01, "Rounding of log-odds of a softmax in bfloat16: its probabilities are rounded by 0.4 % each."
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the scores with the range that a probability has."""
        series = window.series("live_score_quantiles")
        quantiles = series.values
        first = window.run.start_step + self.settle_steps
        if len(series) < self.looks or window.step < first:
            return Skipped(
                f"too early: judged from step {first} on (now {window.step}) and from {self.looks} records "
                f"with scores on (now {len(series)})"
            )
        softmax = window.kind in SOFTMAX
        classes = quantiles.shape[1]
        if softmax and classes < 2:
            return []
        least, most = _range(classes) if softmax else (0.0, 1.0)
        slack = self.rounding if softmax else 0.0
        lowest, highest = quantiles[..., LEAST], quantiles[..., MOST]
        if not ((lowest >= least - slack) & (highest <= most + slack)).all():
            return []
        positives, negatives = (
            held(window, name, series.steps) for name in ("live_pos_count", "live_neg_count")
        )
        enough = (positives + negatives).sum(axis=0).max() >= self.rows
        if not enough or not (highest > lowest).any():  # one number for all rows is no activation's doing
            return []
        if not self._crowded(window, quantiles, least, most).any():
            return []
        return self._findings(window, lowest.min(), highest.max(), least, most, softmax)

    def _crowded(self, window: Window, quantiles: Floats, least: float, most: float) -> Bools:
        """Classes whose scores crowd at an end of the range that no model would choose, or touch one, [C]."""
        span = most - least
        newest, more = quantiles[-self.looks :], quantiles[-self.more_looks :]
        low = (newest[..., Q05] <= least + self.end * span).all(axis=0)
        high = (newest[..., Q95] >= most - self.end * span).all(axis=0)
        odds = odds_of(window)
        weight = positive_weight(window, odds)
        total = odds if weight is None else odds * weight
        crowded: Bools = low & (total * self.beyond <= np.exp(least))
        crowded |= high & (total >= self.beyond * np.exp(most))
        if len(more) == self.more_looks:
            at_least = (more[..., LEAST] <= least + self.extreme * span).mean(axis=0)
            at_most = (more[..., MOST] >= most - self.extreme * span).mean(axis=0)
            crowded |= np.maximum(at_least, at_most) >= 0.5
        return crowded

    def _findings(
        self, window: Window, lowest: float, highest: float, least: float, most: float, softmax: bool
    ) -> Iterator[Evidence]:
        steps = window.series("live_score_quantiles").steps
        yield Evidence(
            {
                "looks": len(steps),
                "first_step": steps[0],
                "lowest": lowest,
                "highest": highest,
                "least": least,
                "most": most,
                "least_probability": 1.0 / (1.0 + np.exp(-least)),
                "most_probability": 1.0 / (1.0 + np.exp(-most)),
            },
            severity="error" if not softmax and _all_called_positive(window) else None,
            cause=self.softmax_cause if softmax else None,
            remedy=self.softmax_remedy if softmax else None,
        )


def _range(classes: int) -> tuple[float, float]:
    """The log-odds that a class can have against the others where logits are probabilities."""
    return -float(np.log(classes - 2.0 + np.e)), 1.0 - float(np.log(classes - 1.0))


def _all_called_positive(window: Window) -> bool:
    """Whether the newest evaluation calls each row of each class positive."""
    names = ("recall_at_default", "precision_at_default", "positive_rate")
    found = [window.eval_series(name).last(1).values for name in names]
    if not all(len(each) for each in found) or len({each.shape for each in found}) > 1:
        return False
    recall, precision, rate = found
    known = np.isfinite(recall)
    everything = (recall >= 1.0) & (precision <= rate * (1.0 + 1e-5))  # recorded in float32
    return bool(known.any() and everything[known].all())
