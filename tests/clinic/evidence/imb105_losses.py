"""IMB105: focal loss against losses that are made for a ranking metric."""

from __future__ import annotations

from tests.clinic.catalogue import bce, recall, smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.losses import beside_bce, focal
from tests.clinic.evidence.table import Table, over

FAMILIES = ("gaussian", "digits", "table")
LOSSES = {
    "Smooth-AP": smooth_ap(),
    "focal, alpha 0.25": focal(0.25),
    "focal, alpha 0.75": focal(0.75),
    "BCE": bce(),
    "Recall@1.5 % beside BCE": beside_bce(recall(0.015)),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss from the same start."""
    base = ClinicRun(bce(), rate=0.01, steps=400, seed=seed)
    return {
        (name, family): base.but(loss=loss, family=family)
        for name, loss in LOSSES.items()
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each loss."""
    metrics = ("average_precision", "partial_auc")
    return Table(
        ("loss", "AP", "partial AUC"),
        [(name, *(over(cells, (name,), FAMILIES, metric) for metric in metrics)) for name in LOSSES],
    )


EXPERIMENT = Experiment("AP and partial AUC of focal, BCE and ranking losses", runs, table)
