"""IMB301: AP of recall at a quantile, by the quantile over the positive rate."""

from __future__ import annotations

from tests.clinic.catalogue import recall
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import CALLED, Table, over

FAMILIES = ("gaussian", "digits")
RATES = {"2 %": 0.02, "10 %": 0.1}
#: Quantile over rate.
RATIOS = (0.1, 0.25, 0.5, 1, 2)


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Recall at each quantile, scale-free."""
    base = ClinicRun(recall(), steps=300, seed=seed)
    return {
        (name, ratio, family): base.but(loss=recall(ratio * rate), rate=rate, family=family)
        for name, rate in RATES.items()
        for ratio in RATIOS
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each family and rate."""
    return Table(
        ("quantile / rate", *map(str, RATIOS)),
        [
            (f"{CALLED[family]}, rate {rate}", *(over(cells, (rate, ratio), (family,)) for ratio in RATIOS))
            for family in FAMILIES
            for rate in RATES
        ],
    )


EXPERIMENT = Experiment("AP by quantile over positive rate", runs, table, seeds=1)
