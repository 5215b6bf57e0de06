"""IMB019: the ratio as BCE's `weight`, which both sides have, and as `pos_weight`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.clinic.catalogue import bce
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, over

FAMILIES = ("gaussian", "digits", "table")
#: Learning rates at which each optimizer trains these models well without a weight.
OPTIMIZERS = {"adam": 3e-3, "sgd": 0.1}


def both_sides(columns: int) -> nn.Module:
    """The weight of 5 % of positives, on every row."""
    return nn.BCEWithLogitsLoss(weight=torch.tensor(19.0))


SETTINGS: dict[str, Callable[[int], nn.Module]] = {
    "none": bce(),
    "weight 19": both_sides,
    "pos_weight": bce(19.0),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each setting under each optimizer."""
    base = ClinicRun(bce(), rate=0.05, steps=400, seed=seed)
    return {
        (name, optimizer, family): base.but(loss=loss, optimizer=optimizer, lr=lr, family=family)
        for name, loss in SETTINGS.items()
        for optimizer, lr in OPTIMIZERS.items()
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each setting."""
    columns = [
        ("adam", "recall_at_default"),
        ("adam", "precision_at_default"),
        ("adam", "average_precision"),
        ("sgd", "recall_at_default"),
        ("sgd", "average_precision"),
    ]
    return Table(
        ("setting", "Adam: recall", "precision", "AP", "SGD: recall", "AP"),
        [
            (name, *(over(cells, (name, optimizer), FAMILIES, metric) for optimizer, metric in columns))
            for name in SETTINGS
        ],
    )


EXPERIMENT = Experiment("recall, precision and AP with weight and with pos_weight", runs, table, seeds=1)
