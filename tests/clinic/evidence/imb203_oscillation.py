"""IMB203: how much the loss moves with a sharp temperature, large steps, or a small sample."""

from __future__ import annotations

import numpy as np

from imbalance_doctor.rules.curves.oscillating_loss import _deviation
from tests.clinic.catalogue import smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key, logged
from tests.clinic.evidence.table import Table, between, over

FAMILIES = ("gaussian", "sequence")
#: (queue, temperature, scale of it, learning rate of Adam)
SETTINGS: dict[str, tuple[int, float, str | None, float]] = {
    "2048, iqr 0.1, 0.003": (2048, 0.1, "iqr", 0.003),
    "2048, 0.0005, 0.003": (2048, 0.0005, None, 0.003),
    "2048, iqr 0.1, 0.1": (2048, 0.1, "iqr", 0.1),
    "2048, 0.0005, 0.1": (2048, 0.0005, None, 0.1),
    "0, 0.01, 0.003": (0, 0.01, None, 0.003),
}
#: Records of the second half of the run: a loss that still falls fast has no deviation to speak of.
NEWEST = 20


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Smooth-AP with each setting."""
    base = ClinicRun(smooth_ap(), rate=0.05, steps=400, every=10, seed=seed)
    return {
        (name, family): base.but(
            loss=smooth_ap(queue, temperature=temperature, tau_scale=scale), lr=lr, family=family
        )
        for name, (queue, temperature, scale, lr) in SETTINGS.items()
        for family in FAMILIES
    }


def measure(run: ClinicRun) -> Figures:
    """AP, the deviation of the recorded losses around their trend, and its ratio to the standard error."""
    outcome, log = logged(run)
    newest = log.stats.tail(NEWEST)
    losses = newest["per_class_loss"].to_numpy(dtype=np.float64)
    deviation = float(_deviation(losses[:, None])[0])
    level, positives = float(losses.mean()), float(newest["pool_pos_count"].mean())
    error = float(np.sqrt(level * (1.0 - level) / max(positives, 1.0)))
    return {**outcome.metrics, "deviation": deviation, "excess": deviation / error}


def table(cells: Cells) -> Table:
    """A row for each setting."""

    def ratios(name: str) -> str:
        return between([f for family in FAMILIES for f in cells[name, family]], "excess", ".1f")

    return Table(
        ("queue, temperature, learning rate", "deviation over standard error", "deviation", "AP"),
        [
            (
                name,
                ratios(name),
                over(cells, (name,), FAMILIES, "deviation"),
                over(cells, (name,), FAMILIES),
            )
            for name in SETTINGS
        ],
    )


EXPERIMENT = Experiment("how much the loss moves, and AP", runs, table, seeds=1, measure=measure)
