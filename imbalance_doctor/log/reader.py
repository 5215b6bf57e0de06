"""From lines to records: reads a log once, and on from there when it has grown."""

from __future__ import annotations

import json
import stat
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from imbalance_doctor.findings import Failed, Finding
from imbalance_doctor.guard import from_outside
from imbalance_doctor.log.format import SCHEMA, LogError, kind_of
from imbalance_doctor.log.schema import STATS, is_header, line_type
from imbalance_doctor.log.types import MismatchError
from imbalance_doctor.records import (
    Array,
    EndRecord,
    EvalRecord,
    LossInfo,
    Record,
    RunInfo,
    StartRecord,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
)

T = TypeVar("T")

#: Characters of a line that an error shows.
SHOWN = 60


@dataclass
class Log:
    """One log file as read: the newest header, the records that count, and what was raised live."""

    path: Path
    info: RunInfo
    records: list[Record] = field(default_factory=list)
    live_findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: Rules that failed in the newest session.
    failed: list[Failed] = field(default_factory=list)
    torn_lines: int = 0
    sessions: int = 0


class _Kept(Generic[T]):
    """What stands in a log, in the order of its lines, and of each the step of the record it belongs to."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._steps: list[int] = []
        #: The largest step so far, at each: where a later session begins is found without looking at all.
        self._peaks: list[int] = []

    def add(self, item: T, step: int) -> None:
        self.items.append(item)
        self._steps.append(step)
        self._peaks.append(max(step, self._peaks[-1]) if self._peaks else step)

    def drop_last(self) -> None:
        for each in (self.items, self._steps, self._peaks):
            each.pop()

    def supersede(self, start: int) -> None:
        """Forget what belongs to this step and later ones."""
        first = bisect_left(self._peaks, start)
        later = [*zip(self.items[first:], self._steps[first:], strict=True)]
        for each in (self.items, self._steps, self._peaks):
            del each[first:]
        for item, step in later:
            if step < start:
                self.add(item, step)


class LogReader:
    """Reads one log file, and on from where it was.

    Args:
        path: The file.
        pipe: Whether it may be a pipe, which can be read once.
    """

    def __init__(self, path: Path, *, pipe: bool = False) -> None:
        self.path, self._pipe = path, pipe
        self._begin()

    def _begin(self) -> None:
        self._info: RunInfo | None = None
        self._records = _Kept[Record]()
        self._findings = _Kept[Finding]()
        self._notes: dict[str, None] = {}
        self._failed: list[Failed] = []
        self._sessions = 0
        self._histograms: dict[tuple[int, str], dict[str, Array]] = {}
        self._step = 0  # of the newest record line: findings follow the record that brought them
        #: Where the next line begins, how many are before it, and the one before it.
        self._position, self._lines, self._last = 0, 0, b""
        #: Lines that a crash cut; what is wrong with the newest one, if it is none; whether the last one is
        #: unfinished.
        self._torn = 0
        self._torn_at: str | None = None
        self._unfinished = False

    def read_on(self) -> Log:
        """The log as it is now.

        A file that was cut, or is another one by now, is read anew.

        Raises:
            LogError: It cannot be read, is empty, is no run log, or is of a newer schema; a line in its
                middle cannot be understood.
        """
        try:
            with _opened(self.path, pipe=self._pipe) as file:
                self._read(file)
        except BaseException as error:  # whatever it was, a part of a line may have been taken
            self._begin()
            if isinstance(error, OSError) and not from_outside(error):
                raise LogError(f"{self.path}: cannot be read: {error.strerror or error}") from error
            raise
        if self._info is None:
            raise LogError(f"{self.path}: the file is empty; a run log starts with a header line")
        return Log(
            self.path,
            self._info,
            list(self._records.items),
            list(self._findings.items),
            list(self._notes),
            list(self._failed),
            self._torn + self._unfinished + (self._torn_at is not None),
            self._sessions,
        )

    def _read(self, file: IO[bytes]) -> None:
        if self._position:
            file.seek(self._position - len(self._last))
            if file.read(len(self._last)) != self._last:  # it was cut, or is another one
                self._begin()
                file.seek(0)
        self._unfinished = False
        for line in file:
            text = line.decode("utf-8", "replace").strip()
            if not self._position:
                text = text.removeprefix("\ufeff")  # some editors begin a file with this mark
            if text:
                item = _parsed(text)
                # What does not end is being written, or a crash cut it: the rest may come.
                self._unfinished = item is _TORN and not line.endswith(b"\n") and self._info is not None
                if self._unfinished:
                    return
                self._take_line(item, text)
            self._position += len(line)
            self._lines += line.endswith(b"\n")
            self._last = line

    def _take_line(self, item: Any, text: str) -> None:
        try:
            self._check(item, text[:SHOWN])
            if item is not _TORN:
                kind = line_type(item)
                fields = None if kind is None else kind.read(item)
                if fields is not None:
                    self._take(item, fields)
        except MismatchError as error:
            raise self._error(error.of(item["kind"])) from None
        except RecursionError:
            raise self._error("this line is nested too deeply") from None

    def _check(self, item: Any, shown: str) -> None:
        """Whether a line may stand where it stands."""
        begins = isinstance(item, dict) and is_header(item)
        if self._torn_at is not None:
            # A crash tears the last line of a session: at the end of the file or before a new header.
            if not begins:
                raise LogError(self._torn_at)
            self._torn, self._torn_at = self._torn + 1, None
        if item is _TORN:
            self._torn_at = str(self._error(f"not a run log: this line is not JSON: {shown!r}"))
            if self._info is None:
                raise LogError(self._torn_at)
        elif not isinstance(item, dict) or "kind" not in item:
            raise self._error(f'not a run log: expected an object with "kind", got {shown!r}')
        elif self._info is None and not begins:
            raise self._error(f'not a run log: the first line must be of kind "run", got {shown!r}')
        elif begins and type(item["schema"]) is int and item["schema"] > SCHEMA:
            raise self._error(
                f"schema {item['schema']} is newer than this version of imbalance-doctor reads "
                f"({SCHEMA}); upgrade imbalance-doctor"
            )

    def _error(self, what: str) -> LogError:
        return LogError(f"{self.path}:{self._lines + 1}: {what}")

    # --- what a line says -------------------------------------------------------------------------------

    def _take(self, item: Mapping[str, Any], fields: dict[str, Any]) -> None:
        kind, event = item["kind"], item.get("event")
        if is_header(item):
            self._take_header(fields)
        elif kind == "histogram":
            self._histograms[fields["step"], fields["loss"]] = fields["stats"]
        elif "failed" in fields:
            self._failed.append(fields["failed"])  # whoever diagnoses the run says so
        elif kind == "note":
            self._notes[fields["text"]] = None  # a resumed session says it again
        elif kind == "finding" and event != "treated":
            self._findings.add(fields["finding"], self._step)
        elif kind == "step":
            self._add(StepRecord(**self._with_histogram(fields)))
        elif kind == "eval":
            self._add(EvalRecord(**fields))
        elif kind == "end":
            self._add(EndRecord(**fields))
        else:
            fields["loss"] = LossInfo(**fields["loss"])
            self._add(TreatmentRecord(**fields) if event == "treated" else WatchRecord(**fields))

    def _take_header(self, fields: dict[str, Any]) -> None:
        del fields["schema"]
        resumes = self._info is not None
        self._info = RunInfo(**fields)
        self._sessions += 1
        self._histograms.clear()
        self._failed.clear()
        self._step = start = self._info.start_step
        if resumes:
            self._records.supersede(start)
            self._findings.supersede(start)
            self._add(StartRecord(start))

    def _with_histogram(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a step with the histogram that came before it."""
        histogram = self._histograms.pop((fields["step"], fields["loss"]), None)
        if histogram is not None:
            fields["stats"] |= histogram
            try:
                STATS.check(fields["stats"])
            except MismatchError as error:
                raise error.inside("stats") from None
        return fields

    def _add(self, record: Record) -> None:
        records = self._records
        if records.items and isinstance(records.items[-1], EndRecord):
            records.drop_last()  # what goes on has not ended
        records.add(record, record.step)
        self._step = record.step


#: What is read of a line that is not JSON.
_TORN = object()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if from_outside(error):
            raise
        return _TORN


def _opened(path: Path, *, pipe: bool) -> IO[bytes]:
    """A file to read; what would never end, or would wait for a writer, is refused."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or (pipe and stat.S_ISFIFO(mode))):
        raise LogError(f"{path}: cannot be read: expected a file, got {kind_of(mode)}")
    return path.open("rb")


def read_log(path: Path, *, pipe: bool = False) -> Log:
    """Read one log file.

    Args:
        path: The file.
        pipe: Whether it may be a pipe.

    Raises:
        LogError: As in `LogReader.read_on`.
    """
    return LogReader(path, pipe=pipe).read_on()


def before(records: Iterable[Record], start: int) -> list[Record]:
    """What survives of records from before a session that starts at `start`."""
    return [record for record in records if record.step < start and not isinstance(record, EndRecord)]


def records_in(path: Path) -> list[Record]:
    """The records of a log that may not be there yet."""
    if not path.exists() or path.stat().st_size == 0:
        return []
    return read_log(path).records
