"""IMB404: a large and a small queue under SGD and Adam."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tests.clinic.catalogue import pauc, smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import CALLED, Table, over

FAMILIES = ("gaussian", "table")
LARGE, SMALL = 16_384, 1024
OPTIMIZERS = {"SGD 0.02": ("sgd", 0.02), "Adam": ("adam", 3e-3)}
LOSSES: dict[str, Callable[[int], Callable[[int], nn.Module]]] = {
    "trapezoid": lambda queue: pauc(queue=queue),
    "live": lambda queue: pauc(queue=queue, pos_numerator="live"),
    "Smooth-AP": lambda queue: smooth_ap(queue),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss with both queues."""
    base = ClinicRun(pauc(), rate=0.02, batch=64, steps=300, seed=seed)
    return {
        (optimizer, name, queue, family): base.but(loss=loss(queue), optimizer=kind, lr=lr, family=family)
        for optimizer, (kind, lr) in OPTIMIZERS.items()
        for name, loss in LOSSES.items()
        for queue in (LARGE, SMALL)
        for family in FAMILIES
        if (name, queue) != ("live", SMALL)
    }


def table(cells: Cells) -> Table:
    """A row for each family and optimizer; a cell has the large queue and the small one."""

    def both(optimizer: str, name: str, family: str) -> str:
        queues = [over(cells, (optimizer, name, queue), (family,)) for queue in (LARGE, SMALL)]
        return " / ".join(text for text in queues if text)

    return Table(
        ("", "trapezoid", 'and "live", 16,384', "Smooth-AP"),
        [
            (f"{CALLED[family]}, {optimizer}", *(both(optimizer, name, family) for name in LOSSES))
            for optimizer in OPTIMIZERS
            for family in FAMILIES
        ],
    )


EXPERIMENT = Experiment("AP with a large queue and a small one", runs, table, seeds=1)
