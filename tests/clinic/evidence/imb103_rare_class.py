"""IMB103: a class that few batches hold, with and without a weight of its own."""

from __future__ import annotations

from losses import SoftmaxFocalLoss
from tests.clinic.catalogue import smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, over

#: Batches that hold the rarest of four classes, at 64 rows.
RATES = {"0.03 %: 1 in 50": 0.0003, "1 %: 1 in 2": 0.01}
COLUMNS = ("alpha 1 / rate", "no alpha", "alpha, batch 1024", "Smooth-AP, queue 16,384")


def priors(rate: float) -> tuple[float, ...]:
    """Three classes in proportions of 6 to 3 to 1, and the rare one."""
    return (*((1.0 - rate) * share for share in (0.6, 0.3, 0.1)), rate)


def runs(seed: int) -> dict[Key, ClinicRun]:
    """The softmax focal loss with weights, without, and in larger batches; Smooth-AP with a queue."""
    made: dict[Key, ClinicRun] = {}
    for name, rate in RATES.items():
        weights = [0.25 / prior for prior in priors(rate)]
        weighted = ClinicRun(
            lambda columns, weights=weights: SoftmaxFocalLoss(alpha=weights),  # type: ignore[misc]
            columns=4,
            rate=priors(rate),
            batch=64,
            steps=500,
            seed=seed,
            validation_rows=60_000,  # 18 of the rarest class at the lowest rate
        )
        every = (
            weighted,
            weighted.but(loss=lambda columns: SoftmaxFocalLoss()),
            weighted.but(batch=1024),
            weighted.but(loss=smooth_ap(16_384)),
        )
        made |= {(name, column): run for column, run in zip(COLUMNS, every, strict=True)}
    return made


def table(cells: Cells) -> Table:
    """A row for each rate."""
    return Table(
        ("rate: batches that hold it", *COLUMNS),
        [(name, *(over(cells, (name,), (column,)) for column in COLUMNS)) for name in RATES],
    )


EXPERIMENT = Experiment("AP by how many batches hold a class", runs, table, seeds=1)
