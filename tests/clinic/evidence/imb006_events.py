"""IMB006: events after which queued scores are not those of the model, and what emptying the queue does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.clinic.catalogue import pauc, smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import CALLED, Table, mean
from tests.clinic.planted_phases import Loop

FAMILIES = ("gaussian", "digits")
LOSSES = {"raw": smooth_ap(4096), "pairwise": pauc(queue=4096, surrogate="pairwise")}
AT, AFTER = 150, 40


def event(happens: Callable[[nn.Linear, torch.optim.Optimizer], None], reset: bool = False) -> Loop:
    """Something happens to the head or the optimizer, once; the queue may be emptied then."""

    def loop(step: int, model: nn.Module, loss_fn: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step == AT:
            with torch.no_grad():
                happens(model[-1], optimizer)  # type: ignore[index]
            if reset:
                loss_fn.reset_queue()  # type: ignore[operator]

    return loop


def shifted(head: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    """All scores move by 10."""
    head.bias.add_(10.0)


def stretched(head: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    """All scores are five times as far apart."""
    head.weight.mul_(5.0)
    head.bias.mul_(5.0)


def spiked(head: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    """The learning rate is 30 times as large from then on."""
    optimizer.param_groups[0]["lr"] *= 30.0


EVENTS: dict[str, Loop | None] = {
    "none": None,
    "all scores shifted by 10": event(shifted),
    "that shift, and reset_queue()": event(shifted, reset=True),
    "all scores times 5": event(stretched),
    "that stretch, and reset_queue()": event(stretched, reset=True),
    "learning rate times 30": event(spiked),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each event under each loss, up to 40 steps after it."""
    base = ClinicRun(smooth_ap(), rate=0.05, batch=64, steps=AT + AFTER, seed=seed)
    return {
        (name, loss, family): base.but(loss=make, loop=loop, family=family)
        for name, loop in EVENTS.items()
        for loss, make in LOSSES.items()
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each event; the mean over losses and seeds."""

    def both(name: str, family: str) -> str:
        return mean([figures for loss in LOSSES for figures in cells[name, loss, family]])

    return Table(
        ("event", *(CALLED[family] for family in FAMILIES)),
        [(name, *(both(name, family) for family in FAMILIES)) for name in EVENTS],
    )


EXPERIMENT = Experiment("AP after an event, by what is done with the queue", runs, table, seeds=1)
