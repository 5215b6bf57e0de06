"""IMB204: what a cap on the pool leaves of the positives, and of AP."""

from __future__ import annotations

from typing import Any

from tests.clinic.catalogue import smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key, logged
from tests.clinic.evidence.table import Table, mean

QUEUE = 2048
#: Settings of the run, and caps; None is no cap.
DATA: dict[str, tuple[dict[str, Any], tuple[int | None, ...]]] = {
    "Gaussian, 2 %": ({"family": "gaussian", "rate": 0.02, "batch": 128}, (16, 32, 64, 256, None)),
    "digits, 10 classes": (
        {"family": "digits", "columns": 10, "rate": (0.1,) * 10, "batch": 256},
        (64, 128, 256, 512, None),
    ),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Smooth-AP with each cap."""
    base = ClinicRun(smooth_ap(), steps=250, seed=seed)
    return {
        (name, place): base.but(loss=smooth_ap(QUEUE, max_pool_size=cap), **settings)
        for name, (settings, caps) in DATA.items()
        for place, cap in enumerate(caps)
    }


def measure(run: ClinicRun) -> Figures:
    """AP, and the pooled positives of the poorest class at the end, when the queue is full."""
    outcome, log = logged(run.but(every=25))
    newest = log.stats.query("step == step.max()")
    return {**outcome.metrics, "positives": float(newest["pool_pos_count"].min())}


def table(cells: Cells) -> Table:
    """Two rows for each kind of data: the cap with the positives that it leaves, and AP."""
    rows = []
    for name, (settings, caps) in DATA.items():
        pools = [cap or QUEUE + settings["batch"] for cap in caps]
        cell = [cells[name, place] for place in range(len(caps))]
        positives = [sum(f["positives"] for f in figures) / len(figures) for figures in cell]
        rows.append((name, *(f"{p:,}: {n:.0f}" for p, n in zip(pools, positives, strict=True))))
        rows.append(("", *map(mean, cell)))
    return Table(("data", "cap, and positives of the class", "", "", "", "none"), rows)


EXPERIMENT = Experiment("AP by the positives that a cap leaves", runs, table, seeds=1, measure=measure)
