"""IMB504: the speed and the end of the temperature's decay."""

from __future__ import annotations

from tests.clinic.catalogue import smooth_ap, warmed
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import CALLED, Table, over

FAMILIES = ("gaussian", "digits")
WARMUP, STEPS = 50, 350
#: Temperature at the start and at the end.
SCHEDULES = {"0.5, 0.005": (0.5, 0.005), "0.05, 0.0005": (0.05, 0.0005), "1, 0.0005": (1.0, 0.0005)}
#: Steps of the decay: a fifteenth and two thirds of the main phase.
DECAYS = (20, 200)


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Smooth-AP after a warmup, with each schedule."""
    base = ClinicRun(smooth_ap(), rate=0.02, batch=128, steps=STEPS, seed=seed)
    return {
        (name, decay, family): base.but(
            loss=warmed(smooth_ap(), WARMUP, temp_start=start, temp_end=end, temp_decay_steps=decay),
            family=family,
        )
        for name, (start, end) in SCHEDULES.items()
        for decay in DECAYS
        for family in FAMILIES
    }


def table(cells: Cells) -> Table:
    """A row for each schedule; a cell has the fast decay and the slow one."""

    def both(name: str, family: str) -> str:
        return " / ".join(over(cells, (name, decay), (family,)) for decay in DECAYS)

    return Table(
        ("from, to", *(CALLED[family] for family in FAMILIES)),
        [(name, *(both(name, family) for family in FAMILIES)) for name in SCHEDULES],
    )


EXPERIMENT = Experiment("AP by the temperature's decay", runs, table)
