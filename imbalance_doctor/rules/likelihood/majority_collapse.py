"""IMB009: nearly everything is predicted negative, and the rare class is never found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import LIKELIHOOD, SOFTMAX, Evidence, Rule, TooFew, Verdict, threshold
from imbalance_doctor.rules.measures.pool import Bools, Floats, classes_of, in_warmup, mean
from imbalance_doctor.rules.measures.weights import odds_of, positive_weight


@dataclass(frozen=True)
class _Decisions:
    """What the default decision made of the positives of each class, [C]."""

    positives: Floats
    found: Floats
    #: Share of right decisions on the rows that these positives are of.
    accuracy: Floats
    #: Whether these are rows of the newest evaluation, and not of training batches.
    validated: Bools
    #: Whether it is known to find next to none of them.
    missed: Bools


@dataclass(frozen=True)
class MajorityCollapse(Rule):
    """The default decision finds none of the rare class, while accuracy looks excellent.

    ## Symptom
    `true_pos_count` is about 0 over tens of positives: recall at p >= 0.5 (or argmax) is nil. Accuracy is
    one minus the positive rate, which is 99.5 % at a rate of 0.5 %, and says nothing.

    ## Cause
    Under imbalance, BCE and cross-entropy are low already where nearly everything is predicted negative.

    ## Remedy
    Where the scores rank the class, choose the threshold on validation data, or weigh the positives. Where
    they do not, use class weights, a focal loss with a fitting alpha, or a ranking loss. Where weights are
    set already, look at the learning rate, weight decay and the loader. Judge by recall, precision and AP.

    ## Evidence
    The default decision finds next to none of a class that is at most a quarter as frequent as what a
    collapsed model predicts: in the two newest evaluations, where they hold enough of its positives, and else
    of the live positives since a third of the run so far. Next to none is one less than 5 % of them, and
    enough are as many as would hide a recall of 0.12, which runs had as they left, with a chance of 4 % over
    all classes together: 26 for one class, 43 for ten.

    Every run under imbalance passes through that state, so until half of the run is over (280 steps at the
    least; 1,000 where its length is unknown) the finding is information, and a run is excused while it is on
    its way out, which the mean probabilities show (BCE, batch 256, Adam with 0.003, one seed):

    | positives / negatives at steps | 100-150 | 150-200 | 300-400 | 700-800 | recall at the end |
    |---|---|---|---|---|---|
    | Gaussian data, 0.5 % | 0.3 / 0.006 | 0.3 / 0.004 | 0.6 / 0.002 | 0.7 / 0.003 | .63 |
    | digits, 0.5 % | 0.02 / 0.006 | 0.1 / 0.005 | 0.3 / 0.003 | 0.5 / 0.003 | .43 |
    | overlapping Gaussians, 0.5 % | 0.03 / 0.01 | 0.02 / 0.007 | 0.02 / 0.005 | 0.04 / 0.005 | .00 |
    | sequences, 2 % | 0.02 / 0.02 | 0.02 / 0.02 | 0.02 / 0.02 | 0.2 / 0.02 | .13 |

    On its way out means: the negatives' probability is still that of the initial weights, or falling; or the
    positives' is above 0.1 and twice the negatives'; or the ratio of the two has grown by a quarter, or
    AUROC by 0.1, over the second half of the run so far. A flat start and a collapse look alike (a series
    model had AUROC .5 at step 190 and AP 1.0 at step 1,000), hence the information until then.

    From then on it is an error where the scores do not rank the class (AUROC of validation, or of the pool,
    within three standard errors of 0.5, or below 0.6), a warning where they do, and information while
    validation precision still rises: a slow run is not a lost one. It is information as well where nothing
    is lost by training on: the scores rank the class, the newest validation precision is the best one within
    a standard error, over 3 evaluations at least, and the mean probabilities of the newest two are no lower
    than the rate by a quarter; then only the threshold is off. Overlapping classes with AUROC .84 and a
    recall of 0, at rates of 1 to 20 %, reached the AP of the best possible model (.09 of .09, .34 of .34, .29
    of .29), and weights changed nothing but the threshold.

    ## Known problems
    Where classes overlap so much that no row is more likely positive than not, missing them at p = 0.5 is
    right by Bayes' rule; the finding then says that the default decision is the wrong one to judge by.
    Without validation data this cannot be told from a collapse that could be helped, and is a warning. The
    warmup of a wrapper is not judged.

    ## References
    He & Garcia, *Learning from Imbalanced Data*, TKDE 2009.
    """

    code = "IMB009"
    name = "majority-collapse"
    severity = "error"
    kinds = LIKELIHOOD
    requires = (
        "live_pos_count", "live_neg_count", "predicted_pos_count", "true_pos_count",
        "mean_p_true_pos", "mean_p_true_neg",
    )  # fmt: skip
    explained_by = (
        "IMB001", "IMB002", "IMB010", "IMB011", "IMB016", "IMB020", "IMB703", "IMB005", "IMB106", "IMB701",
        "IMB704",
    )  # fmt: skip

    symptom = (
        "the default decision found {found:.0f} of the last {positives:.0f} positives of {class_label} in "
        "training, while {accuracy_percent:.2f} % of its decisions on the same batches were right."
    )
    validated_symptom = (
        "the default decision found {found:.0f} of the {positives:.0f} positives of {class_label} in "
        "validation, while {accuracy_percent:.2f} % of its decisions there were right."
    )
    counted_symptom = (
        "the default decision found {found:.0f} of the {positives:.0f} positives of {class_label} in "
        "validation."
    )
    cause = (
        "at a positive rate of {positive_rate:.2g}, a likelihood loss is low already where everything is "
        "predicted negative."
    )
    remedy = (
        "weigh the positives (about {weight:,.0f} to 1), use a focal loss with a fitting alpha, or a "
        "ranking loss; judge by recall, precision and average precision instead of accuracy."
    )
    ranked_cause = (
        "the scores do rank the class (AUROC {auroc:.2f}), but at a positive rate of {positive_rate:.2g} "
        "hardly any of its rows reaches p = 0.5, the threshold of the default decision."
    )
    ranked_remedy = (
        "choose the threshold on validation data, for the recall or the precision that is needed; or weigh "
        "the positives (about {weight:,.0f} to 1). Judge by average precision instead of accuracy."
    )
    settled_cause = (
        "the scores rank the class (AUROC {auroc:.2f}, average precision {precision:.2g}, {best:.2g} at its "
        "best), and probabilities are not too low (a mean of {mean_probability:.2g} at a rate of "
        "{judged_rate:.2g}): most likely the classes overlap, and hardly any row is more likely positive "
        "than not."
    )
    settled_remedy = (
        "choose the threshold on validation data, for the recall or the precision that is needed; weights "
        "would move the probabilities but hardly the ranking. Judge by average precision."
    )
    weighted_remedy = (
        "look at the learning rate, at weight decay, and at what the loader delivers; overfit one batch. "
        "Positives weigh {weight_now:,.4g} to 1 already, so their weight is not the cause."
    )

    recall: float = threshold(
        0.05,
        "Recall of the default decision, below which a class counts as never found: in healthy runs it was "
        "above 0.1 as soon as the positives' mean probability was above 0.2.",
    )
    hidden: float = threshold(
        0.12,
        "Recall that may hide behind finding none, which decides with `chance` how many positives it takes: "
        "runs that left the collapse had 0.12 as they did.",
    )
    chance: float = threshold(
        0.04,
        "Chance that such a recall hides, over all classes together: it makes 26 positives for one class "
        "and 43 for ten.",
    )
    weighted: float = threshold(
        0.3,
        "Share of the prescribed weight from which positives count as weighted already: within a factor of "
        "three it is one that was meant to balance.",
    )
    ranked: float = threshold(
        0.6,
        "AUROC from which a class is ranked, so that the finding is no error: an order below it is hardly "
        "better than a random one.",
    )
    errors: float = threshold(
        3.0, "Standard errors by which that AUROC must be above 0.5: 3 is a chance of one in 700."
    )
    rising: float = threshold(
        1.25,
        "Growth of validation precision since the middle evaluation, from which it still rises, if it is a "
        "standard error as well: the rows are the same each time, so that most of the error cancels. Runs "
        "that needed most of their steps grew by 1.3 and more to the end; those that had settled by less "
        "than 1.1.",
    )
    evaluations: int = threshold(
        3,
        "Evaluations from which validation precision is known to have settled: one of them is at half of "
        "the run.",
    )
    short: float = threshold(
        0.25,
        "How far the mean probability may be below the rate, relative to it: models at the Bayes optimum "
        "were by up to 0.15 (or were still coming down to it), and one with validation data of another "
        "scale by 1.",
    )
    rare: float = threshold(
        0.25,
        "Rate, relative to the most frequent class, from which missing a class is not due to its rarity: a "
        "class that is a quarter as frequent is not rare.",
    )
    settle_steps: int = threshold(
        150,
        "Steps before the first verdict: with a learning rate of 0.003 all but one of the healthy runs had "
        "left the start by 100, and that one by 150.",
    )
    excuse_share: float = threshold(
        0.5,
        "Share of a run of known length, after which a run on its way out is no longer excused: half of it "
        "is left to act in.",
    )
    excuse_least: int = threshold(
        280,
        "Steps that the excuse lasts at the least: runs of 200 and 300 steps in all were still on their way "
        "out when half of them was over.",
    )
    excuse_steps: int = threshold(
        1000,
        "Steps that the excuse lasts where the length of the run is unknown: a slow run (sequences at 2 %) "
        "left between step 400 and 800.",
    )
    initial: float = threshold(
        0.2,
        "Mean probability of the negatives above which it is still that of the initial weights, which is "
        "about one half.",
    )
    falling: float = threshold(
        0.8,
        "Share of its older level, below which the negatives' mean probability is on its way down, where it "
        "is more than twice the rate: it comes from one half, and comes to rest at the rate.",
    )
    near: float = threshold(
        0.1,
        "Mean probability of positives that are about to be found: in healthy runs recall rose above 0.05 "
        "within 100 steps of it, and collapsed ones did not reach it.",
    )
    lift: float = threshold(
        2.0, "Times the negatives' mean probability that it must be as well: no collapsed run reached both."
    )
    growth: float = threshold(
        1.25,
        "Growth of that ratio over the second half of the run so far, from which the run is on its way out: "
        "0.95 to 1.2 in collapsed runs, 1.3 to 4 in those that left.",
    )
    ordering: float = threshold(
        0.1,
        "Rise of AUROC over the same time, from which the run is on its way out, if it is a standard error "
        "as well: 0.15 to 0.25 in runs that left. Of a collapsed class with 20 positives a half it moves by "
        "0.09, but with one look at 3 positives by 0.2.",
    )

    def examine(self, window: Window) -> Verdict:
        """Ask validation, or enough live positives; excuse runs that are leaving; grade by what is ranked."""
        if in_warmup(window):
            return Skipped("not judged in the warmup: the ranking loss that follows needs no threshold")
        steps = window.step - window.run.start_step
        if steps < self.settle_steps:
            first = window.run.start_step + self.settle_steps
            return Skipped(f"too early: judged from step {first} on (now {window.step})")
        rates = self._rates(window)
        enough = self._enough(len(rates))
        seen = self._seen(window, steps, enough)
        if not (seen.positives >= enough).any():
            return Skipped(
                f"too few positives: judged from {math.ceil(enough)} on (now {seen.positives.max():.0f})"
            )
        # A class of which no batch holds anything is IMB002's.
        sick = seen.missed & (rates > 0.0) & (rates < self.rare * self._majority(window, rates))
        if not sick.any():
            return []
        total = window.run.total_steps
        excused = max(self.excuse_share * total, self.excuse_least) if total else self.excuse_steps
        early = steps < excused
        if early:
            sick &= ~self._leaving(window, steps, rates)
        return self._findings(window, seen, rates, early, classes_of(sick))

    def passed_over(self, window: Window) -> TooFew | None:
        """Classes of which neither validation nor the newest batches hold enough positives."""
        enough = self._enough(window.series("live_pos_count").values.shape[1])
        seen = self._seen(window, window.step - window.run.start_step, enough)
        return TooFew(enough, seen.positives < enough)

    def _enough(self, classes: int) -> float:
        return math.log(classes / self.chance) / -math.log1p(-self.hidden)

    def _seen(self, window: Window, steps: int, enough: float) -> _Decisions:
        seen = self._live(window, steps, enough)
        validated = self._validated(window, len(seen.positives), enough)
        if validated is None:
            return seen
        known = validated.positives >= enough  # fresher and larger, wherever it holds enough
        return _Decisions(
            np.where(known, validated.positives, seen.positives),
            np.where(known, validated.found, seen.found),
            np.where(known, validated.accuracy, seen.accuracy),
            known,
            np.where(known, validated.missed, seen.missed),
        )

    def _few(self, found: Floats, positives: Floats) -> Bools:
        few: Bools = found <= np.maximum(self.recall * positives - 1.0, 0.0)
        return few

    def _live(self, window: Window, steps: int, enough: float) -> _Decisions:
        """Of the newest records that hold enough positives, none of them from the first third of the run."""
        begin = window.run.start_step + steps // 3
        live = window.series("live_pos_count").since(begin).values
        newest = live[::-1].cumsum(axis=0)
        # For each class, the newest records that hold enough positives.
        last = (newest < enough).sum(axis=0).clip(max=len(newest) - 1)
        hits = window.series("true_pos_count").since(begin).values[::-1].cumsum(axis=0)
        columns = np.arange(live.shape[1])
        positives, found = newest[last, columns], hits[last, columns]
        predicted, negatives = (
            window.series(name).since(begin).values[::-1].cumsum(axis=0)[last, columns]
            for name in ("predicted_pos_count", "live_neg_count")
        )
        wrong = (predicted - found) + (positives - found)
        accuracy = 1.0 - wrong / np.maximum(positives + negatives, 1.0)
        live_rows = np.zeros(len(positives), dtype=np.bool_)
        missed = (positives >= enough) & self._few(found, positives)
        return _Decisions(positives, found, accuracy, live_rows, missed)

    def _validated(self, window: Window, classes: int, enough: float) -> _Decisions | None:
        """Of the newest evaluation; missed are classes of which the one before, too, found next to none."""
        recalls = window.eval_series("recall_at_default").last(2).values
        counts = window.eval_series("positives").last(2).values
        if not len(recalls) or recalls.shape[1:] != (classes,):
            return None
        found = np.nan_to_num(recalls) * counts
        accuracy = window.eval_series("accuracy_at_default").values[-1:]
        right = accuracy[0] if accuracy.shape == counts[-1:].shape else np.full(classes, np.nan)
        missed = self._few(found, counts) & (counts >= enough)
        twice: Bools = np.logical_and.reduce(missed) if len(missed) == 2 else np.zeros(classes, np.bool_)
        return _Decisions(counts[-1], found[-1], right, np.ones(classes, np.bool_), twice)

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

    def _ranked(self, window: Window, rates: Floats) -> tuple[Floats, Bools]:
        """The AUROC of each class, of validation or else of the pool, and whether it is that of a ranking."""
        area = window.eval_series("auroc").values
        counts = window.eval_series("positives").values
        if len(area) and area.shape[1:] == rates.shape:
            auroc, positives = area[-1], counts[-1]
        elif window.has("pool_auroc"):
            half = window.run.start_step + (window.step - window.run.start_step) // 2
            order, live = (each.since(half) for each in window.aligned("pool_auroc", "live_pos_count"))
            positives = np.where(np.isfinite(order.values), live.values, 0.0).sum(axis=0)
            auroc = (np.nan_to_num(order.values) * live.values).sum(axis=0) / positives.clip(1e-9)
        else:
            return np.full(rates.shape, np.nan), np.zeros(rates.shape, dtype=np.bool_)
        error = np.sqrt(1.0 / (12.0 * np.maximum(positives, 1.0)))
        ranked: Bools = auroc >= np.maximum(self.ranked, 0.5 + self.errors * error)
        return auroc, ranked

    def _rising(self, window: Window, classes: int) -> Bools:
        """Classes whose validation precision is well above that of the middle evaluation."""
        precision = window.eval_series("average_precision").values
        if len(precision) < 3 or precision.shape[1] != classes:
            return np.zeros(classes, dtype=np.bool_)
        now, before = precision[-1], precision[len(precision) // 2 - (len(precision) % 2 == 0)]
        positives = np.maximum(window.eval_series("positives").values[-1], 1.0)
        error = np.sqrt(np.maximum(now * (1.0 - now), 0.0) / positives)
        with np.errstate(invalid="ignore"):
            rising: Bools = now >= np.maximum(self.rising * before, before + error)
        return rising

    def _settled(self, window: Window, classes: int) -> Bools:
        """Classes that validation ranks as well as it ever did, with probabilities that are not too low."""
        names = ("average_precision", "mean_probability", "positive_rate", "rows")
        precision, probability, rate, rows = (window.eval_series(name).values for name in names)
        if len(precision) < self.evaluations or not (
            precision.shape[1:] == probability.shape[1:] == rate.shape[1:] == rows.shape[1:] == (classes,)
        ):
            return np.zeros(classes, dtype=np.bool_)
        best, now = np.fmax.reduce(precision), precision[-1]
        error = np.sqrt(np.maximum(best * (1.0 - best), 0.0) / np.maximum(rate[-1] * rows[-1], 1.0))
        short = rate[-1] - probability[-2:]
        sampled = np.sqrt(rate[-1] * (1.0 - rate[-1]) / np.maximum(rows[-1], 1.0))
        settled: Bools = (now >= best - error) & (
            short <= np.maximum(self.short * rate[-1], self.errors * sampled)
        ).all(axis=0)
        return settled

    def _findings(
        self, window: Window, seen: _Decisions, rates: Floats, early: bool, classes: list[int]
    ) -> Iterator[Evidence]:
        auroc, ranked = self._ranked(window, rates)
        rising = self._rising(window, len(rates))
        settled = self._settled(window, len(rates)) & ranked
        weights = positive_weight(window, odds_of(window))
        for index in classes:
            weight = (1.0 - rates[index]) / rates[index].clip(1e-9)
            now = 1.0 if weights is None else weights[index]
            cause, remedy = (self.ranked_cause, self.ranked_remedy) if ranked[index] else (None, None)
            well = settled[index] and now < self.weighted * weight
            if now >= self.weighted * weight:
                remedy = self.weighted_remedy
            elif well:
                cause, remedy = self.settled_cause, self.settled_remedy
            known = {"auroc": auroc[index], "accuracy_percent": 100.0 * seen.accuracy[index]}
            if well:
                precision = window.eval_series("average_precision").values[:, index]
                known |= {"precision": precision[-1], "best": np.nanmax(precision)} | {
                    name: window.eval_series(metric).values[-1, index]
                    for name, metric in (
                        ("mean_probability", "mean_probability"), ("judged_rate", "positive_rate"),
                    )
                }  # fmt: skip
            symptom = self.validated_symptom if seen.validated[index] else None
            if not np.isfinite(seen.accuracy[index]):
                symptom = self.counted_symptom
            yield Evidence(
                {
                    "found": seen.found[index],
                    "positives": seen.positives[index],
                    "positive_rate": rates[index],
                    "weight": weight,
                    "weight_now": now,
                    **{name: value for name, value in known.items() if np.isfinite(value)},
                },
                index,
                severity="info" if early or rising[index] or well else "warning" if ranked[index] else None,
                symptom=symptom,
                cause=cause,
                remedy=remedy,
            )


def _ratio(weighted: Floats, counts: Floats, negatives: Floats) -> Floats:
    """Mean probability of the positives over that of the negatives."""
    ratio: Floats = weighted.sum(axis=0) / counts.sum(axis=0).clip(1.0) / mean(negatives).clip(1e-9)
    return ratio
