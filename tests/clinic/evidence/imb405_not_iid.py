"""IMB405: a budget over all rows and over negatives, where a sampler changes the mix."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.clinic.catalogue import pauc
from tests.clinic.clinic import Batch, ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, over, spread
from tests.clinic.families import FAMILIES as LAWS
from tests.clinic.families import model_for
from tests.clinic.planted_phases import Tamper, oversampled, pretrain

RATE = 0.02
FAMILIES = ("gaussian", "digits")
TIMES = 20


def hardest_fifth(run: ClinicRun) -> Tamper:
    """The fifth of the negatives that a trained model scores highest, as mining leaves it; every positive."""
    miner: list[torch.nn.Module] = []

    def tamper(step: int, x: Tensor, y: Tensor) -> Batch:
        if not miner:
            miner.append(model_for(LAWS[run.family](), run.model, 1))
            pretrain(run, miner[0], weight=20.0)
        with torch.no_grad():
            scores = miner[0](x)[:, 0]
        border = scores[y == 0].quantile(0.8)
        kept = (y == 1) | (scores >= border)
        return x[kept], y[kept]

    return tamper


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Fair draws, positives drawn more often, and mined negatives."""
    made: dict[Key, ClinicRun] = {}
    for family in FAMILIES:
        fair = ClinicRun(
            pauc(0.05, surrogate="pairwise"), family=family, rate=RATE, batch=512, steps=200, seed=seed
        )
        over_all = pauc(0.05, surrogate="pairwise", budget_basis="population")
        made["fair", family] = fair
        made["more", family] = fair.but(tamper=oversampled(TIMES))
        made["hard", family] = fair.but(tamper=hardest_fifth(fair))
        made["over all", family] = fair.but(tamper=oversampled(TIMES), loss=over_all)
    return made


def table(cells: Cells) -> Table:
    """A row for each family."""
    columns = ("fair", "more", "hard", "over all")
    called = {"gaussian": "Gaussian data: AP", "digits": "digits: AP"}
    return Table(
        ("", "fair", 'more positives, "fpr"', 'hard negatives, "fpr"', 'more positives, "population"'),
        [
            (called[family], *(over(cells, (column,), (family,), text=spread) for column in columns))
            for family in FAMILIES
        ],
    )


EXPERIMENT = Experiment("AP by the budget's basis under a sampler", runs, table)
