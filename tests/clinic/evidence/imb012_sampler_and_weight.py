"""IMB012: a sampler has balanced the batches, and positives weigh more on top of it."""

from __future__ import annotations

from tests.clinic.catalogue import bce
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, over
from tests.clinic.planted_data import balanced

FAMILIES = ("gaussian", "digits", "table")
RATES = (0.05, 0.01)
#: The weight of a positive, by the rate that the sampler has already corrected.
WEIGHTS = {
    "none": lambda rate: None,
    "3": lambda rate: 3.0,
    "the ratio again": lambda rate: (1.0 - rate) / rate,
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """BCE with each weight."""
    # Rows before the sampler drops negatives: 20 are left at a rate of 1 %, 100 at 5 %.
    base = ClinicRun(bce(), batch=1024, steps=400, seed=seed, tamper=balanced)
    return {
        (name, rate, family): base.but(loss=bce(weight(rate)), rate=rate, family=family)
        for name, weight in WEIGHTS.items()
        for rate in RATES
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each weight."""
    metrics = ("precision_at_default", "average_precision")
    return Table(
        ("weight", "rate 5 %: precision", "AP", "rate 1 %: precision", "AP"),
        [
            (name, *(over(cells, (name, rate), FAMILIES, metric) for rate in RATES for metric in metrics))
            for name in WEIGHTS
        ],
    )


EXPERIMENT = Experiment("precision and AP by the weight beside a sampler", runs, table, seeds=1)
