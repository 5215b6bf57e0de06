"""The records that a plan is expected to leave, which the rules read as if a run had left them.

They hold what follows from the settings alone: the counts named in `counts`, and the phases of a warmup
wrapper. Nothing is known of scores, so that `loss` is nan. A rule that gets by with this says so
(`Rule.foreseeable`), and its thresholds, texts and prescriptions serve before the run as well as in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.history import MAIN_PHASE, WARMUP_PHASE, WINDOW
from imbalance_doctor.losses import kinds, warmup
from imbalance_doctor.preflight.plan import Plan
from imbalance_doctor.records import WARMUP_LOSS, Array, LossInfo, Record, StepRecord, WatchRecord, as_array
from imbalance_doctor.rules.measures.pool import RECENT

Floats = NDArray[np.float64]

#: Records that are expected of a plan: a full window, so that no rule is left waiting for more.
RECORDS = WINDOW
#: Steps from one to the next where the length of the run is not known.
EVERY = 10


def every(plan: Plan) -> int:
    """Steps from one expected record to the next: together they cover the run."""
    return max(1, plan.total_steps // RECORDS) if plan.total_steps else EVERY


def records(plan: Plan) -> Iterator[Record]:
    """What a run of this plan is expected to record."""
    for loss in plan.losses:
        yield WatchRecord(0, loss)
        yield from _steps(plan, loss)


def _steps(plan: Plan, loss: LossInfo) -> Iterator[Record]:
    last = max(plan.total_steps or EVERY * RECORDS, RECORDS) - 1
    steps = [round(k * last / (RECORDS - 1)) for k in range(RECORDS)]
    if loss.kind == kinds.WARMUP:
        planned = PlannedSchedule.of(plan, loss.config)
        for step in steps:
            own = {} if planned is None else planned.at(step)
            yield StepRecord(step, loss.name, {"loss": as_array(math.nan), **own})
        return
    expected = counts(plan, loss)
    table = {name: as_array(np.asarray(value)) for name, value in expected.values.items()}
    varying = {
        name: _with_absences(expected.values[name], absent).astype(np.float32)
        for name, absent in expected.absent.items()
    }
    rows = plan.live_rows(loss)
    table |= {"loss": as_array(math.nan), "valid": np.ones(len(plan.rates), np.float32)}
    table |= {name: as_array(value) for name, value in _phase(plan, loss).items()}
    for k, step in enumerate(steps):
        stats: dict[str, Array] = {**table, **{name: values[k] for name, values in varying.items()}}
        stats["live_neg_count"] = rows - stats["live_pos_count"]
        yield StepRecord(step, loss.name, stats)


def _phase(plan: Plan, loss: LossInfo) -> dict[str, float]:
    """Where a wrapper stands while this loss of it leads; empty without a wrapper."""
    if plan.wrapper is None:
        return {}
    if loss.name == WARMUP_LOSS:
        return {"phase": WARMUP_PHASE, "main_weight": 0.0}
    return {"phase": MAIN_PHASE, "main_weight": float(plan.wrapper.config["final_main_weight"])}


@dataclass(frozen=True)
class Counts:
    """Expected statistics by name, and the probability that a count is zero."""

    values: dict[str, Any]
    absent: dict[str, Floats]


def counts(plan: Plan, loss: LossInfo) -> Counts:
    """What a forward of this loss is expected to count, once its queue is full."""
    rates = np.array(plan.rates)
    live = plan.live_rows(loss)
    values: dict[str, Any] = {"live_pos_count": rates * live, "live_neg_count": (1 - rates) * live}
    values["grad_pos_count"] = values["live_pos_count"]  # at the most
    absent = {"live_pos_count": (1 - rates) ** live}
    values["per_class_loss"] = np.full(len(rates), math.nan)
    if loss.kind not in kinds.RANKING:
        return Counts(values, absent)
    pool = live + int(loss.config.get("queue_size") or 0)
    cap = loss.config.get("max_pool_size")
    positives, negatives = rates * pool, (1 - rates) * pool
    if cap is not None and cap < pool:
        positives, negatives = _capped(rates, pool, int(cap))
    size = min(pool, cap or pool)
    values |= {"pool_size": size, "pool_pos_count": positives, "pool_neg_count": negatives}
    values |= {"queue_fill": 1.0 if loss.config.get("queue_size") else 0.0}
    absent["pool_pos_count"] = (1 - rates) ** pool  # a cap keeps at least one row of each class
    if loss.kind == kinds.PAUC_AT_BUDGET:
        values["iid_neg_count"] = negatives
        values["band_neg_count"] = _in_band(negatives, positives, loss.config)
    return Counts(values, absent)


def _in_band(negatives: Floats, positives: Floats, config: Any) -> Floats:
    """Negatives from the lower to the upper edge of the band: both edges are rows of the pool."""
    alpha, beta = float(config["alpha"]), float(config["beta"])
    reference = negatives if config.get("budget_basis") == "fpr" else negatives + positives
    last = np.maximum(reference - 1, 0)
    rows = np.floor(beta * last + 1e-9) - np.floor(alpha * last + 1e-9) + 1
    result: Floats = np.minimum(rows * negatives / np.maximum(reference, 1e-9), negatives)
    return result


def _capped(rates: Floats, pool: int, cap: int) -> tuple[Floats, Floats]:
    """Positives and negatives of each class in a pool drawn down to `cap` rows.

    As `losses.ranking.sampling.quota_sample` draws: half of the rows as equal guarantees for the strata, the
    rest by their share. Rows without any positive are a stratum too.
    """
    total = np.array([*(rates * pool), max(1 - rates.sum(), 0.0) * pool])
    quota = max(cap // (2 * np.count_nonzero(total)), 1)
    granted = np.minimum(total, quota)
    left = total - granted
    thinned = min(cap / granted.sum(), 1.0)
    filled = max(cap - granted.sum(), 0.0) / max(left.sum(), 1e-9)
    kept: Floats = (granted * thinned + left * filled)[:-1]
    return kept, cap - kept


def _with_absences(expected: Floats, absent: Floats) -> Floats:
    """Counts [T, C] that are zero as often as expected, and whose mean over each `RECENT` is the expected.

    What is not zero is a little more than the mean, so that nothing is lost. Where fewer records than blocks
    of `RECENT` hold any, only the mean over all of them is the expected.
    """
    places = np.arange(RECORDS)[::-1, None]
    zeros = np.minimum(np.round(absent * RECORDS), RECORDS - 1)
    is_zero = np.floor((places + 1) * zeros / RECORDS) > np.floor(places * zeros / RECORDS)
    blocks = is_zero.reshape(-1, RECENT, len(expected))
    each = (~blocks).mean(axis=1, keepdims=True)
    share = np.where((each > 0).all(axis=0), each, (~is_zero).mean(axis=0))
    result: Floats = np.where(blocks, 0.0, expected / np.maximum(share, 1e-9)).reshape(RECORDS, -1)
    return result


@dataclass(frozen=True)
class PlannedSchedule:
    """Where a warmup wrapper will stand at each step."""

    blend: warmup.schedule.BlendSchedule
    #: Steps to one unit of the schedule: 1, or the steps of an epoch.
    unit: float
    decay: warmup.schedule.Decay

    @staticmethod
    def of(plan: Plan, config: Any) -> PlannedSchedule | None:
        """The wrapper's schedule; None where it is in epochs and their length is not known."""
        in_steps = config["warmup_steps"] is not None or config["blend_steps"] is not None
        alone = (config["warmup_steps"] if in_steps else config["warmup_epochs"]) or 0
        blend = (config["blend_steps"] if in_steps else config["blend_epochs"]) or 0
        if in_steps or not (alone or blend):
            unit = 1.0
        elif plan.total_steps and plan.epochs:
            unit = plan.total_steps / plan.epochs
        else:
            return None
        switch = round(alone * unit)
        decay = warmup.schedule.Decay(
            config["temp_start"], config["temp_end"], switch, switch + int(config["temp_decay_steps"])
        )
        return PlannedSchedule(
            warmup.schedule.BlendSchedule(alone, blend, config["final_main_weight"]), unit, decay
        )

    def at(self, step: int) -> dict[str, Array]:
        """The wrapper's own statistics at a step."""
        position = int(step / self.unit)
        values = {
            "phase": float(self.blend.phase(position)),
            "main_weight": self.blend.main_weight(position),
            "temperature": self.decay.at(step),
        }
        return {name: as_array(value) for name, value in values.items()}

    @property
    def switch(self) -> int:
        """The first step at which the main loss counts."""
        return self.decay.begin
