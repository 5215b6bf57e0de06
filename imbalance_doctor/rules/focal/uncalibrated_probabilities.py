"""IMB104: the probabilities of a focal loss are not those of the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import FOCAL, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, in_warmup

_METRICS = ("calibration_error", "mean_probability", "positive_rate", "rows")


@dataclass(frozen=True)
class UncalibratedProbabilities(Rule):
    """Predicted probabilities are far from observed frequencies, as a focal loss makes them.

    ## Symptom
    On validation data the mean probability is not the positive rate, or the calibration error is high. The
    order of the scores, and so every ranking metric, is untouched.

    ## Cause
    The focal loss ignores rows that are nearly right, and nothing moves a probability of 0.1 on to 0.01;
    alpha shifts all of them. Its minimum is not at the true probabilities.

    ## Remedy
    None is needed where only the order counts. Before the numbers are used as probabilities (expected costs,
    thresholds by cost), calibrate on held-out data: Platt scaling, or isotonic regression.

    ## Evidence
    In the last two evaluations the mean probability differs from the positive rate by half the rate and three
    standard errors, or the calibration error is above 0.1. Calibration error at a rate of 5 %, 500 steps, 2
    seeds (Gaussian data / digits): BCE .001 / .002, focal with gamma 2 .04 / .02 at alpha 0.25 and .06 / .02
    at 0.75, gamma 5 .14 / .07 and .18 / .07; their APs were within .04 of each other, or better. Of 28
    ordinary runs with evaluations, BCE was within .06 and, but for one at a rate of 5 % in the first 100
    steps, within a half of the rate; 7 of 14 sigmoid focal runs were 1.6 to 3.7 times the rate.

    ## Known problems
    Probabilities from a loader that samples positives more often than they occur are biased for that reason
    under any loss; the same calibration fixes them.

    ## References
    Mukhoti et al., *Calibrating Deep Neural Networks using Focal Loss*, NeurIPS 2020. Charoenphakdee et
    al., *On Focal Loss for Class-Posterior Probability Estimation*, CVPR 2021.
    """

    code = "IMB104"
    name = "uncalibrated-probabilities"
    severity = "info"
    kinds = FOCAL
    requires = ()
    requires_eval = _METRICS
    explained_by = ("IMB001", "IMB703")

    symptom = (
        "the mean validation probability of {class_label} is {mean_probability:.2g} at a positive rate of "
        "{positive_rate:.2g}; the calibration error is {calibration_error:.2g}."
    )
    cause = "the minimum of a focal loss is not at the true probabilities."
    remedy = (
        "none is needed where only the order counts; calibrate on held-out data (Platt scaling, isotonic "
        "regression) before using the scores as probabilities."
    )

    bias: float = threshold(
        0.5,
        "Difference of mean probability and rate, in rates, that counts as a bias: BCE was within a half in "
        "all ordinary runs but one, in its first 100 steps; 7 of 14 sigmoid focal runs were at 1.6 to 3.7 "
        "times the rate.",
    )
    error: float = threshold(
        0.1,
        "Calibration error that is high without a bias: BCE was within .06, focal with gamma 5 at .07 to "
        ".18.",
    )
    certainty: float = threshold(
        3.0, "Standard errors of the observed rate that the bias must exceed: 3 is a chance of one in 700."
    )
    evaluations: int = threshold(
        2, "Evaluations in a row that must show it: in the first ones nothing is calibrated yet."
    )

    def examine(self, window: Window) -> Verdict:
        """Look at the newest evaluations."""
        series = [window.eval_series(name).values[-self.evaluations :] for name in _METRICS]
        if len(series[0]) < self.evaluations or in_warmup(window):
            return []
        biased: Bools = np.logical_and.reduce(self._uncalibrated(*series), axis=0)
        return self._findings([values[-1] for values in series], classes_of(biased)) if biased.any() else []

    def _uncalibrated(self, error: Floats, probability: Floats, rate: Floats, rows: Floats) -> Bools:
        # A class without positives has no rate; nan compares as False.
        bias = np.abs(probability - rate)
        certain = bias * bias * rows > self.certainty**2 * rate
        result: Bools = (rate > 0) & ((certain & (bias > self.bias * rate)) | (error > self.error))
        return result

    @staticmethod
    def _findings(values: list[Floats], classes: list[int]) -> Iterator[Evidence]:
        for index in classes:
            yield Evidence({name: v[index] for name, v in zip(_METRICS, values, strict=True)}, index)
