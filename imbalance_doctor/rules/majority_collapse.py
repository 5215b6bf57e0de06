"""IMB009: nearly everything is predicted negative, and the rare class is never found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imbalance_doctor.findings import Severity, Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, SOFTMAX, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Bools, Floats, classes_of, in_warmup, mean, recent


@dataclass(frozen=True)
class MajorityCollapse(Rule):
    """The default decision finds none of the rare class, while accuracy looks excellent.

    ## Symptom
    `true_pos_count` is about 0 over tens of positives: recall at p >= 0.5 (or argmax) is nil. Accuracy is
    one minus the positive rate, which is 99.5 % at a rate of 0.5 %, and says nothing.

    ## Cause
    BCE and cross-entropy are lowest, under imbalance, where nearly everything is predicted negative.

    ## Remedy
    Class weights, a focal loss with a fitting alpha, or a ranking loss; judge by recall, precision and AP.

    ## Evidence
    The default decision finds at most 5 % of the newest 20 or more live positives, after 150 steps, of a
    class that is at most a quarter as frequent as what a collapsed model predicts. Every run under
    imbalance passes through that state, so until half of the run is over (280 steps at the least; 1,000
    where its length is unknown) a run is excused while it is on its way out, which the mean probabilities
    show (BCE, batch 256, Adam with 0.003, one seed):

    | positives / negatives at steps | 100-150 | 150-200 | 300-400 | 800-1,000 | recall at the end |
    |---|---|---|---|---|---|
    | Gaussian data, 0.5 % | .18 / .007 | .31 / .005 | .44 / .004 | .51 / .003 | .67 |
    | digits, 0.5 % | .03 / .004 | .06 / .005 | .30 / .003 | .42 / .002 | .17 |
    | overlapping Gaussians, 0.5 % | .03 / .012 | .02 / .008 | .02 / .007 | .02 / .005 | 0 |
    | sequences, 0.5 % | .013 / .013 | .009 / .009 | .005 / .005 | .010 / .006 | 0 |
    | sequences, 2 % | .02 / .02 | .02 / .02 | .02 / .02 | .20 / .017 | .10 |

    On its way out means: the negatives' probability is still that of the initial weights, or falling; or the
    positives' is above 0.1 and twice the negatives'; or the ratio of the two has grown by a quarter, or
    AUROC by 0.1, over the second half of the run so far.

    ## Known problems
    With a learning rate ten times smaller, runs that recover late (digits, 2 %: recall .36 after 1,000
    steps) are reported for a while and resolved. Where classes overlap so much that no row is more likely
    positive than not, missing them at p = 0.5 is right by Bayes' rule; the finding then says that the
    default decision is the wrong one to judge by. The warmup of a wrapper is not judged.

    ## References
    He & Garcia, *Learning from Imbalanced Data*, TKDE 2009.
    """

    code: ClassVar[str] = "IMB009"
    name: ClassVar[str] = "majority-collapse"
    severity: ClassVar[Severity] = "error"
    kinds: ClassVar[frozenset[str]] = LIKELIHOOD
    requires: ClassVar[tuple[str, ...]] = (
        "live_pos_count", "live_neg_count", "predicted_pos_count", "true_pos_count",
        "mean_p_true_pos", "mean_p_true_neg",
    )  # fmt: skip
    explained_by: ClassVar[tuple[str, ...]] = ("IMB001", "IMB703", "IMB005", "IMB106")

    symptom: ClassVar[str] = (
        "the default decision found {found:.0f} of the last {positives:.0f} positives of {class_label}, "
        "while {accuracy_percent:.2f} % of its decisions were right."
    )
    cause: ClassVar[str] = (
        "at a positive rate of {positive_rate:.2g}, a likelihood loss is lowest where nearly everything is "
        "predicted negative."
    )
    remedy: ClassVar[str] = (
        "weigh the positives (about {weight:.0f} to 1), use a focal loss with a fitting alpha, or a "
        "ranking loss; judge by recall, precision and average precision instead of accuracy."
    )

    #: Recall of the default decision, at or below which a class counts as never found: in healthy runs it
    #: was above 0.1 as soon as the positives' mean probability was above 0.2.
    recall: float = 0.05
    #: Live positives over which recall is taken: if it were 0.15, none in 20 has a chance of 4 %.
    positives: float = 20.0
    #: Rate, relative to the most frequent class, from which missing a class is not due to its rarity.
    rare: float = 0.25
    #: Steps before the first verdict: with a learning rate of 0.003 all but one of the healthy runs had left
    #: the start by 100, and that one by 150.
    settle_steps: int = 150
    #: Share of a run of known length (and the least number of steps), and steps of one of unknown length,
    #: after which being on the way out of collapse is no excuse any more. Runs of 200 and 300 steps in all
    #: were still on their way out when half of them was over.
    excuse_share: float = 0.5
    excuse_least: int = 280
    excuse_steps: int = 1000
    #: A mean probability of the negatives above this is still that of the initial weights; so is one that
    #: keeps falling (to below this share of its older level) and is more than twice the positive rate.
    initial: float = 0.2
    falling: float = 0.8
    #: Positives with this mean probability, and this many times that of the negatives, are about to be
    #: found: in healthy runs recall rose above 0.05 within 100 steps, in collapsed ones neither was reached.
    near: float = 0.1
    lift: float = 2.0
    #: Growth of that ratio over the second half of the run so far, from which the run is on its way out.
    #: 0.95 to 1.2 in collapsed runs, 1.3 to 4 in those that left.
    growth: float = 1.25
    #: Rise of AUROC over the same time from which the run is on its way out, if it is a standard error as
    #: well: 0.15 to 0.25 in runs that left. Of a collapsed class with 20 positives a half it moves by 0.09,
    #: but with one look at 3 positives by 0.2.
    ordering: float = 0.1

    def examine(self, window: Window) -> Verdict:
        """Accumulate decisions until they cover enough positives; excuse those that are leaving."""
        if in_warmup(window):
            return Skipped("the warmup loss of a wrapper; the ranking loss that follows needs no threshold")
        steps = window.step - window.run.start_step
        if steps < self.settle_steps:
            return Skipped(f"step {steps} of the {self.settle_steps} that a run may need to leave its start")
        live = window.series("live_pos_count").values
        newest = live[::-1].cumsum(axis=0)
        enough = newest[-1] >= self.positives
        if not enough.any():
            return Skipped(f"{newest[-1].max():.0f} of {self.positives:.0f} positives seen")
        # For each class, the newest records that hold enough positives.
        last = (newest < self.positives).sum(axis=0).clip(max=len(newest) - 1)
        hits = window.series("true_pos_count").values[::-1].cumsum(axis=0)
        columns = np.arange(live.shape[1])
        positives, found = newest[last, columns], hits[last, columns]
        sick = enough & (found <= self.recall * positives)
        if not sick.any():
            return []
        rates = self._rates(window)
        sick &= rates < self.rare * self._majority(window, rates)
        total = window.run.total_steps
        excused = max(self.excuse_share * total, self.excuse_least) if total else self.excuse_steps
        if steps < excused:
            sick &= ~self._leaving(window, steps, rates)
        return self._findings(window, positives, found, rates, classes_of(sick))

    @staticmethod
    def _rates(window: Window) -> Floats:
        positives = window.series("live_pos_count").values.sum(axis=0)
        negatives = window.series("live_neg_count").values.sum(axis=0)
        rates: Floats = positives / (positives + negatives).clip(1.0)
        return rates

    @staticmethod
    def _majority(window: Window, rates: Floats) -> Floats:
        """The rate of the class that a collapsed model would predict."""
        if window.kind in SOFTMAX and len(rates) > 1:
            return np.full_like(rates, rates.max())
        others: Floats = 1.0 - rates
        return others

    def _leaving(self, window: Window, steps: int, rates: Floats) -> Bools:
        """Classes that are still at their start, about to be found, or separating more and more."""
        steps_of = window.series("mean_p_true_pos").steps
        half = int(np.searchsorted(steps_of, window.run.start_step + steps // 2))
        counts = window.series("live_pos_count").values[half:]
        of_positives = np.nan_to_num(window.series("mean_p_true_pos").values[half:]) * counts
        of_negatives = 1.0 - window.series("mean_p_true_neg").values[half:]
        middle = max(len(counts) // 2, 1)
        older = _ratio(of_positives[:middle], counts[:middle], of_negatives[:middle])
        newer = _ratio(of_positives[middle:], counts[middle:], of_negatives[middle:])
        before, negatives = mean(of_negatives[:middle]), mean(of_negatives[middle:])
        leaving: Bools = negatives > self.initial
        leaving |= (negatives > 2.0 * rates) & (negatives < self.falling * before)
        leaving |= (newer >= self.lift) & (newer * negatives >= self.near)
        leaving |= newer >= self.growth * older
        if window.has("pool_auroc"):
            leaving |= self._ordering(
                window, *steps_of[[half, min(half + middle, len(steps_of) - 1)]].tolist()
            )
        return leaving

    def _ordering(self, window: Window, begin: int, middle: int) -> Bools:
        """Classes whose AUROC from `middle` on is above that from `begin` (or the look before) to there."""
        order, live = window.aligned("pool_auroc", "live_pos_count")
        seen = order.steps[order.steps <= begin][-1:]
        order, live = (each.since(int(seen[0]) if len(seen) else begin) for each in (order, live))
        # Weighted by positives; where a record has none, its AUROC is nan and counts for nothing.
        weighted = np.nan_to_num(order.values) * live.values
        early, late = order.steps < middle, order.steps >= middle
        before, after = (live.values[part].sum(axis=0).clip(1.0) for part in (early, late))
        rise = weighted[late].sum(axis=0) / after - weighted[early].sum(axis=0) / before
        # That of a random order of this many positives among many negatives.
        error = np.sqrt((1.0 / before + 1.0 / after) / 12.0)
        rising: Bools = rise >= np.maximum(self.ordering, error)
        return rising

    def _findings(
        self, window: Window, positives: Floats, found: Floats, rates: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        predicted = recent(window, "predicted_pos_count").sum(axis=0)
        hits = recent(window, "true_pos_count").sum(axis=0)
        seen = recent(window, "live_pos_count").sum(axis=0)
        rows = seen + recent(window, "live_neg_count").sum(axis=0)
        wrong = (predicted - hits) + (seen - hits)
        for index in classes:
            yield Evidence(
                {
                    "found": float(found[index]),
                    "positives": float(positives[index]),
                    "accuracy_percent": 100.0 * float(1.0 - wrong[index] / rows[index]),
                    "positive_rate": float(rates[index]),
                    "weight": float((1.0 - rates[index]) / rates[index]),
                },
                index,
            )


def _ratio(weighted: Floats, counts: Floats, negatives: Floats) -> Floats:
    """Mean probability of the positives over that of the negatives."""
    ratio: Floats = weighted.sum(axis=0) / counts.sum(axis=0).clip(1.0) / mean(negatives).clip(1e-9)
    return ratio
