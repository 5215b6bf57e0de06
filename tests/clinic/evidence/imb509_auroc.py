"""IMB509: AUROC under losses that push positives only, and under others."""

from __future__ import annotations

from typing import Any

from tests.clinic.catalogue import pauc, recall, smooth_ap, warmed
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.losses import beside_bce
from tests.clinic.evidence.table import Table, over

DATA: dict[str, dict[str, Any]] = {
    "sequences, 2 %, 400": {"family": "sequence"},
    "ten digits, 400": {"family": "digits", "columns": 10, "rate": (0.1,) * 10},
    "three Gaussians, 3 % 3 % 94 %, 400": {"columns": 3, "rate": (0.03, 0.03, 0.94)},
}
LOSSES = {
    "trapezoid": pauc(),
    "recall": recall(),
    "pairwise": pauc(surrogate="pairwise"),
    "Smooth-AP": smooth_ap(),
}
#: BCE is the warmup, of one column only.
BINARY = {
    "warmed up": warmed(pauc(), 100, temp_start=0.1, temp_end=0.1),
    "and 0.5 BCE": beside_bce(pauc(), 100),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss on each kind of data."""
    base = ClinicRun(pauc(), rate=0.02, steps=400, seed=seed)
    return {
        (name, loss): base.but(loss=make, **settings)
        for name, settings in DATA.items()
        for loss, make in ({**LOSSES, **BINARY} if "columns" not in settings else LOSSES).items()
    }


def table(cells: Cells) -> Table:
    """A row for each kind of data."""
    columns = ("trapezoid", "recall", "warmed up", "and 0.5 BCE", "pairwise", "Smooth-AP")
    return Table(
        ("data, steps", *columns),
        [(name, *(over(cells, (name,), (loss,), "auroc") for loss in columns)) for name in DATA],
    )


EXPERIMENT = Experiment("AUROC by where the gradient goes", runs, table, seeds=1)
