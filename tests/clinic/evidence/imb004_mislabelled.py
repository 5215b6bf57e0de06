"""IMB004: mislabelled positives under ranking and likelihood losses, rows drawn anew or seen again."""

from __future__ import annotations

from torch import Tensor

from tests.clinic.catalogue import bce, smooth_ap
from tests.clinic.clinic import Batch, ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, over
from tests.clinic.planted_data import mislabelled
from tests.clinic.planted_phases import Tamper, small_bank

FAMILIES = ("gaussian", "digits")
RATE = 0.05
LOSSES = {"Smooth-AP": smooth_ap(), "BCE": bce()}
SHARES = {"clean": 0.0, "40 %": 0.4}
#: With 300 steps of 256 rows: each is seen 37 times.
ROWS = 2048


def again(share: float) -> Tamper:
    """The same rows again and again, with the labels that they got at first."""
    wrong, bank = mislabelled(share, RATE), small_bank(ROWS)

    def tamper(step: int, x: Tensor, y: Tensor) -> Batch:
        # Once the bank is full it no longer looks at the batch that it is given.
        return bank(step, *wrong(step, x, y))

    return tamper


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss on clean and mislabelled rows; validation labels are clean."""
    base = ClinicRun(bce(), rate=RATE, steps=300, seed=seed)
    made: dict[Key, ClinicRun] = {}
    for loss, make in LOSSES.items():
        for name, share in SHARES.items():
            for family in FAMILIES:
                run = base.but(loss=make, family=family)
                made[loss, "anew", name, family] = run.but(tamper=mislabelled(share, RATE))
                made[loss, "again", name, family] = run.but(tamper=again(share))
    return made


def table(cells: Cells) -> Table:
    """A row for each loss."""
    columns = [(drawn, share) for drawn in ("anew", "again") for share in SHARES]
    return Table(
        ("loss", "anew: clean", "40 %", "again: clean", "40 %"),
        [(loss, *(over(cells, (loss, *column), FAMILIES) for column in columns)) for loss in LOSSES],
    )


EXPERIMENT = Experiment("AP with mislabelled positives", runs, table, seeds=1)
