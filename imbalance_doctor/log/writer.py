"""From records to lines, and lines to the file. What the reader would not take is not written."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from imbalance_doctor.findings import Failed, Finding, evidence_of
from imbalance_doctor.guard import attempt, from_outside
from imbalance_doctor.log import exclusive
from imbalance_doctor.log.format import MOST_LEVELS, MOST_TEXT, SCHEMA, kind_of
from imbalance_doctor.log.layout import HISTOGRAM_STATS, PER_CLASS, Shape, are_counts, misfits
from imbalance_doctor.log.types import is_countable, without_halves
from imbalance_doctor.records import (
    Array,
    EvalRecord,
    Record,
    RunInfo,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
)

# --- numbers ----------------------------------------------------------------------------------------

#: What stands for numbers that JSON does not know.
_WORDS = {"nan": "null", "inf": '"inf"', "-inf": '"-inf"'}

#: A place for a number. Nine significant digits tell any two float32 apart, and most need fewer.
_PLACE = "%.9g"


@dataclass(frozen=True)
class _Pattern:
    """Arrays by name as JSON with places for their numbers, to be filled in one call."""

    names: tuple[str, ...]
    #: The text with a place for each number, and with a place for each number's text.
    of_numbers: str
    of_texts: str

    def filled(self, arrays: Mapping[str, Array]) -> str:
        """The arrays of these names as JSON."""
        values: list[float] = []
        for name in self.names:
            values += arrays[name].ravel().tolist()
        if math.isfinite(sum(values)):
            return self.of_numbers % tuple(values)
        texts = (" ".join([_PLACE] * len(values)) % tuple(values)).split()
        return self.of_texts % tuple([_WORDS.get(text, text) for text in texts])


@lru_cache(maxsize=64)
def _patterns(
    names: tuple[str, ...], shapes: tuple[Shape, ...], axes: tuple[str, ...] | None
) -> tuple[_Pattern, _Pattern]:
    """Those arrays that fit into a record: the histograms, which have a line of their own, and the others."""
    wrong = misfits(names, shapes, axes)
    fitting = {name: shape for name, shape in zip(names, shapes, strict=True) if name not in wrong}
    large = {name: fitting.pop(name) for name in HISTOGRAM_STATS if name in fitting and axes is None}
    return _pattern(large), _pattern(fitting)


def _pattern(shapes: Mapping[str, Shape]) -> _Pattern:
    return _Pattern(tuple(shapes), *(_table(shapes, place) for place in (_PLACE, "%s")))


def _table(shapes: Mapping[str, Shape], place: str) -> str:
    quoted = (f"{_quoted(name).replace('%', '%%')}:{_places(shape, place)}" for name, shape in shapes.items())
    return "{" + ",".join(quoted) + "}"


def _places(shape: Shape, place: str) -> str:
    return "[" + ",".join([_places(shape[1:], place)] * shape[0]) + "]" if shape else place


def _patterns_of(
    arrays: Mapping[str, Array], axes: tuple[str, ...] | None = None
) -> tuple[_Pattern, _Pattern]:
    return _patterns(tuple(arrays), tuple([array.shape for array in arrays.values()]), axes)


# --- texts and settings -----------------------------------------------------------------------------


def _text(value: Mapping[str, Any]) -> str:
    """An object as JSON, whatever is in it."""
    return json.dumps(_plain(value, 0), separators=(",", ":"), allow_nan=False)


def _plain(value: Any, level: int) -> Any:
    """A value in JSON's own types, and as text where they have nothing for it."""
    try:
        return _jsonable(value, level)
    except Exception as error:  # a setting that cannot even be shown
        if from_outside(error):
            raise
        return type(value).__name__


def _jsonable(value: Any, level: int) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and is_countable(value):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else json.loads(_WORDS[f"{value:g}"])
    if level < MOST_LEVELS:
        if isinstance(value, Mapping):
            return {_short(str(name)): _plain(item, level + 1) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(item, level + 1) for item in value]
    return _short(str(value))


def _short(text: str) -> str:
    """A text that the reader takes."""
    return without_halves(text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…")


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return json.dumps(_short(text))


# --- lines ------------------------------------------------------------------------------------------


def header(info: RunInfo) -> str:
    """The first line of a session."""
    return _text({"kind": "run", "schema": SCHEMA, **vars(info)})


def encode(record: Record) -> list[str]:
    """A record as the JSON objects that hold it, one a line."""
    if isinstance(record, StepRecord):
        return _encode_step(record)
    step = int(record.step)
    if isinstance(record, EvalRecord):
        _, metrics = _patterns_of(record.metrics, PER_CLASS)
        return [f'{{"kind":"eval","step":{step},"metrics":{metrics.filled(record.metrics)}}}']
    if isinstance(record, WatchRecord):
        return [_text({"kind": "run", "event": "watch", "step": step, "loss": vars(record.loss)})]
    if isinstance(record, TreatmentRecord):
        fields = {**vars(record), "step": step, "loss": vars(record.loss)}
        return [_text({"kind": "finding", "event": "treated", **fields})]
    return [_text({"kind": "end", "step": step})]


def _encode_step(record: StepRecord) -> list[str]:
    histogram, stats = _patterns_of(record.stats)
    where = f'"step":{int(record.step)},"loss":{_quoted(record.loss)}'
    metrics = f',"metrics":{_numbers(record.metrics)}' if record.metrics else ""
    line = f'{{"kind":"step",{where},"stats":{stats.filled(record.stats)}{metrics}}}'
    if not histogram.names or not are_counts(record.stats):
        return [line]
    # A histogram goes before its step line, so that a reader has both when it reaches the step.
    return [f'{{"kind":"histogram",{where},"stats":{histogram.filled(record.stats)}}}', line]


def _numbers(metrics: Mapping[str, float]) -> str:
    """Numbers by name as JSON."""
    texts = ((name, _PLACE % value) for name, value in metrics.items())
    return "{" + ",".join(f"{_quoted(name)}:{_WORDS.get(text, text)}" for name, text in texts) + "}"


def encode_finding(finding: Finding) -> str:
    """A finding as it stood when it opened, grew graver or was resolved."""
    event = "resolved" if finding.status == "resolved" else "opened"
    evidence = attempt(evidence_of, finding.evidence, "evidence") or {}
    return _text({"kind": "finding", "event": event, "finding": {**vars(finding), "evidence": evidence}})


def encode_note(text: str) -> str:
    """Something that a reader of the run should know."""
    return _text({"kind": "note", "text": text})


def encode_failed(rule: Failed) -> str:
    """A rule that failed: a note, and what it says as data."""
    return _text({"kind": "note", "text": str(rule), "failed": vars(rule)})


# --- the file ---------------------------------------------------------------------------------------


class LogWriter:
    """Appends to one log file.

    Args:
        path: The file; its folder is made.
        opener: How to open it, for tests that need a disk to fill up.
        last_words: Called before it is closed, whoever closes it.

    Raises:
        OSError: The folder or file cannot be made, something else is there, another process writes to it,
            or, from `write`, the disk is full.
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
        _refuse_what_is_no_file(path)
        # Unbuffered: each line is with the operating system when `write` returns, so that a killed
        # process loses nothing that it had reported.
        self._file = opener(path, "ab", buffering=0)
        try:
            exclusive.claim(path, self)
            exclusive.lock(self._file, path)
            if path.is_file() and not _ends_with_newline(path):
                self._file.write(b"\n")  # a crash cut the last line; a new one must not be glued to it
        except BaseException:
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
            self._take_back(written)
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written")

    def _take_back(self, size: int) -> None:
        try:
            self._file.truncate(self._file.seek(0, os.SEEK_END) - size)
        except OSError as error:  # the reader leaves a line out that was cut
            if from_outside(error):
                raise

    def close(self, why: str = "the log is closed") -> None:
        """Close the file; a second call does nothing.

        Args:
            why: What a later `write` says.
        """
        if self._closed is None:
            self._last_words()
            self._closed = why
            self._file.close()


def _refuse_what_is_no_file(path: Path) -> None:
    """A pipe would wait for a reader. A device takes what it is given, or says itself that it is full."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        raise OSError(errno.EINVAL, f"expected a file or nothing, got {kind_of(mode)}", str(path))


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
