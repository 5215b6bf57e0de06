"""IMB403: a batch with a third of a live positive and one with more, for the same rows and the same steps."""

from __future__ import annotations

from tests.clinic.catalogue import pauc, recall
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table, over, spread

RATE = 0.005
FAMILIES = ("gaussian",)
#: Rows of a batch, and steps: the first two see as many rows in all.
BATCHES = ((64, 480), (256, 120), (256, 480))
#: A queue that holds 40 positives, so that only the live ones differ.
LOSSES = {
    "partial AUC, trapezoid": pauc(queue=8192),
    'the same, `pos_numerator="live"`': pauc(queue=8192, pos_numerator="live"),
    "Recall@2 %": recall(0.02, 8192),
    "partial AUC, pairwise": pauc(queue=8192, surrogate="pairwise"),
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss with each batch."""
    base = ClinicRun(pauc(), rate=RATE, seed=seed)
    return {
        (name, batch, steps, family): base.but(loss=loss, batch=batch, steps=steps, family=family)
        for name, loss in LOSSES.items()
        for batch, steps in BATCHES
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each loss."""
    return Table(
        ("loss", *(f"{batch * RATE:.2g} live positives, {steps} steps" for batch, steps in BATCHES)),
        [
            (name, *(over(cells, (name, *batch), FAMILIES, text=spread) for batch in BATCHES))
            for name in LOSSES
        ],
    )


EXPERIMENT = Experiment("AP by live positives in a batch", runs, table)
