"""A run as read from disk (or kept in memory): records in order, tables for people who use pandas."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from imbalance_doctor.findings import Failed, Finding
from imbalance_doctor.guard import from_outside
from imbalance_doctor.log import LogError, LogReader, before
from imbalance_doctor.log.ranks import Comparison
from imbalance_doctor.records import (
    EvalRecord,
    LossInfo,
    Record,
    RunInfo,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
)
from imbalance_doctor.statistics import SCORE_HISTOGRAMS

if TYPE_CHECKING:
    import pandas as pd

RunPath: TypeAlias = "str | Path"

#: The column of values while a table becomes a long one; a name that no metric has.
_VALUE = "\0value"


@dataclass
class Run:
    """Everything that is known of a run.

    Attributes:
        info: The header of its newest session.
        records: Its records, in order, superseded ones left out.
        live_findings: What was raised while it ran.
        source: Where it was read from.
        notes: What a reader should know of the log, such as a torn line.
        failed: Rules that failed while it ran, in its newest session.
        others: The same run as the other ranks recorded it.
    """

    info: RunInfo
    records: Sequence[Record] = field(repr=False)
    live_findings: Sequence[Finding] = ()
    source: str = "this process"
    notes: Sequence[str] = ()
    failed: Sequence[Failed] = ()
    others: Sequence[Run] = field(default=(), repr=False)

    @property
    def losses(self) -> dict[str, LossInfo]:
        """The watched losses by name, with their newest settings."""
        found = {}
        for record in self.records:
            if isinstance(record, (WatchRecord, TreatmentRecord)):
                found[record.loss.name] = record.loss
        return found

    @property
    def treatments(self) -> list[TreatmentRecord]:
        """Settings that were changed while it ran."""
        return [record for record in self.records if isinstance(record, TreatmentRecord)]

    def steps(self, loss: str | None = None) -> list[StepRecord]:
        """The step records, of one loss or of all."""
        return [r for r in self.records if isinstance(r, StepRecord) and loss in (None, r.loss)]

    @property
    def evaluations(self) -> list[EvalRecord]:
        """The evaluation records."""
        return [record for record in self.records if isinstance(record, EvalRecord)]

    @property
    def stats(self) -> pd.DataFrame:
        """Statistics, one row for each step, loss and class; scalars are repeated in each class's row.

        Statistics with a further dimension are left out: histograms are in `histograms`, quantiles in the
        records themselves.
        """
        return _table(
            ({"step": r.step, "loss_name": r.loss}, {**_scalars(r.metrics), **r.stats}) for r in self.steps()
        )

    @property
    def stats_long(self) -> pd.DataFrame:
        """The same statistics with columns ``step, loss_name, class, stat, value``."""
        table = self.stats
        if table.empty:
            return table
        # A metric may be called "value", and a table that is melted may not have such a column.
        long = table.melt(id_vars=["step", "loss_name", "class"], var_name="stat", value_name=_VALUE)
        return long.dropna(subset=_VALUE, ignore_index=True).rename(columns={_VALUE: "value"})

    @property
    def evals(self) -> pd.DataFrame:
        """Validation metrics, one row for each evaluation and class."""
        return _table(({"step": r.step}, r.metrics) for r in self.evaluations)

    @property
    def histograms(self) -> pd.DataFrame:
        """Score histograms, one row for each step, loss, class and bin."""
        import pandas as pd

        rows = []
        for record in self.steps():
            if not all(name in record.stats for name in SCORE_HISTOGRAMS):
                continue
            positive, negative, edges = (record.stats[name] for name in SCORE_HISTOGRAMS)
            for c in range(len(positive)):
                rows.append(
                    pd.DataFrame(
                        {
                            "step": record.step,
                            "loss_name": record.loss,
                            "class": c,
                            "left": edges[c, :-1],
                            "right": edges[c, 1:],
                            "positives": positive[c],
                            "negatives": negative[c],
                        }
                    )
                )
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _scalars(metrics: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.asarray(value, np.float64) for name, value in metrics.items()}


def _table(rows: Iterable[tuple[dict[str, Any], Any]]) -> pd.DataFrame:
    """Wide table from per-class arrays ``[C]`` and scalars; deeper arrays are left out.

    Column by column, because a run of 100,000 steps has millions of cells. What is called like one of the
    first columns is left out.
    """
    import pandas as pd

    kept = [(keys, {name: v for name, v in values.items() if v.ndim < 2}) for keys, values in rows]
    if not kept:
        return pd.DataFrame()
    classes = [max((len(v) for v in values.values() if v.ndim), default=1) for _, values in kept]
    ends = np.cumsum(classes)
    columns: dict[str, Any] = {
        # As objects: an array of texts has room for the longest name in each row.
        key: np.repeat(np.array([keys[key] for keys, _ in kept], object), classes)
        for key in kept[0][0]
    }
    columns["step"] = columns["step"].astype(np.int64)
    columns["class"] = np.arange(ends[-1]) - np.repeat(ends - classes, classes)
    for name in dict.fromkeys(name for _, values in kept for name in values if name not in columns):
        column = np.full(ends[-1], np.nan)
        for (_, values), end, count in zip(kept, ends, classes, strict=True):
            if name in values:
                value = values[name]
                # A scalar holds for every class of its record; a shorter array for those it has.
                last = end if value.ndim == 0 else end - count + len(value)
                column[end - count : last] = value
        columns[name] = column
    return pd.DataFrame(columns)


class RunReader:
    """Reads a run, and on from where it was.

    Args:
        run: A run directory or one of its log files.
        pipe: Whether a file may be a pipe, which can be read once.
    """

    def __init__(self, run: RunPath, *, pipe: bool = False) -> None:
        self.path, self._pipe = Path(run), pipe
        self._logs: dict[Path, LogReader] = {}
        self._comparison = Comparison()

    def read_on(self) -> Run:
        """The run as it is now.

        Raises:
            LogError: There is nothing to read, or it cannot be read; the message says what and where.
        """
        files = self._files()
        main = self._read(files[0])
        main.source = str(self.path)
        if len(files) > 1:
            self._compare(main, files[1:])
        return main

    def _files(self) -> list[Path]:
        path = self.path
        try:
            if not path.exists():
                raise LogError(f"{path}: no such file or directory; give a run directory or a log file")
            if not path.is_dir():
                return [path]
            files = sorted(path.glob("diagnostics-rank*.jsonl"), key=_rank)
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            if from_outside(error):
                raise
            raise LogError(f"{path}: cannot be read: {error.strerror or error}") from error
        if not files:
            raise LogError(f"{path}: expected a run directory, got one without diagnostics-rank*.jsonl")
        return files

    def _read(self, file: Path) -> Run:
        if file not in self._logs:
            self._logs[file] = LogReader(file, pipe=self._pipe and file == self.path)
        log = self._logs[file].read_on()
        notes = list(log.notes)
        if log.torn_lines:
            notes.append(f"{log.torn_lines} line(s) torn by a crash were left out")
        if log.sessions > 1:
            notes.append(f"{log.sessions} sessions; the last one starts at step {log.info.start_step}")
        return Run(log.info, log.records, log.live_findings, str(file), notes, log.failed)

    def _compare(self, main: Run, files: Sequence[Path]) -> None:
        """Hold a run against what the other ranks have of it, as far as they tell of the same sessions."""
        notes, others = list(main.notes), []
        for file in files:
            rank = _rank(file)[0]
            if rank >= main.info.world_size:
                notes.append(f"{file.name} was left out: it is from an earlier session with more processes")
                continue
            try:
                other = self._read(file)
            except LogError as error:  # one rank's file must not hide what the others know
                notes.append(f"rank {rank} was left out: {error}")
                continue
            if other.info.start_step != main.info.start_step:  # it has not come to the newest session
                other.records = before(other.records, main.info.start_step)
            others.append(other)
        if others:
            main.others = others
            main.records = self._comparison.read_on(main.records, [other.records for other in others])
            ranks = ", ".join(str(other.info.rank) for other in others)
            notes.append(f"{len(others) + 1} ranks: this is rank {main.info.rank}, compared with {ranks}")
        main.notes = notes


def _rank(file: Path) -> tuple[int, str]:
    digits = file.stem.removeprefix("diagnostics-rank")
    return int(digits) if digits.isdecimal() else sys.maxsize, file.name
