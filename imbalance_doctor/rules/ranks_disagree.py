"""IMB602: ranks gather their rows, and still do not hold the same queue or settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imbalance_doctor.findings import Severity
from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict


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
    `ranks_apart` of the newest record, which compares digests of queues and settings: there is no threshold.

    Smooth-AP on two processes, 64 rows each at a rate of 5 %, 60 steps, the queue emptied on one of them at
    step 25, seeds 0 and 20: AP .84 .85 against .85 .85 on Gaussian data, .88 .79 against .83 .78 on digits.
    One reset costs nothing that shows; but each process now follows a loss of its
    own, and no result of the run is that of one process: a warning, where the published table has an error.

    ## Known problems
    Only what travels with the gather is compared: two queues with the same digest count as equal.

    ## References
    Li et al., *PyTorch Distributed: Experiences on Accelerating Data Parallel Training*, VLDB 2020
    (replicas stay equal as long as each step is).
    """

    code: ClassVar[str] = "IMB602"
    name: ClassVar[str] = "ranks-disagree"
    severity: ClassVar[Severity] = "warning"
    kinds: ClassVar[frozenset[str]] = RANKING
    requires: ClassVar[tuple[str, ...]] = ("ranks_apart",)
    min_records: ClassVar[int] = 1

    symptom: ClassVar[str] = (
        "{apart:.0f} of the other {others:.0f} processes hold another queue or other settings than this "
        "one, though all rank the same gathered batch."
    )
    cause: ClassVar[str] = (
        "the loss was built, reset, changed or loaded on some processes only, or they count different steps."
    )
    remedy: ClassVar[str] = (
        "the same settings on every process, and reset_queue, reconfigure and load_state_dict on all of "
        "them or none; reset_queue on all of them makes the queues equal again."
    )

    def examine(self, window: Window) -> Verdict:
        """Read how many ranks differ now."""
        apart = float(window.series("ranks_apart").values[-1])
        if not apart > 0:
            return []
        return [Evidence({"apart": apart, "others": float(max(window.run.world_size - 1, 1))})]
