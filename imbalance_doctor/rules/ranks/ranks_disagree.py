"""IMB602: ranks gather their rows, and still do not hold the same queue or settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold


@dataclass(frozen=True)
class RanksDisagree(Rule):
    """Ranks that gather every row should compute one and the same loss, and do not.

    ## Symptom
    `ranks_apart` is above 0: the queue or the settings of some ranks differ from this rank's.

    ## Cause
    Ranks built their losses with different settings, reset or load the queue on some ranks only, or
    count different steps.

    ## Remedy
    Build the loss alike on every rank; call `reset_queue`, `reconfigure` and `load_state_dict` on all of
    them; give every rank the same number of steps.

    ## Evidence
    `ranks_apart` of the newest 5 records (those since the last look), which compares digests of queues and
    settings: there is no threshold. Of a queue its rows are compared, oldest first, so that a difference ends
    when the queue has turned over.

    Smooth-AP on two processes, 64 rows each at a rate of 5 %, 60 steps, the queue emptied on one of them at
    step 25, seeds 0 and 20: AP .84 .85 against .85 .85 on Gaussian data, .88 .79 against .83 .78 on digits.
    One reset costs nothing that shows; but each process now follows a loss of its
    own, and no result of the run is that of one process: a warning, where the published table has an error.

    ## Known problems
    Only what travels with the gather is compared: two queues with the same digest count as equal. The number
    of forwards behind a queue is not compared: ranks that count differently draw other rows under a
    `max_pool_size`, which only their logs show, side by side. A queue that turns over between two records can
    differ and be equal again unseen.

    ## References
    Li et al., *PyTorch Distributed: Experiences on Accelerating Data Parallel Training*, VLDB 2020
    (replicas stay equal as long as each step is).
    """

    code = "IMB602"
    name = "ranks-disagree"
    severity = "warning"
    kinds = RANKING
    requires = ("ranks_apart",)
    min_records = 1

    symptom = (
        "at step {step:.0f}, {apart:.0f} of the other {others:.0f} processes had another queue or other "
        "settings than this one, although all rank the same gathered batch."
    )
    cause = (
        "the loss was built, reset, changed or loaded on some processes only, or they count different steps."
    )
    remedy = (
        "use the same settings on every process, and call reset_queue, reconfigure and load_state_dict on "
        "all of them or none; calling reset_queue on all of them makes the queues equal again."
    )

    records: int = threshold(
        5,
        "Newest records that are read: a queue of 1,024 rows that was emptied on one rank of two, 64 rows a "
        "batch each, is the same again 8 steps later, in the one record of 5 that is looked at closely.",
    )

    def examine(self, window: Window) -> Verdict:
        """Read how many ranks differ, or did since the last look."""
        newest = window.series("ranks_apart").last(self.records)
        differed = np.flatnonzero(newest.values > 0.0)
        if not len(differed):
            return []
        values = {
            "apart": newest.values[differed[-1]],
            "others": max(window.run.world_size - 1, 1),
            "step": newest.steps[differed[-1]],
        }
        return [Evidence(values)]
