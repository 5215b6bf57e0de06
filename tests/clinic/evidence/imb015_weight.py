"""IMB015: what weights beyond balance do to false alarms, precision and the order of the scores."""

from __future__ import annotations

from tests.clinic.catalogue import bce
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key, final_metrics
from tests.clinic.evidence.table import Table, over

FAMILIES = ("gaussian", "digits", "table")
RATES = (0.05, 0.01)
#: What all positives weigh over what all negatives weigh.
TOTALS: dict[str, float | None] = {"no weight": None, "1": 1, "5": 5, "30": 30, "200": 200}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """BCE with the weight that makes each total."""
    base = ClinicRun(bce(), steps=300, seed=seed)
    return {
        (name, rate, family): base.but(
            loss=bce(total if total is None else total * (1.0 - rate) / rate), rate=rate, family=family
        )
        for name, total in TOTALS.items()
        for rate in RATES
        for family in FAMILIES
    }


def measure(run: ClinicRun) -> Figures:
    """The final metrics, and the share of validation negatives that the default decision calls positive."""
    figures = dict(final_metrics(run))
    rate, accuracy = figures["positive_rate"], figures["accuracy_at_default"]
    wrong = (1.0 - accuracy) - rate * (1.0 - figures["recall_at_default"])
    return {**figures, "false_alarms": max(wrong, 0.0) / (1.0 - rate)}  # none, but for rounding, is none


def table(cells: Cells) -> Table:
    """A row for each total."""
    columns = [
        (0.05, "false_alarms"),
        (0.05, "precision_at_default"),
        (0.05, "average_precision"),
        (0.01, "false_alarms"),
        (0.01, "average_precision"),
    ]
    return Table(
        ("total", "rate 5 %: false alarms", "precision", "AP", "rate 1 %: false alarms", "AP"),
        [
            (name, *(over(cells, (name, rate), FAMILIES, metric) for rate, metric in columns))
            for name in TOTALS
        ],
    )


EXPERIMENT = Experiment("false alarms, precision and AP by weight", runs, table, seeds=1, measure=measure)
