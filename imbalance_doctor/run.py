"""A run as read from disk (or kept in memory): records in order, tables for people who use pandas."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from imbalance_doctor.findings import Failed, Finding
from imbalance_doctor.ranks import compared
from imbalance_doctor.records import (
    EvalRecord,
    LossInfo,
    Record,
    RunInfo,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
)
from imbalance_doctor.runlog import HISTOGRAM_STATS, LogError, before, read_log

if TYPE_CHECKING:
    import pandas as pd

RunPath: TypeAlias = "str | Path"


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
        return table.melt(id_vars=["step", "loss_name", "class"], var_name="stat").dropna(
            subset="value", ignore_index=True
        )

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
            if not all(name in record.stats for name in HISTOGRAM_STATS):
                continue
            positive, negative, edges = (record.stats[name] for name in HISTOGRAM_STATS)
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
    return {name: np.float32(value).reshape(()) for name, value in metrics.items()}


def _table(rows: Iterable[tuple[dict[str, Any], Any]]) -> pd.DataFrame:
    """Wide table from per-class arrays ``[C]`` and scalars; deeper arrays are left out.

    Column by column, because a run of 100,000 steps has millions of cells.
    """
    import pandas as pd

    kept = [(keys, {name: v for name, v in values.items() if v.ndim < 2}) for keys, values in rows]
    if not kept:
        return pd.DataFrame()
    classes = [max((len(v) for v in values.values() if v.ndim), default=1) for _, values in kept]
    ends = np.cumsum(classes)
    columns: dict[str, Any] = {
        key: np.repeat(np.array([keys[key] for keys, _ in kept]), classes) for key in kept[0][0]
    }
    columns["class"] = np.arange(ends[-1]) - np.repeat(ends - classes, classes)
    for name in dict.fromkeys(name for _, values in kept for name in values):
        column = np.full(ends[-1], np.nan)
        for (_, values), end, count in zip(kept, ends, classes, strict=True):
            if name in values:
                value = values[name]
                # A scalar holds for every class of its record; a shorter array for those it has.
                last = end if value.ndim == 0 else end - count + len(value)
                column[end - count : last] = value
        columns[name] = column
    return pd.DataFrame(columns)


def load_run(run: RunPath) -> Run:
    """Read a run: a run directory or one of its log files.

    Raises:
        LogError: There is nothing to read, or it cannot be read; the message says what and where.
    """
    path = Path(run)
    if not path.exists():
        raise LogError(f"{path}: no such file or directory; give a run directory or a log file")
    files = sorted(path.glob("diagnostics-rank*.jsonl"), key=_rank) if path.is_dir() else [path]
    if not files:
        raise LogError(f"{path}: no diagnostics-rank*.jsonl in this directory; is it a run directory?")
    main = _read(files[0])
    main.source = str(path)
    if len(files) > 1:
        _compare(main, files[1:])
    return main


def _compare(main: Run, files: Sequence[Path]) -> None:
    """Hold a run against what the other ranks have of it, as far as they tell of the same sessions."""
    notes, others = list(main.notes), []
    for file in files:
        rank = _rank(file)[0]
        if rank >= main.info.world_size:
            notes.append(f"{file.name} is of an earlier session with more processes, and was left out")
            continue
        try:
            other = _read(file)
        except LogError as error:  # one rank's file must not hide what the others know
            notes.append(f"rank {rank} was left out: {error}")
            continue
        if other.info.start_step != main.info.start_step:  # it has not come to the newest session
            other.records = before(other.records, main.info.start_step)
        others.append(other)
    if others:
        main.others = others
        main.records = compared(main.records, [other.records for other in others], main.losses)
        ranks = ", ".join(str(other.info.rank) for other in others)
        notes.append(f"{len(others) + 1} ranks: this is rank {main.info.rank}, compared with {ranks}")
    main.notes = notes


def _rank(file: Path) -> tuple[int, str]:
    digits = file.stem.removeprefix("diagnostics-rank")
    return int(digits) if digits.isdigit() else sys.maxsize, file.name


def _read(file: Path) -> Run:
    log = read_log(file)
    notes = list(log.notes)
    if log.torn_lines:
        notes.append(f"{log.torn_lines} line(s) torn by a crash were left out")
    if log.sessions > 1:
        notes.append(f"{log.sessions} sessions; the last one starts at step {log.info.start_step}")
    return Run(log.info, log.records, log.live_findings, str(file), notes, log.failed)
