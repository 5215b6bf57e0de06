"""An experiment: the runs behind one table, what is measured of each, and the table that they make."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from imbalance_doctor.examine.loading import load_run
from imbalance_doctor.history import History, Window
from imbalance_doctor.log.run import Run
from tests.clinic.clinic import ClinicRun, Outcome, train
from tests.clinic.evidence.table import Cell, Figures, Table
from tests.clinic.run import carry_out

#: Which cell a run is for.
Key = Hashable
Cells = Mapping[Key, Cell]


def final_metrics(run: ClinicRun) -> Figures:
    """Validation metrics at the end. Nothing is asked of the monitor, so it looks as seldom as it can."""
    return train(run.but(every=run.steps)).metrics


@dataclass(frozen=True)
class Experiment:
    """What a script of this folder defines as ``EXPERIMENT``.

    Attributes:
        about: One line for ``--list``.
        runs: The runs of one seed, by cell; none, where the table is computed without training.
        table: The table, from what was measured in each cell.
        seeds: How many seeds the table in the page takes.
        measure: What is measured of a run; a function of a module, because processes hand it over by name.
    """

    about: str
    runs: Callable[[int], Mapping[Key, ClinicRun]]
    table: Callable[[Cells], Table]
    seeds: int = 2
    measure: Callable[[ClinicRun], Figures] = final_metrics

    def cut(self, steps: int) -> Experiment:
        """The same with runs of a few steps and little validation data: whether it works, and no more."""

        def short(seed: int) -> Mapping[Key, ClinicRun]:
            runs = self.runs(seed)
            return {
                key: run.but(steps=min(steps, run.steps), validation_rows=500) for key, run in runs.items()
            }

        return replace(self, runs=short)

    def conduct(self, seeds: int, workers: int, what: str) -> Table:
        """Carry out the runs of the first seeds, and make the table."""
        runs = {(key, seed): run for seed in range(seeds) for key, run in self.runs(seed).items()}
        named = {f"{key} seed {seed}": run for (key, seed), run in runs.items()}
        measured = carry_out(named, workers, what, self.measure) if named else {}
        cells: dict[Key, list[Figures]] = {}
        for key, seed in runs:
            cells.setdefault(key, []).append(measured[f"{key} seed {seed}"])
        return self.table(cells)


def logged(run: ClinicRun) -> tuple[Outcome, Run]:
    """A run and its log, for what is measured in the log."""
    with tempfile.TemporaryDirectory() as folder:
        return train(run, Path(folder)), load_run(folder)


def window(log: Run) -> Window:
    """A run's newest records as the rules see them."""
    history = History(log.info)
    for record in log.records:
        history.add(record)
    return next(iter(history.windows()))


def names() -> list[str]:
    """The scripts of this folder, by code."""
    return sorted(path.stem for path in Path(__file__).parent.glob("imb*.py"))


def experiment(name: str) -> Experiment:
    """The experiment of a script."""
    found: Experiment = import_module(f"tests.clinic.evidence.{name}").EXPERIMENT
    return found


def code_of(name: str) -> str:
    """The code of the rule whose page has the table."""
    return name.split("_")[0].upper()
