"""IMB601: each rank orders only its own shard."""

from __future__ import annotations

from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict


@dataclass(frozen=True)
class LocalRanking(Rule):
    """Several processes train together, and each ranks its own shard: the loss depends on how rows fell.

    ## Symptom
    The loss differs from worker to worker, and the run does not reproduce a single-process run of the same
    global batch: ranks and quantiles of a shard are not those of the batch.

    ## Cause
    `gather_distributed=False` with more than one process. A mean of per-shard average precisions is not
    the average precision of the batch, and each shard holds one W-th of the positives.

    ## Remedy
    Set `gather_distributed=True`, with which every rank has to call the loss in validation too, or None,
    which gathers in every forward whose logits require a gradient.

    ## Evidence
    The world size of the run is above 1 and the loss is configured not to gather. There is no threshold.
    Smooth-AP on two processes, 64 rows each at a rate of 5 %, 60 steps, seeds 0 and 1: AP .82 .86 (Gaussian
    data) and .80 .81 (digits) without the gather, .85 .86 and .83 .84 with it.

    ## Known problems
    A run that ranks shards on purpose (several independent problems, one for each process) is reported.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (the loss is a function of the whole retrieval set).
    """

    code = "IMB601"
    name = "local-ranking"
    severity = "error"
    kinds = RANKING
    requires = ("loss",)
    min_records = 1
    foreseeable = True

    symptom = "{world_size:.0f} processes train together, and each ranks only the rows of its own shard."
    cause = (
        "gather_distributed=False: each process computes ranks and thresholds on its own shard, which holds "
        "about 1/{world_size:.0f} of the positives, and the mean of their losses is not the loss of the "
        "global batch."
    )
    remedy = (
        "set gather_distributed=True, with which every process has to call the loss in validation too, or "
        "None, which gathers in training only."
    )

    def examine(self, window: Window) -> Verdict:
        """Compare the configuration with the number of processes."""
        if window.run.world_size <= 1 or window.config("gather_distributed") is not False:
            return []
        prescription = Change("gather_distributed", False, True)
        return [Evidence({"world_size": window.run.world_size}, prescription=prescription)]
