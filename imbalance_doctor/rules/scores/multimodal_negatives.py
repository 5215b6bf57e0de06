"""IMB008: the negatives' scores fall into separate clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of


@dataclass(frozen=True)
class MultimodalNegatives(Rule):
    """The histogram of the negatives' scores has two hills with a valley between them.

    ## Symptom
    `neg_score_hist` shows two or more separate hills. Quantiles and interquartile ranges of such scores
    describe none of them.

    ## Cause
    Negatives of different kinds: easy ones from one source and hard ones from another, two data sets in one
    loader, background and near misses.

    ## Remedy
    None is needed. Look at a few rows of each hill; if the lower one is trivial, its rows teach nothing, and
    drawing fewer of them saves time.

    ## Evidence
    In the newest two histograms, a bin between two hills that each hold 10 % of the negatives is lower than
    half of the lower hill, by 4 standard errors of its count. Of 148 ordinary runs none had that.

    Negatives of two sources were made in two ways, at a rate of 5 % (2 seeds, 300 steps). A feature that
    marks half or 90 % of them showed in the scores of 5 of 90 runs (BCE and focal on sequences): losses that
    rank have no reason to push easy negatives further down. Sources on opposite sides of the ordinary
    negatives showed in all. AP was within .04 of that of plain negatives in every case, so that it is
    information: positives between two hills are no worse off.

    ## Known problems
    Of several balanced classes each has the others as negatives, and hills are what one expects.

    ## References
    Shrivastava, Gupta & Girshick, *Training Region-based Object Detectors with Online Hard Example Mining*,
    CVPR 2016.
    """

    code = "IMB008"
    name = "multimodal-negatives"
    severity = "info"
    kinds = RANKING | LIKELIHOOD
    requires = ("neg_score_hist", "score_hist_edges")
    explained_by = ("IMB001", "IMB006", "IMB402")

    symptom = (
        "the scores of {class_label}'s negatives fall into two clusters: {lower_percent:.0f} % below "
        "{valley:.3g}, the rest above, and few between."
    )
    cause = "negatives of different kinds, such as easy and hard ones."
    remedy = (
        "none is needed; look at a few rows of each cluster, and draw fewer rows of a cluster that is "
        "trivial."
    )

    valley: float = threshold(
        0.5,
        "Rows in the valley, over those in the lower of the two hills: none of 148 ordinary runs had a "
        "valley this deep.",
    )
    certainty: float = threshold(
        4.0,
        "Standard errors of a Poisson count by which that hill must be higher than the valley: over 40 bins "
        "and many looks, 2 or 3 happen by chance.",
    )
    share: float = threshold(
        0.1,
        "Share of the negatives in the smaller of the two clusters: fewer are outliers, which are IMB007's.",
    )
    negatives: float = threshold(
        200.0, "Negatives that a histogram of 40 bins must hold: 5 a bin, below which its counts say little."
    )
    histograms: int = threshold(2, "Histograms in a row that must show it: one may be the luck of a batch.")

    def examine(self, window: Window) -> Verdict:
        """Look for a valley in the newest histograms."""
        counts = window.series("neg_score_hist").values[-self.histograms :]
        deep = self._valleys(counts[-1])
        sick: Bools = np.logical_or.reduce(deep, axis=-1)
        if not sick.any() or len(counts) < self.histograms:
            return []
        sick &= self._valleys(counts[:-1]).any(axis=-1).all(axis=0)
        return self._findings(window, counts[-1], deep, classes_of(sick))

    def _valleys(self, counts: Floats) -> Bools:
        """Bins with a hill on either side and little in between, [..., bins - 2]."""
        total = counts.sum(axis=-1)[..., None]
        # The end bins also count the 1 % that lies beyond, which is no hill.
        ends = np.zeros(counts.shape[-1])
        ends[[0, -1]] = 0.01
        own = np.maximum(counts - ends * total, 0.0)
        smooth = own[..., :-2] + own[..., 1:-1] + own[..., 2:]
        left = np.maximum.accumulate(smooth, axis=-1)
        right = np.maximum.accumulate(smooth[..., ::-1], axis=-1)[..., ::-1]
        hill = np.minimum(left, right)
        valleys: Bools = smooth < np.minimum(self.valley * hill, hill - self.certainty * np.sqrt(hill))
        upto = own.cumsum(axis=-1)[..., 1:-1]
        valleys &= (upto >= self.share * total) & (upto <= (1.0 - self.share) * total)
        valleys &= total >= self.negatives
        return valleys

    @staticmethod
    def _findings(window: Window, counts: Floats, deep: Bools, classes: list[int]) -> Iterator[Evidence]:
        edges = window.series("score_hist_edges").values[-1]
        for index in classes:
            bins = np.flatnonzero(deep[index]) + 1
            middle = int(bins[len(bins) // 2])
            lower = counts[index, : middle + 1].sum() / counts[index].sum()
            yield Evidence({"lower_percent": 100.0 * lower, "valley": edges[index, middle]}, index)
