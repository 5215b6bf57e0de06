"""IMB205: Smooth-AP and likelihood losses by how rare positives are."""

from __future__ import annotations

from tests.clinic.catalogue import bce, smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.losses import focal
from tests.clinic.evidence.table import Table, over

FAMILIES = ("gaussian", "digits")
RATES = {"20 %": 0.2, "5 %": 0.05, "1 %": 0.01}
LOSSES = {"Smooth-AP": smooth_ap(), "BCE": bce(), "focal, alpha 0.75": focal(0.75)}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss at each rate."""
    base = ClinicRun(bce(), steps=400, seed=seed)
    return {
        (name, loss, family): base.but(loss=make, rate=rate, family=family)
        for name, rate in RATES.items()
        for loss, make in LOSSES.items()
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each rate."""
    return Table(
        ("rate", *LOSSES),
        [(rate, *(over(cells, (rate, loss), FAMILIES) for loss in LOSSES)) for rate in RATES],
    )


EXPERIMENT = Experiment("AP of Smooth-AP, BCE and focal loss by the rate", runs, table, seeds=1)
