"""IMB202: scores spread over thousands of temperatures."""

from __future__ import annotations

from typing import Any

from imbalance_doctor.rules.measures.pool import carrying_share, mean, spread_in_temperatures
from tests.clinic.catalogue import pauc, recall, smooth_ap
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Figures, Key, logged, window
from tests.clinic.evidence.table import Cell, Table, over
from tests.clinic.evidence.table import mean as average

FAMILIES = ("gaussian", "digits")
SGD = {"optimizer": "sgd", "lr": 0.1}
#: Losses with a temperature that fits,
FITTING: dict[str, dict[str, Any]] = {
    "Smooth-AP, Adam": {"loss": smooth_ap(tau_scale="iqr", temperature=0.1)},
    "Smooth-AP, SGD": {"loss": smooth_ap(tau_scale="iqr", temperature=0.1), **SGD},
    "Recall@5 %, Adam": {"loss": recall()},
    "partial AUC, Adam": {"loss": pauc(0.05)},
}
#: and what saturates them.
SATURATED: dict[tuple[str, str], dict[str, Any]] = {
    ("Smooth-AP, Adam", "logits times 30"): {"loss": smooth_ap(), "logit_scale": 30.0},
    ("Smooth-AP, Adam", "logits times 300"): {"loss": smooth_ap(), "logit_scale": 300.0},
    ("Smooth-AP, SGD", "temperature 0.0005"): {"loss": smooth_ap(temperature=0.0005)},
    ("Recall@5 %, Adam", "temperature 0.001"): {"loss": recall(temperature=0.001, tau_scale=None)},
    ("partial AUC, Adam", "temperature 0.001"): {"loss": pauc(0.05, temperature=0.001)},
}


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Each loss with a temperature that fits and with ones that do not."""
    base = ClinicRun(smooth_ap(), rate=0.02, steps=300, seed=seed)
    made: dict[Key, ClinicRun] = {}
    for family in FAMILIES:
        for loss, settings in FITTING.items():
            made[loss, "", family] = base.but(family=family, **settings)
        for (loss, fault), changes in SATURATED.items():
            made[loss, fault, family] = made[loss, "", family].but(**changes)
    return made


def measure(run: ClinicRun) -> Figures:
    """AP, and the rule's own two measures at the end: spread over temperature, share with gradient."""
    outcome, log = logged(run)
    end = window(log)
    return {
        **outcome.metrics,
        "ratio": float(mean(spread_in_temperatures(end))[0]),
        "carrying": float(carrying_share(end, 20.0)[1][0]),
    }


def whole(cell: Cell, name: str) -> str:
    """A mean over seeds, of two digits."""
    value = sum(figures[name] for figures in cell) / len(cell)
    return f"{float(f'{value:.2g}'):,.0f}"


def percent(cell: Cell, name: str) -> str:
    """A mean share."""
    return f"{100.0 * sum(figures[name] for figures in cell) / len(cell):.0f} %"


def table(cells: Cells) -> Table:
    """A row for each fault; the last column is the same loss with a temperature that fits."""
    columns = (("ratio", whole), ("carrying", percent), ("average_precision", average))
    return Table(
        ("loss, optimizer, fault", "spread / temperature", "with gradient", "AP", "AP where it is 10"),
        [
            (
                f"{loss}, {fault}",
                *(over(cells, (loss, fault), FAMILIES, figure, text) for figure, text in columns),
                over(cells, (loss, ""), FAMILIES),
            )
            for loss, fault in SATURATED
        ],
    )


EXPERIMENT = Experiment("AP by spread over temperature", runs, table, seeds=1, measure=measure)
