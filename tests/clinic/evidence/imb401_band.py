"""IMB401: how many negatives the band holds, in the pool and in the batch."""

from __future__ import annotations

from tests.clinic.catalogue import pauc
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, over

FAMILIES = ("gaussian", "digits")
RATE, BATCH = 0.02, 256
#: (width of the band, queue, cap on the pool)
SETTINGS: dict[str, tuple[float, int, int | None]] = {
    "0.1 %, 512": (0.001, 512, None),
    "0.1 %, 21,000": (0.001, 21_000, None),
    "1 %, 2,048": (0.01, 2048, None),
    "2 %, 1,024": (0.02, 1024, None),
    "2 %, 4,096, cap 128": (0.02, 4096, 128),
    "2 %, 4,096, no cap": (0.02, 4096, None),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Pairwise partial AUC with each band and queue."""
    base = ClinicRun(pauc(), rate=RATE, batch=BATCH, steps=300, seed=seed)
    return {
        (name, family): base.but(
            loss=pauc(beta, queue, surrogate="pairwise", max_pool_size=cap), family=family
        )
        for name, (beta, queue, cap) in SETTINGS.items()
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each band and queue."""
    rows = []
    for name, (beta, queue, cap) in SETTINGS.items():
        # A cap grants positives their half first: of 128 rows, 64 to 96 are negatives.
        negatives = (1.0 - RATE) * (BATCH + queue) if cap is None else 0.75 * cap
        live = beta * (1.0 - RATE) * BATCH
        rows.append((name, f"{beta * negatives:.0f}", f"{live:.2g}", over(cells, (name,), FAMILIES)))
    return Table(("band, queue", "negatives in the band", "live ones", "AP"), rows)


EXPERIMENT = Experiment("AP by the negatives in the band", runs, table, seeds=1)
