"""IMB404: whether the dilution is more than a factor on the learning rate."""

from __future__ import annotations

from tests.clinic.catalogue import pauc
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import CALLED, Table, over

FAMILIES = ("gaussian", "table")
OPTIMIZERS = {"Adam": ("adam", 3e-3), "SGD, 0.1": ("sgd", 0.1), "SGD, 0.01": ("sgd", 0.01)}
NUMERATORS = ("pool", "live")


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Partial AUC with a queue that holds 64 times the batch."""
    base = ClinicRun(pauc(), rate=0.01, steps=300, seed=seed)
    return {
        (name, numerator, family): base.but(
            loss=pauc(queue=16_384, pos_numerator=numerator), optimizer=kind, lr=lr, family=family
        )
        for name, (kind, lr) in OPTIMIZERS.items()
        for numerator in NUMERATORS
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each family; a cell has the numerator "pool" and "live"."""
    return Table(
        ("", *OPTIMIZERS),
        [
            (
                CALLED[family],
                *(" / ".join(over(cells, (o, n), (family,)) for n in NUMERATORS) for o in OPTIMIZERS),
            )
            for family in FAMILIES
        ],
    )


EXPERIMENT = Experiment("AP by the numerator and the size of the steps", runs, table, seeds=1)
