"""The numbers that a plan lets expect, for the table that a preflight shows also when all is well."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imbalance_doctor.findings import Expected
from imbalance_doctor.losses import kinds, ranking
from imbalance_doctor.preflight.expected import counts
from imbalance_doctor.preflight.plan import Plan
from imbalance_doctor.records import LossInfo
from imbalance_doctor.rules.pool.quadratic_pool import QuadraticPool

#: Bytes of a row of the pool for a class at the peak of a forward and backward: 31 to 50, measured at
#: 1 and 4 million rows of one class and 50,000 of twenty, each ranking loss; the kernels are near-linear.
ROW_BYTES = 50


def numbers(plan: Plan) -> Iterator[Expected]:
    """What is expected of each loss, by class where it differs by class."""
    for loss in plan.losses:
        if loss.kind != kinds.WARMUP:
            yield from _of(plan, loss)


def _of(plan: Plan, loss: LossInfo) -> Iterator[Expected]:
    expected = counts(plan, loss)
    ranked = loss.kind in kinds.RANKING
    live = plan.live_rows(loss)
    yield Expected("rows in a batch", live, loss.name)
    if ranked:
        size = float(expected.values["pool_size"])
        yield Expected("rows in the pool", size, loss.name)
        if loss.kind == kinds.RECALL_AT_QUANTILE:
            yield Expected("rows above the threshold", size * float(loss.config["quantile"]), loss.name)
    table = [
        ("positive rate", np.array(plan.rates), "share"),
        ("positives in a batch", expected.values["live_pos_count"], "rows"),
        ("chance of a batch without one", expected.absent["live_pos_count"], "chance"),
    ]
    if ranked:
        table += [
            ("positives in the pool", expected.values["pool_pos_count"], "rows"),
            ("chance of a pool without one", expected.absent["pool_pos_count"], "chance"),
        ]
    if loss.kind == kinds.PAUC_AT_BUDGET:
        table.append(("negatives in the band", expected.values["band_neg_count"], "rows"))
        if alpha := float(loss.config["alpha"]):
            table.append(("negatives above the band", alpha * expected.values["iid_neg_count"], "rows"))
    for name, values, unit in table:
        for index, value in enumerate(values):
            yield Expected(name, float(value), loss.name, index, unit)
    if ranked:
        row = ranking.queue.MemoryQueue(1, len(plan.rates)).row_bytes
        yield Expected("memory of the queue", float(row * loss.config["queue_size"]), loss.name, unit="bytes")
        cells = float(expected.values["pool_size"]) * len(plan.rates)
        yield Expected("memory of the loss, about", ROW_BYTES * cells, loss.name, unit="bytes")
        yield Expected(
            "time of the loss on one core, about", QuadraticPool.seconds * cells, loss.name, unit="seconds"
        )
