"""IMB106: what small weights of positives cost in BCE, by the positives' share of the first gradient."""

from __future__ import annotations

from math import sqrt

from tests.clinic.catalogue import bce
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, mean, over

FAMILIES = ("gaussian", "digits")
RATES = (0.01, 0.1)
WEIGHTS = (0.01, 0.1, 0.3, 1, 10)


def runs(seed: int) -> dict[Key, ClinicRun]:
    """BCE with each weight."""
    base = ClinicRun(bce(), steps=300, seed=seed)
    return {
        (weight, rate, family): base.but(loss=bce(weight), rate=rate, family=family)
        for weight in WEIGHTS
        for rate in RATES
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each weight."""

    def row(weight: float, rate: float) -> tuple[str, str, str]:
        share = weight * sqrt(rate / (1.0 - rate))
        both = [figures for family in FAMILIES for figures in cells[weight, rate, family]]
        return f"{share:.1g}", over(cells, (weight, rate), FAMILIES), mean(both, "recall_at_default")

    return Table(
        ("pos_weight", "rate 1 %: share", "AP", "recall", "rate 10 %: share", "AP", "recall"),
        [(str(weight), *row(weight, 0.01), *row(weight, 0.1)) for weight in WEIGHTS],
    )


EXPERIMENT = Experiment("AP and recall by pos_weight", runs, table, seeds=1)
