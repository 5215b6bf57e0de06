"""The run log: append-only JSON Lines, one self-describing object a line, one file per writing process.

Each session of a run starts with a header (``"kind": "run"``); a resumed run appends a new header, and its
steps supersede older ones from its first step on. Numbers are written as decimal text that reads back to
the same float32. Lines are handed to the operating system whole, one write each, so that a
killed process leaves at most one torn line, which the reader skips and counts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from imbalance_doctor import exclusive
from imbalance_doctor.findings import Failed, Finding
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
    as_array,
)

#: Version of the format, in every header.
#: 1: the first one.
SCHEMA = 1

#: Statistics that go into a line of their own (``"kind": "histogram"``), because they are large and rare.
HISTOGRAM_STATS = ("pos_score_hist", "neg_score_hist", "score_hist_edges")


class LogError(ValueError):
    """A log that cannot be read; the message names the file and, where there is one, the line."""


def log_path(run_dir: Path, rank: int) -> Path:
    """Where the process of a rank writes."""
    return run_dir / f"diagnostics-rank{rank}.jsonl"


# --- records to lines -------------------------------------------------------------------------------


def _number(number: float) -> str:
    """A number as JSON. Nine significant digits tell any two float32 apart, and most need fewer."""
    if math.isfinite(number):
        return f"{number:.9g}"
    return "null" if math.isnan(number) else '"inf"' if number > 0 else '"-inf"'


def _values(array: Array) -> str:
    """An array as JSON: a number, a list of them, or lists of lists."""
    return _nested(array.tolist()) if array.ndim else _number(float(array))


def _nested(values: list[Any]) -> str:
    if values and isinstance(values[0], list):
        return "[" + ",".join(map(_nested, values)) + "]"
    if math.isfinite(sum(values)):
        return _pattern(len(values)) % tuple(values)
    return "[" + ",".join(map(_number, values)) + "]"


@lru_cache(maxsize=16)
def _pattern(length: int) -> str:
    """A list of numbers, to be filled in one call."""
    return "[" + ",".join(["%.9g"] * length) + "]"


def _table(arrays: Mapping[str, Array]) -> str:
    return "{" + ",".join([_key(name) + _values(array) for name, array in arrays.items()]) + "}"


@lru_cache(maxsize=256)
def _key(name: str) -> str:
    return json.dumps(name) + ":"


def _text(value: Any) -> str:
    """Anything else as JSON; settings may hold NumPy scalars, paths or dtypes."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _array(values: Any) -> Array:
    def parse(value: Any) -> Any:
        if isinstance(value, list):
            return [parse(item) for item in value]
        return math.nan if value is None else float(value)

    return as_array(parse(values))


def header(info: RunInfo) -> str:
    """The first line of a session."""
    return _text({"kind": "run", "schema": SCHEMA, **asdict(info)})


def encode(record: Record) -> list[str]:
    """A record as the JSON objects that hold it, one a line."""
    if isinstance(record, StepRecord):
        where = f'"step":{record.step},"loss":{json.dumps(record.loss)}'
        histogram = {name: record.stats[name] for name in HISTOGRAM_STATS if name in record.stats}
        stats = {name: value for name, value in record.stats.items() if name not in histogram}
        metrics = ""
        if record.metrics:
            metrics = f',"metrics":{_table({name: as_array(x) for name, x in record.metrics.items()})}'
        line = f'{{"kind":"step",{where},"stats":{_table(stats)}{metrics}}}'
        # A histogram goes before its step line, so that a reader has both when it reaches the step.
        before = [f'{{"kind":"histogram",{where},"stats":{_table(histogram)}}}'] if histogram else []
        return [*before, line]
    if isinstance(record, EvalRecord):
        return [f'{{"kind":"eval","step":{record.step},"metrics":{_table(record.metrics)}}}']
    if isinstance(record, WatchRecord):
        return [_text({"kind": "run", "event": "watch", "step": record.step, "loss": asdict(record.loss)})]
    if isinstance(record, TreatmentRecord):
        return [_text({"kind": "finding", "event": "treated", **asdict(record)})]
    return [_text({"kind": "end", "step": record.step})]


def encode_finding(finding: Finding) -> str:
    """A finding as it stood when it opened, grew graver or was resolved."""
    event = "resolved" if finding.status == "resolved" else "opened"
    evidence = {name: json.loads(_number(float(value))) for name, value in finding.evidence.items()}
    return _text({"kind": "finding", "event": event, "finding": {**finding.to_dict(), "evidence": evidence}})


def encode_note(text: str) -> str:
    """Something that a reader of the run should know."""
    return _text({"kind": "note", "text": text})


def encode_failed(rule: Failed) -> str:
    """A rule that failed: a note, and what it says as data."""
    return _text({"kind": "note", "text": str(rule), "failed": asdict(rule)})


class LogWriter:
    """Appends to one log file.

    Args:
        path: The file; its folder is made.
        opener: How to open it, for tests that need a disk to fill up.
        last_words: Called before it is closed, whoever closes it.

    Raises:
        OSError: The folder or file cannot be made, another process writes to it, or, from `write`, the disk
            is full.
    """

    def __init__(
        self,
        path: Path,
        opener: Callable[..., IO[bytes]] = open,
        last_words: Callable[[], object] = lambda: None,
    ) -> None:
        self.path, self._last_words = path, last_words
        self._closed: str | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: each line is with the operating system when `write` returns, so that a killed
        # process loses nothing that it had reported.
        self._file = opener(path, "ab", buffering=0)
        try:
            exclusive.claim(path, self)
            exclusive.lock(self._file, path)
            if path.exists() and not _ends_with_newline(path):
                self._file.write(b"\n")  # a crash cut the last line; a new one must not be glued to it
        except OSError:
            self._file.close()
            raise

    def write(self, *lines: str) -> None:
        """Append lines in a single write; all of them or none."""
        if self._closed is not None:
            raise OSError(self._closed)
        if os.fstat(self._file.fileno()).st_nlink == 0:  # what is written now, nobody will ever read
            raise FileNotFoundError(errno.ENOENT, "the log was deleted", str(self.path))
        data = "".join(f"{line}\n" for line in lines).encode()
        written = self._file.write(data)
        if written is not None and written < len(data):  # an unbuffered file may take a part only
            with contextlib.suppress(OSError):
                self._file.truncate(self._file.seek(0, os.SEEK_END) - written)
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written")

    def close(self, why: str = "the log is closed") -> None:
        """Close the file; a second call does nothing.

        Args:
            why: What a later `write` says.
        """
        if self._closed is None:
            self._last_words()
            self._closed = why
            self._file.close()


def _plain(value: Any) -> Any:
    """Settings may hold NumPy scalars, paths or dtypes: written as numbers or as text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


# --- lines to records -------------------------------------------------------------------------------


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


def read_log(path: Path) -> Log:
    """Read one log file.

    Raises:
        LogError: It cannot be read, is empty, is no run log, or is of a newer schema; a line in its
            middle cannot be understood.
    """
    log: Log | None = None
    histograms: dict[tuple[int, str], dict[str, Array]] = {}
    for number, line, last in _lines(path):
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            # A crash tears the last line of a session: at the end of the file or before a new header.
            if log is not None and (last or _starts_session(path, number + 1)):
                log.torn_lines += 1
                continue
            raise LogError(f"{path}:{number}: not a run log: this line is not JSON: {line[:60]!r}") from None
        if not isinstance(item, dict) or "kind" not in item:
            raise LogError(
                f'{path}:{number}: not a run log: expected an object with "kind", got {line[:60]!r}'
            )
        if log is None and not _is_header(item):
            raise LogError(
                f'{path}:{number}: not a run log: the first line must be of kind "run", got {item["kind"]!r}'
            )
        try:
            log = _take(log, item, path, histograms)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            if isinstance(error, LogError):
                raise LogError(f"{path}:{number}: {error}") from None
            raise LogError(
                f"{path}:{number}: malformed {item['kind']!r} line ({type(error).__name__}: {error})"
            ) from error
    if log is None:
        raise LogError(f"{path}: the file is empty; a run log starts with a header line")
    return log


def _is_header(item: Mapping[str, Any]) -> bool:
    return item.get("kind") == "run" and "schema" in item


def _lines(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Numbered lines, each with whether it is the last one, blank ones left out."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            previous: tuple[int, str] | None = None
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                if previous is not None:
                    yield *previous, False
                previous = number, line.rstrip("\n")
                if not line.endswith("\n"):  # being written: the rest, if it comes, would be read as a line
                    break
            if previous is not None:
                yield *previous, True
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror or error}") from error


def _starts_session(path: Path, number: int) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        for current, line in enumerate(file, start=1):
            if current >= number and line.strip():
                try:
                    return _is_header(json.loads(line))
                except (ValueError, AttributeError):
                    return False
    return False


def _take(
    log: Log | None, item: dict[str, Any], path: Path, histograms: dict[tuple[int, str], dict[str, Array]]
) -> Log:
    kind = item["kind"]
    if not _is_header(item) and kind not in ("finding", "note") and not isinstance(item.get("step"), int):
        raise LogError(f"expected a whole number as the step of a {kind!r} line, got {item.get('step')!r}")
    if _is_header(item):
        info = _run_info(item)
        if log is None:
            log = Log(path, info)
        else:
            log.info = info
            log.records = before(log.records, info.start_step)
            log.live_findings = [f for f in log.live_findings if f.step < info.start_step]
            log.records.append(StartRecord(info.start_step))
            log.failed.clear()
        log.sessions += 1
        return log
    assert log is not None
    if kind == "run":
        log.records.append(WatchRecord(item["step"], LossInfo(**item["loss"])))
    elif kind == "histogram":
        histograms[item["step"], item["loss"]] = {k: _array(v) for k, v in item["stats"].items()}
    elif kind == "step":
        stats = {name: _array(value) for name, value in item["stats"].items()}
        stats.update(histograms.pop((item["step"], item["loss"]), {}))
        metrics = {name: float(_array(value)) for name, value in item.get("metrics", {}).items()}
        log.records.append(StepRecord(item["step"], item["loss"], stats, metrics))
    elif kind == "eval":
        log.records.append(EvalRecord(item["step"], {k: _array(v) for k, v in item["metrics"].items()}))
    elif kind == "finding" and item["event"] == "treated":
        names = ("step", "code", "parameter", "before", "after")
        log.records.append(
            TreatmentRecord(loss=LossInfo(**item["loss"]), **{name: item[name] for name in names})
        )
    elif kind == "finding":
        log.live_findings.append(Finding.from_dict(item["finding"]))
    elif kind == "note" and "failed" in item:
        log.failed.append(Failed.from_dict(item["failed"]))  # whoever diagnoses the run says so
    elif kind == "note":
        if item["text"] not in log.notes:  # a resumed session says it again
            log.notes.append(str(item["text"]))
    elif kind == "end":
        log.records.append(EndRecord(item["step"]))
    # Kinds of a later minor version are passed over: the schema number speaks of what must be understood.
    return log


def before(records: Iterable[Record], start: int) -> list[Record]:
    """What survives of records from before a session that starts at `start`."""
    return [record for record in records if record.step < start and not isinstance(record, EndRecord)]


def records_in(path: Path) -> list[Record]:
    """The records of a log that may not be there yet."""
    if not path.exists() or path.stat().st_size == 0:
        return []
    return read_log(path).records


def _run_info(item: dict[str, Any]) -> RunInfo:
    if item["schema"] > SCHEMA:
        raise LogError(
            f"schema {item['schema']} is newer than this version of imbalance-doctor reads "
            f"({SCHEMA}); upgrade imbalance-doctor"
        )
    fields = {k: v for k, v in item.items() if k in RunInfo.__dataclass_fields__}
    for name in ("class_names", "population_positive_rate"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    return RunInfo(**fields)
