"""IMB101: focal loss and BCE where most batches hold no positive."""

from __future__ import annotations

from tests.clinic.catalogue import bce
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.losses import focal
from tests.clinic.evidence.table import Table, over

FAMILIES = ("gaussian", "digits")
RATE = 0.003
#: Rows of a batch, and steps; the last row has as many rows in all as the second.
SETTINGS = ((16, 400), (64, 400), (1024, 400), (16, 1600))
LOSSES = {"focal": focal(0.75), "BCE": bce()}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Both losses with each batch."""
    base = ClinicRun(bce(), rate=RATE, seed=seed, validation_rows=20_000)  # 60 positives
    return {
        (batch, steps, name, family): base.but(loss=loss, batch=batch, steps=steps, family=family)
        for batch, steps in SETTINGS
        for name, loss in LOSSES.items()
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each batch and number of steps."""
    return Table(
        ("batch, steps", "positives in a batch", *LOSSES),
        [
            (
                f"{batch}, {steps}",
                f"{RATE * batch:.1g}",
                *(over(cells, (batch, steps, name), FAMILIES) for name in LOSSES),
            )
            for batch, steps in SETTINGS
        ],
    )


EXPERIMENT = Experiment("AP by positives in a batch", runs, table, seeds=1)
