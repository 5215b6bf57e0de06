"""A CSV table whose columns carry our statistics' names, as `load_run(...).stats` has them.

One row for each step, loss and class: ``step``, ``loss_name``, ``class`` and the statistics; scalars are
repeated in the rows of each class. Validation metrics may be among the columns. Other columns of numbers are
metrics of the user's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imbalance_doctor.log import LogError
from imbalance_doctor.log.run import Run
from imbalance_doctor.losses import kinds
from imbalance_doctor.records import (
    Array,
    EvalRecord,
    LossInfo,
    Record,
    RunInfo,
    StepRecord,
    WatchRecord,
    as_array,
)
from imbalance_doctor.scores import metrics
from imbalance_doctor.statistics import STATISTICS

if TYPE_CHECKING:
    import pandas as pd

STEP, LOSS, CLASS = "step", "loss_name", "class"
#: Columns that say what a row is of.
KEYS = (STEP, LOSS, CLASS)

#: The loss of a table that names none.
UNNAMED = "loss"


def reads(path: Path) -> bool:
    """Whether it is a table with steps and one of our statistics or metrics."""
    try:
        if path.suffix.lower() != ".csv" or not path.is_file():
            return False
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = {*next(csv.reader(file), ())}
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return STEP in names and bool(names & {*STATISTICS, *metrics.METRICS})


def read(path: Path) -> Run:
    """The run that a table holds.

    Raises:
        LogError: A step or a class is no whole number, or a statistic no number; the message names it.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise LogError(f"{path}: cannot be read as CSV: {' '.join(str(error).split())}") from error
    if table.empty:
        raise LogError(f"{path}: expected rows below the names of the columns, got none")
    for name in (STEP, CLASS):
        if name in table and not pd.api.types.is_integer_dtype(table[name]):
            raise LogError(
                f"{path}: expected the column {name!r} to hold whole numbers, got {table[name].dtype}"
            )
    for name in table:
        if name in STATISTICS or name in metrics.METRICS:
            table[name] = _numbers(table[name], path)
    losses = table[LOSS].astype(str) if LOSS in table else pd.Series(UNNAMED, table.index)
    records = list(_records(table.assign(**{LOSS: losses})))
    steps = np.unique(table[STEP])
    every = int(np.median(np.diff(steps))) if len(steps) > 1 else 1
    note = f"read as a table of statistics: {len(table):,} rows; settings of the losses are not known"
    return Run(RunInfo(every=max(every, 1)), records, source=str(path), notes=[note])


def _numbers(column: pd.Series[Any], path: Path) -> pd.Series[Any]:
    try:
        return column.astype(np.float64)
    except ValueError as error:
        raise LogError(f"{path}: expected the column {column.name!r} to hold numbers, got {error}") from error


def _records(table: pd.DataFrame) -> Iterator[Record]:
    """Its records, in the order of their steps."""
    first = int(table[STEP].min())
    for name in dict.fromkeys(table[LOSS]):
        yield WatchRecord(first, LossInfo(name, _kind(name)))
    names = [str(name) for name in table if name not in KEYS]
    own = [name for name in names if name not in STATISTICS and name not in metrics.METRICS]
    logged = [name for name in own if table[name].dtype.kind in "iuf"]
    order = [STEP, CLASS] if CLASS in table else [STEP]
    for (step, loss), rows in table.sort_values(order, kind="stable").groupby([STEP, LOSS], sort=False):
        step, loss = int(step), str(loss)
        stats = dict(_values(rows, [name for name in names if name in STATISTICS]))
        numbers = {name: float(rows[name].iloc[0]) for name in logged}
        if stats:
            yield StepRecord(step, loss, stats, {n: v for n, v in numbers.items() if np.isfinite(v)})
        measured = dict(_values(rows, [name for name in names if name in metrics.METRICS]))
        if measured:
            yield EvalRecord(step, measured)


def _values(rows: pd.DataFrame, names: list[str]) -> Iterator[tuple[str, Array]]:
    """Each statistic that was recorded in these rows: a scalar, or one value for each class."""
    for name in names:
        values = rows[name].to_numpy()
        if np.isnan(values).all():
            continue
        scalar = name in STATISTICS and STATISTICS[name].shape == "scalar"
        yield name, as_array(values[0] if scalar else values)


def _kind(name: str) -> str:
    """The kind of a loss that is called by it, as losses are by default; another one is not known."""
    return name if name in kinds.ANY else kinds.OTHER
