"""IMB102: a focusing exponent of 2 and of 5, with clean labels and with mislabelled positives."""

from __future__ import annotations

from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.losses import focal
from tests.clinic.evidence.table import Table, over
from tests.clinic.planted_data import mislabelled

FAMILIES = ("gaussian", "digits")
RATE = 0.05
#: (optimizer, alpha, share of the positives that is mislabelled)
SETTINGS = {
    "Adam, 0.25, none": ("adam", 0.25, 0.0),
    "Adam, 0.25, 40 %": ("adam", 0.25, 0.4),
    "Adam, 0.75, 40 %": ("adam", 0.75, 0.4),
    "SGD, 0.25, none": ("sgd", 0.25, 0.0),
    "SGD, 0.25, 40 %": ("sgd", 0.25, 0.4),
}
GAMMAS = (2.0, 5.0)


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Focal loss with each exponent; validation labels are clean."""
    base = ClinicRun(focal(), rate=RATE, steps=500, seed=seed)
    return {
        (name, gamma, family): base.but(
            loss=focal(alpha, gamma),
            family=family,
            optimizer=optimizer,
            lr={"adam": 3e-3, "sgd": 0.1}[optimizer],
            tamper=mislabelled(share, RATE),
        )
        for name, (optimizer, alpha, share) in SETTINGS.items()
        for gamma in GAMMAS
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each setting."""
    columns = [
        (gamma, metric)
        for metric in ("average_precision", "recall_at_default", "calibration_error")
        for gamma in GAMMAS
    ]
    return Table(
        ("optimizer, alpha, mislabelled", "AP at gamma 2", "at 5", "recall at 0.5", "at 5",
         "calibration error", "at 5"),
        [
            (name, *(over(cells, (name, gamma), FAMILIES, metric) for gamma, metric in columns))
            for name in SETTINGS
        ],
    )  # fmt: skip


EXPERIMENT = Experiment("AP, recall and calibration by gamma, clean and mislabelled", runs, table)
