"""IMB007: a share of the rows comes in another unit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imbalance_doctor.rules.measures.scores import LEAST, MOST, Q05, Q25, Q75, Q95
from tests.clinic.catalogue import bce, smooth_ap
from tests.clinic.clinic import Batch, ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key, logged, window
from tests.clinic.evidence.table import Table, between, over
from tests.clinic.planted_phases import Tamper

FAMILIES = ("gaussian", "digits")
LOSSES = {"Smooth-AP": smooth_ap(), "BCE": bce()}
LOOKS = 5
#: (share of the rows, factor on their inputs)
SETTINGS = {
    "none": (0.0, 1.0),
    "0.5 %, 10": (0.005, 10.0),
    "0.5 %, 100": (0.005, 100.0),
    "2 %, 100": (0.02, 100.0),
}


def in_another_unit(share: float, factor: float) -> Tamper:
    """Rows whose inputs are multiplied."""

    def tamper(step: int, x: Tensor, y: Tensor) -> Batch:
        generator = torch.Generator().manual_seed(9000 + step)
        chosen = torch.rand(len(x), generator=generator) < share
        return torch.where(chosen[:, None], factor * x, x), y

    return tamper


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss with each kind of outliers; validation rows are ordinary."""
    base = ClinicRun(bce(), rate=0.05, steps=300, seed=seed)
    return {
        (name, loss, family): base.but(loss=make, family=family, tamper=in_another_unit(share, factor))
        for name, (share, factor) in SETTINGS.items()
        for loss, make in LOSSES.items()
        for family in FAMILIES
    }


def measure(run: ClinicRun) -> Figures:
    """AP, and how far the most extreme negative is from the central 90 %, in interquartile ranges.

    In the middle one of the newest looks, as the rule has it: not every batch holds an outlier.
    """
    outcome, log = logged(run.but(every=25))
    quantiles = window(log).series("neg_score_quantiles").values[-LOOKS:, 0]
    spread = quantiles[:, Q75] - quantiles[:, Q25]
    above, below = quantiles[:, MOST] - quantiles[:, Q95], quantiles[:, Q05] - quantiles[:, LEAST]
    return {**outcome.metrics, "distance": float(np.median(np.maximum(above, below) / spread))}


def table(cells: Cells) -> Table:
    """A row for each kind of outliers."""

    def distances(name: str) -> str:
        every = [f for loss in LOSSES for family in FAMILIES for f in cells[name, loss, family]]
        return between(every, "distance")

    return Table(
        ("rows, factor", "distance", *LOSSES),
        [
            (name, distances(name), *(over(cells, (name, loss), FAMILIES) for loss in LOSSES))
            for name in SETTINGS
        ],
    )


EXPERIMENT = Experiment("AP by the distance of outliers", runs, table, seeds=1, measure=measure)
