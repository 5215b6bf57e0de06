"""IMB003: what few pooled positives cost Smooth-AP, at small steps and at large ones."""

from __future__ import annotations

from tests.clinic.catalogue import smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import CALLED, Table, over, spread

FAMILIES = ("gaussian", "table")
#: (rate, rows of a batch, learning rate of Adam, temperature)
SETTINGS = {
    "2 %, 32, 0.001, 0.1": (0.02, 32, 1e-3, 0.1),
    "1 %, 64, 0.01, 0.01": (0.01, 64, 1e-2, 0.01),
}
#: Positives that batch and queue hold.
POSITIVES = (1.5, 7, 25)


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each setting with the queue that holds so many positives."""
    base = ClinicRun(smooth_ap(), steps=250, seed=seed)
    return {
        (name, positives, family): base.but(
            loss=smooth_ap(round(positives / rate) - batch, temperature=temperature),
            rate=rate,
            batch=batch,
            lr=lr,
            family=family,
        )
        for name, (rate, batch, lr, temperature) in SETTINGS.items()
        for positives in POSITIVES
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """Rows for each setting, one for each family."""
    return Table(
        ("rate, batch, learning rate (Adam), temperature", "data", *map(str, POSITIVES)),
        [
            (
                name if family == FAMILIES[0] else "",
                CALLED[family],
                *(over(cells, (name, positives), (family,), text=spread) for positives in POSITIVES),
            )
            for name in SETTINGS
            for family in FAMILIES
        ],
    )


EXPERIMENT = Experiment("AP by pooled positives and size of steps", runs, table, seeds=2)
