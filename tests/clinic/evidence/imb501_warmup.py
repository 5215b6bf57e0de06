"""IMB501: warmups of BCE of several lengths before Smooth-AP."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from losses import LossWarmupWrapper
from tests.clinic.catalogue import smooth_ap, warmed
from tests.clinic.clinic import ClinicRun, train
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key
from tests.clinic.evidence.table import CALLED, Table, over

FAMILIES = ("digits", "sequence")
STEADY = {"temp_start": 0.01, "temp_end": 0.01}


def weighted(columns: int) -> nn.Module:
    """Fifty steps of BCE in which both sides weigh the same."""
    warmup = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(50.0))
    return LossWarmupWrapper(warmup, smooth_ap()(columns), warmup_steps=50, **STEADY)


WARMUPS: dict[str, Callable[[int], nn.Module]] = {
    "none: AP": smooth_ap(),
    "10 steps": warmed(smooth_ap(), 10, **STEADY),
    "50": warmed(smooth_ap(), 50, **STEADY),
    "200": warmed(smooth_ap(), 200, **STEADY),
    "50, `pos_weight=50`": weighted,
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each warmup, then Smooth-AP for the rest."""
    base = ClinicRun(smooth_ap(), rate=0.02, batch=128, steps=400, seed=seed)
    return {
        (name, family): base.but(loss=loss, family=family)
        for name, loss in WARMUPS.items()
        for family in FAMILIES
    }


def measure(run: ClinicRun) -> Figures:
    """AP at step 50, where some of the warmups end, and at the end."""
    outcome = train(run.but(every=run.steps, evaluate_every=50))
    return {**outcome.metrics, "at 50": outcome.curve[0][1]["average_precision"]}


def table(cells: Cells) -> Table:
    """A row for each family."""
    return Table(
        (
            "warmup with BCE",
            "AP after 50 steps of it",
            *WARMUPS,
        ),
        [
            (
                CALLED[family],
                over(cells, ("50",), (family,), "at 50"),
                *(over(cells, (name,), (family,)) for name in WARMUPS),
            )
            for family in FAMILIES
        ],
    )


EXPERIMENT = Experiment("AP by the length of the warmup", runs, table, seeds=1, measure=measure)
