"""IMB507: what a loss that pushes positives only makes of what a warmup has learnt."""

from __future__ import annotations

from typing import Any

from tests.clinic.catalogue import pauc, warmed
from tests.clinic.clinic import ClinicRun, train
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key
from tests.clinic.evidence.losses import beside_bce
from tests.clinic.evidence.table import Table, each

WARMUP, SOON, STEPS = 200, 240, 550
#: Classes that are hard to rank, so that little can be lost.
DATA: dict[str, dict[str, Any]] = {
    "Gaussian data, centres 1.3 apart": {"family_options": {"separation": 1.3}},
    "make_classification, separation 0.4": {"family": "table", "family_options": {"separation": 0.4}},
    "digits, noise of 1.3": {"family": "digits", "family_options": {"jitter": 1.3}},
}
LOSSES = {
    "alone": warmed(pauc(), WARMUP, temp_start=0.1, temp_end=0.1),
    "beside": beside_bce(pauc(), WARMUP),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Partial AUC after the warmup, alone and beside BCE."""
    base = ClinicRun(pauc(), rate=0.05, steps=STEPS, seed=seed, evaluate_every=20)
    return {
        (name, loss): base.but(loss=make, **settings)
        for name, settings in DATA.items()
        for loss, make in LOSSES.items()
    }


def measure(run: ClinicRun) -> Figures:
    """AP at the switch, soon after it and at the end; and whether the rule found a fall."""
    outcome = train(run)
    precision = {step + 1: metrics["average_precision"] for step, metrics in outcome.curve}
    figures = {str(step): precision.get(step, float("nan")) for step in (WARMUP, SOON)}
    found = float("IMB507" in outcome.codes())
    return {**figures, "end": outcome.metrics["average_precision"], "found": found}


def table(cells: Cells) -> Table:
    """A row for each kind of data; a cell has every seed."""

    def found(name: str, loss: str) -> str:
        cell = cells[name, loss]
        return f"{sum(figures['found'] for figures in cell):.0f} of {len(cell)}"

    return Table(
        ("partial AUC (trapezoid) alone", f"at step {WARMUP}", str(SOON), str(STEPS), "found",
         f"beside half of BCE, {STEPS}", "found"),
        [
            (
                name,
                *(each(cells[name, "alone"], at) for at in (str(WARMUP), str(SOON), "end")),
                found(name, "alone"),
                each(cells[name, "beside"], "end"),
                found(name, "beside"),
            )
            for name in DATA
        ],
    )  # fmt: skip


EXPERIMENT = Experiment("AP after the switch, alone and beside BCE", runs, table, measure=measure)
