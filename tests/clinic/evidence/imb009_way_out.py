"""IMB009: mean probabilities of positives and negatives in runs that leave the majority state, or do not."""

from __future__ import annotations

from typing import Any

from tests.clinic.catalogue import bce
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key, logged
from tests.clinic.evidence.table import Table, mean

DATA: dict[str, dict[str, Any]] = {
    "Gaussian data, 0.5 %": {"rate": 0.005},
    "digits, 0.5 %": {"rate": 0.005, "family": "digits"},
    "overlapping Gaussians, 0.5 %": {"rate": 0.005, "family_options": {"separation": 1.0}},
    "sequences, 2 %": {"rate": 0.02, "family": "sequence"},
}
SPANS = ((100, 150), (150, 200), (300, 400), (700, 800))


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Plain BCE."""
    base = ClinicRun(bce(), steps=801, every=10, seed=seed)
    return {(name,): base.but(**settings) for name, settings in DATA.items()}


def measure(run: ClinicRun) -> Figures:
    """Recall at the end, and the mean probabilities over spans of steps."""
    outcome, log = logged(run)
    figures = dict(outcome.metrics)
    for first, last in SPANS:
        rows = log.stats.query(f"{first} <= step <= {last}")
        figures[f"pos {first}"] = float(rows["mean_p_true_pos"].mean())
        figures[f"neg {first}"] = 1.0 - float(rows["mean_p_true_neg"].mean())  # of being positive
    return figures


def table(cells: Cells) -> Table:
    """A row for each kind of data."""

    def sides(name: str, first: int) -> str:
        (figures, *_) = cells[name,]
        return " / ".join(f"{figures[f'{side} {first}']:.1g}" for side in ("pos", "neg"))

    spans = [f"{first}-{last}" for first, last in SPANS]
    return Table(
        ("positives / negatives at steps", *spans, "recall at the end"),
        [
            (name, *(sides(name, first) for first, _ in SPANS), mean(cells[name,], "recall_at_default"))
            for name in DATA
        ],
    )


EXPERIMENT = Experiment("mean probabilities on the way out", runs, table, seeds=1, measure=measure)
