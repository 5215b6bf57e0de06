"""IMB702: a class has positives to learn from, and its average precision stays at chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import ANY, Evidence, Rule, Verdict
from imbalance_doctor.rules.measures import Floats, classes_of, mean
from imbalance_doctor.rules.phases import at_chance


@dataclass(frozen=True)
class ClassNeverImproves(Rule):
    """A class has been trained on for hundreds of steps, and is ranked no better than by chance.

    ## Symptom
    The average precision of one class stays at its share of the validation data, evaluation after
    evaluation.

    ## Cause
    Its gradient is starved, its labels are noise, or the model cannot see what sets it apart. Where
    another finding on the class says which, it is named as the explanation.

    ## Remedy
    What the other findings on the class ask for; without any, look at its rows: are the labels right, do
    the features tell?

    ## Evidence
    From step 400 on, and after 300 positives: each of the newest 4 evaluations has an average precision
    within half of the positive rate (or 3 standard errors) of it, and an AUROC below 0.6; their mean is less
    than 1.5 times that of the first 4.

    Cross-entropy, one class of 5 (Gaussian data) or 10 (digits) whose label went to random rows, 500 steps, 3
    seeds: mean AP .77 and .89, against .95 and .97; the class found at step 410, no other one.

    Late learners set the limit: in 160 ordinary runs of up to 400 steps, average precision was at chance
    until step 280 (partial AUC on digits at 0.2 %), 340 (on sequences) and 200 (Recall on Gaussian data with
    a linear model), and rose from there; none was reported.

    ## Known problems
    A class that is learnt late looks the same until then.

    ## References
    Saito & Rehmsmeier, *The Precision-Recall Plot Is More Informative than the ROC Plot*, PLoS ONE 2015
    (chance is the positive rate).
    """

    code: ClassVar[str] = "IMB702"
    name: ClassVar[str] = "class-never-improves"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = ANY
    requires: ClassVar[tuple[str, ...]] = ("live_pos_count",)
    requires_eval: ClassVar[tuple[str, ...]] = ("average_precision", "auroc", "positive_rate", "positives")
    min_records: ClassVar[int] = 10
    explained_by: ClassVar[tuple[str, ...]] = (
        "IMB001", "IMB002", "IMB003", "IMB004", "IMB005", "IMB010", "IMB201", "IMB202", "IMB305", "IMB401",
        "IMB402", "IMB403", "IMB506", "IMB509", "IMB701", "IMB703",
    )  # fmt: skip

    symptom: ClassVar[str] = (
        "{class_label} has been trained on for {steps:.0f} steps, with about {seen:,.0f} positives, and its "
        "average precision is {precision:.2g} where chance is {chance:.2g} (AUROC {auroc:.2f})."
    )
    cause: ClassVar[str] = (
        "its gradient is starved, its labels are noise, or the features do not tell it apart."
    )
    remedy: ClassVar[str] = (
        "see the other findings on the class; where there is none, check its labels, then features and "
        "capacity."
    )

    #: Steps before which a class may be at chance: in healthy runs it was until step 300.
    steps: int = 400
    #: Positives that must have been trained on.
    positives: float = 300.0
    #: Evaluations in a row at chance.
    evaluations: int = 4
    #: Multiple of average precision in the first evaluations from which the class is on its way: a slow run
    #: (sequences at 2 %) was at chance within its error until step 600, at twice what it began with.
    rise: float = 1.5

    def examine(self, window: Window) -> Verdict:
        """Compare average precision with chance, class by class."""
        trained = window.step - window.run.start_step
        if trained < self.steps:
            return []
        stuck = at_chance(window, self.evaluations)
        if not stuck.any():
            return []
        first = window.eval_series("average_precision").steps[-self.evaluations]
        live = window.series("live_pos_count").values
        if first < window.run.start_step + self.steps // 2 or live.shape[1:] != stuck.shape:
            return []
        whole = window.eval_series("average_precision").values
        stuck &= mean(whole[-self.evaluations :]) < self.rise * mean(whole[: self.evaluations])
        seen: Floats = live.mean(axis=0) * trained
        stuck &= seen >= self.positives
        return self._findings(window, float(trained), seen, classes_of(stuck))

    def _findings(
        self, window: Window, trained: float, seen: Floats, classes: list[int]
    ) -> Iterator[Evidence]:
        rates = window.eval_series("positive_rate").values[-1]
        precision, areas = (
            mean(window.eval_series(name).last(self.evaluations).values)
            for name in ("average_precision", "auroc")
        )
        for index in classes:
            yield Evidence(
                {
                    "steps": trained,
                    "seen": float(seen[index]),
                    "precision": float(precision[index]),
                    "chance": float(rates[index]),
                    "auroc": float(areas[index]),
                },
                index,
            )
