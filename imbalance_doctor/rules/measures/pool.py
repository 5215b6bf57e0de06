"""What several rules measure on a window. Every function is vectorised over classes and safe on nan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import UnknownNumberError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Records that "now" is averaged over: 200 steps at the default of one record in 10. A mean over 20
#: records of a Poisson count of 10 has a standard error of 0.7 at the most, so that a threshold is not
#: crossed by one poor batch, and a fault planted at the start is in the majority within 100 steps.
RECENT = 20

#: A pool is taken as it is from this share of its full size; below, its counts are projected.
ALMOST_FULL = 0.95


def recent(window: Window, name: str, records: int = RECENT) -> Floats:
    """The values of a statistic in the newest records, [T] or [T, C]; see `Window.recent`."""
    return window.recent(name, records).values


def held(window: Window, name: str, steps: NDArray[np.int64]) -> Floats:
    """A statistic at given steps, [T, ...]: where it was not recorded, its last value before.

    For quantiles and spreads of the scores, which are in some records only.
    """
    series = window.series(name)
    result: Floats = series.values[(np.searchsorted(series.steps, steps, "right") - 1).clip(0)]
    return result


def mean(values: Floats) -> Floats:
    """The mean over records of what is finite; nan where nothing is. [T, ...] to [...]."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    result: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result


def median(values: Floats) -> Floats:
    """The middle of the finite values over records, the lower one of two. [T, C] to [C]."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis=0)
    last = np.maximum(np.isfinite(ordered).sum(axis=0) - 1, 0)
    middle = np.take_along_axis(ordered, (last // 2)[None], axis=0)[0]
    result: Floats = np.where(np.isfinite(middle), middle, np.nan)
    return result


def round_up(value: float) -> int:
    """The value rounded up to two significant digits, as a size that one would type.

    Raises:
        UnknownNumberError: It is nan or infinite.
    """
    if not math.isfinite(value):
        raise UnknownNumberError
    if value <= 10:
        return max(1, math.ceil(value))
    unit = 10 ** (math.floor(math.log10(value)) - 1)
    return int(math.ceil(value / unit - 1e-9) * unit)


def round_to(value: float, digits: int = 2) -> float:
    """The value rounded to a few significant digits."""
    return float(f"{value:.{digits}g}")


@dataclass(frozen=True)
class PoolSize:
    """The size that the pool of one loss has now, and the size it will have with a full queue."""

    #: Rows ranked now and rows with a full queue, in this window's mean over recent records.
    size: float
    full_size: float
    #: Live rows of a batch, over all ranks gathered.
    batch: float
    queue_size: int
    #: `max_pool_size` where it decides how many rows are ranked, else None.
    cap: int | None
    #: Share of the full pool at each of the recent records, [T].
    share: Floats

    @property
    def whole(self) -> float:
        """Rows of the batch and a full queue, whatever a cap leaves of them."""
        return self.batch + self.queue_size

    @property
    def filling(self) -> bool:
        """Whether the newest pool is still well short of its full size."""
        return bool(self.share[-1] < ALMOST_FULL)


def pool(window: Window) -> PoolSize:
    """The pool of a ranking loss; needs `pool_size`, `live_pos_count` and `live_neg_count`."""
    sizes = recent(window, "pool_size")
    live = recent(window, "live_pos_count")[:, 0] + recent(window, "live_neg_count")[:, 0]
    batch = float(live.sum() / len(live))
    queue_size = int(window.config("queue_size") or 0)
    cap = window.config("max_pool_size")
    full = batch + queue_size
    if cap is not None and cap >= full:
        cap = None
    full = full if cap is None else float(cap)
    share = sizes / max(full, 1.0)
    return PoolSize(float(sizes.sum() / len(sizes)), full, batch, queue_size, cap, share)


def pooled_count(window: Window, name: str, pool: PoolSize) -> Floats:
    """Rows of a kind in the pool, [C]: the recent mean, or the most that a queue still filling can promise.

    While the queue fills, the newest count is scaled to the full pool after two standard errors of a
    Poisson count (and two rows, for a count of zero) are added: what this estimate calls few will be few.
    """
    counts = recent(window, name)
    if pool.filling:
        newest = counts[-1]
        promised: Floats = (newest + 2.0 * np.sqrt(newest) + 2.0) / max(float(pool.share[-1]), 1e-9)
        return promised
    filled = pool.share >= ALMOST_FULL
    result: Floats = counts[filled].sum(axis=0) / filled.sum()
    return result


#: Records without a positive, in a row, that count as "none comes any more".
ABSENT_IN_A_ROW = 9


def without_positives(window: Window, pool: PoolSize) -> Bools:
    """Classes that the pool holds no positive of, record after record, [C].

    Of the records with a pool at least half full, all of the first 3 to 9 have none, or the newest 9, or
    more than half of those in the window by 1.6 standard errors. A pool with room for 10 positives has none
    in its first half with a probability of exp(-5), below one per cent; one with 2 has none in 5
    independent records once in 20,000 times. The margin keeps a pool with 1 expected positive (none in
    37 % of records) from being found now and then by luck; that is `few-positives-in-pool`.
    """
    positives, sizes = window.aligned("pool_pos_count", "pool_size")
    counts = positives.values[sizes.values >= 0.5 * pool.full_size]
    records = len(counts)
    if records < 3:
        return np.zeros(counts.shape[1], dtype=np.bool_)
    empty = counts == 0
    if records <= ABSENT_IN_A_ROW:
        never: Bools = empty.all(axis=0)
        return never
    mostly = empty.mean(axis=0) >= min(1.0, 0.5 + 1.6 * 0.5 / math.sqrt(records))
    absent: Bools = mostly | empty[-ABSENT_IN_A_ROW:].all(axis=0)
    return absent


def positive_rates(window: Window) -> Floats:
    """Share of positives of each class among the live rows, [C], over the whole window; 0 where unseen."""
    positives = window.series("live_pos_count").values.sum(axis=0)
    negatives = window.series("live_neg_count").values.sum(axis=0)
    pooled = recent(window, "pool_pos_count", 1)[0] / max(float(recent(window, "pool_size", 1)[0]), 1.0)
    result: Floats = np.where(positives > 0, positives / np.maximum(positives + negatives, 1.0), pooled)
    return result


def queue_for(rows: float, pool: PoolSize) -> int:
    """The `queue_size` with which batch and queue hold this many rows; smaller than it is where they do.

    A rule that prescribes a queue asks `larger_queue`.
    """
    return round_up(max(rows - pool.batch, 1.0))


def larger_queue(rows: float, pool: PoolSize) -> int | None:
    """The `queue_size` with which batch and queue hold this many rows; None where the queue is no smaller.

    Then there are rows enough, and something else is to blame: the cap, the order of the data, a rate that
    is not the one declared.
    """
    size = queue_for(rows, pool)
    return size if size > pool.queue_size else None


#: Rows of batch and queue up to which a cap can go altogether: 0.1 s for loss and gradient on one core.
UNCAPPED_UP_TO = 1_000_000


def wider_cap(rows: float, pool: PoolSize) -> Change:
    """What to prescribe where a cap of the pool is to blame: no cap, or one of at least this many rows.

    `to` is None, for no cap, wherever all rows of batch and queue can be ranked within a tenth of a second.
    """
    to = None if pool.whole <= UNCAPPED_UP_TO else cap_for(rows, pool)
    return Change("max_pool_size", pool.cap, to)


def cap_for(rows: float, pool: PoolSize) -> int:
    """The `max_pool_size` that leaves this many rows: twice what it is at the least."""
    return round_up(max(rows, 2.0 * (pool.cap or 0)))


#: What every rule says that finds a cap to blame; filled from the evidence.
UNCAP = (
    "remove max_pool_size (the kernels take near-linear time in rows), or set it to {cap_wanted:,.0f} or "
    "more."
)


#: Positives of validation data from which their share is a rate: its standard error is 20 % then.
KNOWN_FROM = 25.0


def population_rates(window: Window, classes: int) -> Floats:
    """Positive rates of the population, [C]: as declared, else of the validation data, else nan."""
    rates, counts = (window.eval_series(name).last(1).values for name in ("positive_rate", "positives"))
    known = np.full(classes, np.nan)
    if len(rates) and len(counts) and rates.shape[1:] == counts.shape[1:] == (classes,):
        known = np.where(counts[0] >= KNOWN_FROM, rates[0], np.nan)
    declared = [window.run.positive_rate(index) for index in range(classes)]
    result: Floats = np.array([k if d is None else d for d, k in zip(declared, known, strict=True)])
    return result


def classes_of(mask: Bools) -> list[int]:
    """The indices of the classes that a mask marks."""
    return [int(index) for index in np.flatnonzero(mask)]


def spread_in_temperatures(window: Window) -> Floats:
    """How many temperatures wide the pool's scores are, [T, C] over recent records: IQR / tau.

    The standard deviation stands in where more than half of the scores are tied and the IQR is 0.
    """
    taus, iqr, std = (
        each.since(window.recent("tau_eff", RECENT).steps[0]).values
        for each in window.aligned("tau_eff", "score_iqr", "score_std")
    )
    ratio: Floats = np.where(iqr > 0.0, iqr, std) / np.maximum(taus, 1e-30)
    return ratio


def uninformative_loss(window: Window) -> Floats:
    """What the loss is worth when all scores are tied, [T, C]: all that is known then is the counts."""
    positives = recent(window, "pool_pos_count")
    if window.kind != "smooth_ap":
        return np.full(positives.shape, 0.5)
    rows = positives + recent(window, "pool_neg_count")
    result: Floats = 1.0 - (positives + 1.0) / (rows + 1.0)
    return result


def in_warmup(window: Window) -> bool:
    """Whether these are the statistics of a likelihood loss that a wrapper uses for its warmup.

    The wrapper reports its phase with every record; a likelihood loss alone has none.
    """
    return window.has("phase")


def carrying_share(window: Window, enough: float) -> tuple[Floats, Floats]:
    """Live positives, and the share of them that carries gradient, [C] each.

    Over the recent records, or over the whole window where those hold fewer than `enough` positives.
    """
    live, carrying = recent(window, "live_pos_count"), recent(window, "grad_pos_count")
    positives, counted = live.sum(axis=0), carrying.sum(axis=0)
    if (positives < enough).any():
        few = positives < enough
        positives = np.where(few, window.series("live_pos_count").values.sum(axis=0), positives)
        counted = np.where(few, window.series("grad_pos_count").values.sum(axis=0), counted)
    return positives, counted / np.maximum(positives, 1.0)
