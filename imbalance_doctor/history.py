"""The recent past of a run, as rules read it: one window of arrays for each watched loss.

Memory is bounded: each statistic keeps its last `WINDOW` records, however long the run.

Windows are read-only: what a rule writes, the next one would read. Arrays are views that NumPy lets nobody
write to, and settings are frozen once, when a loss is put under watch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor import plain
from imbalance_doctor.losses import warmup
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
from imbalance_doctor.statistics import SCHEDULE_STATS

#: Records of a statistic that rules can look back on. At the default of one record in 10 steps it is
#: 2,000 steps: room for a trend and its noise, at a fixed and small cost.
WINDOW = 200

#: Evaluations kept: some rules compare with the best or the first one, so a whole ordinary run stays.
EVAL_WINDOW = 2_000

#: Values of the wrapper's `phase`.
WARMUP_PHASE, BLEND_PHASE, MAIN_PHASE = map(int, warmup.schedule.Phase)

#: Levels of settings within settings that are frozen: a wrapper's losses are on the second one.
DEEPEST = 8

S = TypeVar("S", bound=np.generic)


def read_only(array: NDArray[S]) -> NDArray[S]:
    """The same numbers in a view that cannot be written to, nor be made so."""
    buffer: Any = array  # which is what NumPy's arrays are, though its types do not say so
    return np.asarray(memoryview(buffer).toreadonly())


def frozen(value: Any, depth: int = DEEPEST) -> Any:
    """A setting that cannot be written to: mappings are read-only, lists are tuples."""
    if isinstance(value, Mapping) and depth:
        return MappingProxyType({key: frozen(each, depth - 1) for key, each in value.items()})
    if isinstance(value, (list, tuple)) and depth:
        return tuple([frozen(each, depth - 1) for each in value])
    return read_only(value.copy()) if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" else value


@dataclass(frozen=True)
class Series:
    """One statistic over time: `steps` is [T], `values` is [T, ...] in float64, oldest first."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def last(self, count: int) -> Series:
        """The newest `count` entries."""
        return Series(self.steps[-count:], self.values[-count:])

    def since(self, step: int) -> Series:
        """The entries of this step and later."""
        first = int(np.searchsorted(self.steps, step))
        return Series(self.steps[first:], self.values[first:])


_NOTHING = np.zeros((), np.float32)

_NO_STEPS, _NO_VALUES = read_only(np.empty(0, np.int64)), read_only(np.empty(0, np.float64))


class _Ring:
    """The last `capacity` values of a statistic, contiguous, appended to in constant time."""

    def __init__(self, capacity: int, shape: tuple[int, ...]) -> None:
        self.capacity, self.shape, self.end = capacity, shape, 0
        # Twice the capacity: when the end is reached the newest half moves to the front, once in
        # `capacity` appends, and any window is one slice.
        self.steps = np.empty(2 * capacity, np.int64)
        self.values = np.empty((2 * capacity, *shape), np.float64)
        #: The same, for whoever reads.
        self.shown = Series(read_only(self.steps), read_only(self.values))

    def append(self, step: int, value: Array) -> None:
        if self.end == 2 * self.capacity:
            self.steps[: self.capacity] = self.steps[self.capacity :]
            self.values[: self.capacity] = self.values[self.capacity :]
            self.end = self.capacity
        self.steps[self.end] = step
        self.values[self.end] = value
        self.end += 1

    def series(self) -> Series:
        newest = slice(max(0, self.end - self.capacity), self.end)
        return Series(self.shown.steps[newest], self.shown.values[newest])


class _Track:
    """The rings of one loss (or of the evaluations)."""

    def __init__(self, capacity: int, *, treated: bool = False) -> None:
        self.capacity, self.treated = capacity, treated
        self.rings: dict[str, _Ring] = {}
        self.records = 0
        self.widest = 1  # entries of the widest statistic: as many as there are classes, or more
        self.step = self.since = 0
        self._clock = _Ring(capacity, ())

    def append(self, step: int, values: Mapping[str, Array]) -> None:
        self._clock.append(step, _NOTHING)
        for name, value in values.items():
            ring = self.rings.get(name)
            if ring is None or ring.shape != value.shape:  # a new statistic, or the class count changed
                ring = self.rings[name] = _Ring(self.capacity, value.shape)
                self.widest = max((self.widest, *value.shape[:1]))
            ring.append(step, value)
        if not self.records:
            self.since = step
        self.records += 1
        self.step = step

    def series(self, name: str) -> Series:
        ring = self.rings.get(name)
        return Series(_NO_STEPS[:], _NO_VALUES[:]) if ring is None else ring.series()

    def newest(self, name: str) -> NDArray[np.float64] | None:
        ring = self.rings.get(name)
        if ring is None or ring.steps[ring.end - 1] != self.step:
            return None
        value: NDArray[np.float64] = ring.shown.values[ring.end - 1]
        return value

    def step_of(self, ago: int) -> int:
        """The step of the record `ago` records back (1 is the newest), or of the oldest one."""
        steps = self._clock.series().steps
        return int(steps[-min(ago, len(steps))]) if len(steps) else 0


@dataclass(frozen=True)
class Window:
    """What a rule sees of one loss: its settings, its recent statistics, the run and its evaluations."""

    run: RunInfo
    loss: LossInfo
    #: Step of the newest record of this loss.
    step: int
    #: Records of this loss since it was watched or last treated; more than the window may hold.
    records: int
    #: Step of the first of them.
    since: int
    #: Whether the window begins with a treatment: the loss goes on, and its queue with it.
    treated: bool
    _track: _Track = field(repr=False)
    _evals: _Track = field(repr=False)

    @property
    def kind(self) -> str:
        """The kind of loss whose statistics these are."""
        return self.loss.kind

    def config(self, name: str, default: Any = None) -> Any:
        """A setting of the loss."""
        return self.loss.setting(name, default)

    def has(self, name: str) -> bool:
        """Whether the statistic was recorded."""
        return name in self._track.rings

    def series(self, name: str) -> Series:
        """A statistic over the window; empty where it was not recorded."""
        return self._track.series(name)

    def newest(self, name: str) -> NDArray[np.float64] | None:
        """The value of a statistic in the newest record; None where it is not in there."""
        return self._track.newest(name)

    def recent(self, name: str, records: int) -> Series:
        """A statistic over the newest records: fewer entries than records where it is not in each of them.

        Counts are in every record, quantiles and spreads of scores in some: see
        `imbalance_doctor.live.listening.schedule`.
        """
        return self._track.series(name).since(self._track.step_of(records))

    def aligned(self, *names: str) -> tuple[Series, ...]:
        """Statistics over the window, at the steps that have all of them."""
        series = [self._track.series(name) for name in names]
        shared = series[0].steps
        if all(np.array_equal(each.steps, shared) for each in series[1:]):  # most are in every record
            return tuple(series)
        for each in series[1:]:
            shared = np.intersect1d(shared, each.steps, assume_unique=True)
        return tuple(
            Series(read_only(shared), read_only(each.values[np.searchsorted(each.steps, shared)]))
            for each in series
        )

    def eval_series(self, name: str) -> Series:
        """A validation metric over the run; empty where none was logged."""
        return self._evals.series(name)

    @property
    def classes(self) -> int:
        """Columns of the per-class statistics; 1 for a binary loss, 0 where none were recorded."""
        for name in ("pool_pos_count", "per_class_loss"):
            values = self.series(name).values
            if values.ndim == 2:
                return int(values.shape[1])
        return 0

    @property
    def widest(self) -> int:
        """Entries of the widest statistic or metric, at least 1: every class has a lower index."""
        return max(self._track.widest, self._evals.widest)


class History:
    """Grows by one record at a time and shows each watched loss as a `Window`."""

    def __init__(self, run: RunInfo) -> None:
        self.run = replace(run, versions=frozen(run.versions), rules=frozen(run.rules))
        self.step = run.start_step
        self.records = 0
        self._losses: dict[str, LossInfo] = {}
        self._tracks: dict[tuple[str, str], _Track] = {}
        self._infos: dict[tuple[str, str], LossInfo] = {}
        #: The kinds that each loss's newest record fed.
        self._current: dict[str, set[str]] = {}
        self._evals = _Track(EVAL_WINDOW)

    def add(self, record: Record) -> None:
        """Take in one record.

        Raises:
            ValueError: Its step is no number that a series of steps can hold.
        """
        plain.whole(record.step, "a step")
        self.step = max(self.step, record.step)
        self.records += 1
        if isinstance(record, StartRecord):
            self._current.clear()  # until a loss reports again, there is nothing new to examine
        elif isinstance(record, WatchRecord):
            loss = replace(record.loss, config=frozen(record.loss.config))
            known = self._losses.get(loss.name)
            if known is not None and known.identity != loss.identity:
                self._forget(loss)  # a session with other settings: another loss by the same name
            self._losses[loss.name] = loss
        elif isinstance(record, TreatmentRecord):
            self._forget(replace(record.loss, config=frozen(record.loss.config)), treated=True)
        elif isinstance(record, StepRecord):
            self._add_step(record)
        elif isinstance(record, EvalRecord):
            self._evals.append(record.step, record.metrics)
        else:
            assert isinstance(record, EndRecord)

    def windows(self, loss: str | None = None) -> Iterator[Window]:
        """One window for each loss (or for one) and each kind of statistics in its newest record.

        A warmup wrapper has a track for each phase; that of a phase which is over is not shown.
        """
        for (name, kind), track in self._tracks.items():
            if loss in (None, name) and kind in self._current.get(name, ()):
                info = self._infos[name, kind]
                yield Window(
                    self.run, info, track.step, track.records, track.since, track.treated, track, self._evals
                )

    def records_of(self, loss: str) -> int:
        """Records that the newest window of a loss began with or has seen since; 0 without one."""
        tracks = [track for (name, _), track in self._tracks.items() if name == loss]
        newest = max((track.step for track in tracks), default=0)
        # Of a wrapper, the loss that was active: it is younger than the wrapper.
        return min((track.records for track in tracks if track.step == newest), default=0)

    def _add_step(self, record: StepRecord) -> None:
        loss = self._losses.setdefault(record.loss, LossInfo(record.loss))
        self._current[record.loss] = set()
        for info, stats in _routed(loss, record.stats):
            self._current[record.loss].add(info.kind)
            key = (info.name, info.kind)
            self._infos[key] = info
            if key not in self._tracks:
                self._tracks[key] = _Track(WINDOW)
            self._tracks[key].append(record.step, stats)

    def _forget(self, loss: LossInfo, *, treated: bool = False) -> None:
        """Statistics from before a treatment describe the untreated loss."""
        self._losses[loss.name] = loss
        for key in self._tracks:
            if key[0] == loss.name:
                self._tracks[key] = _Track(WINDOW, treated=treated)


def _routed(loss: LossInfo, stats: Mapping[str, Array]) -> Iterator[tuple[LossInfo, Mapping[str, Array]]]:
    """Split a warmup wrapper's record: its schedule, and the statistics of the loss that was active.

    A wrapper is two losses in turn. Rules for Smooth-AP must see the main phase and not the warmup.
    """
    if loss.main is None or "phase" not in stats:
        yield loss, stats
        return
    yield loss, {name: value for name, value in stats.items() if name in SCHEDULE_STATS}
    yield loss.active(stats["phase"].item()), stats
