"""IMB106: what small alphas of a focal loss cost, by the positives' share of the first gradient."""

from __future__ import annotations

from math import sqrt

from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.losses import focal
from tests.clinic.evidence.table import Table, mean, over

FAMILIES = ("gaussian", "digits")
RATES = (0.01, 0.05)
ALPHAS = (0.01, 0.1, 0.25, 0.75, 0.95)


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Focal loss with each alpha."""
    base = ClinicRun(focal(), steps=300, seed=seed)
    return {
        (alpha, rate, family): base.but(loss=focal(alpha), rate=rate, family=family)
        for alpha in ALPHAS
        for rate in RATES
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each alpha."""

    def row(alpha: float, rate: float) -> tuple[str, str, str]:
        share = alpha / (1.0 - alpha) * sqrt(rate / (1.0 - rate))
        both = [figures for family in FAMILIES for figures in cells[alpha, rate, family]]
        return f"{share:.1g}", over(cells, (alpha, rate), FAMILIES), mean(both, "recall_at_default")

    return Table(
        ("alpha", "rate 1 %: share", "AP", "recall", "rate 5 %: share", "AP", "recall"),
        [(str(alpha), *row(alpha, 0.01), *row(alpha, 0.05)) for alpha in ALPHAS],
    )


EXPERIMENT = Experiment("AP and recall by alpha", runs, table, seeds=1)
