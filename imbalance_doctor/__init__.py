"""Tells you why a PyTorch model on rare positives does not learn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from imbalance_doctor.examine.diagnose import diagnose
from imbalance_doctor.examine.loading import load_run
from imbalance_doctor.findings import Diagnosis, Finding, ImbalanceError, ImbalanceWarning
from imbalance_doctor.live.sinks import Sink
from imbalance_doctor.log import LogError
from imbalance_doctor.log.run import Run
from imbalance_doctor.losses import _exports
from imbalance_doctor.preflight import preflight
from imbalance_doctor.second_names import SecondNames

if TYPE_CHECKING:
    from imbalance_doctor.live.doctor import Doctor

__all__ = [
    "Diagnosis",
    "Doctor",
    "Finding",
    "ImbalanceError",
    "ImbalanceWarning",
    "LogError",
    "Run",
    "Sink",
    "diagnose",
    "load_run",
    "preflight",
]

#: Import paths that docs have published, and where they lead.
_PUBLISHED = {
    "imbalance_doctor.metrics": "imbalance_doctor.scores.metrics",
    "imbalance_doctor.rare_digits": "imbalance_doctor.demo.rare_digits",
}
sys.meta_path.append(SecondNames(_PUBLISHED.get))

# What trains needs torch. A report does not, and starts ten times as fast without it.
__getattr__, __dir__ = _exports.exports(__name__, {"Doctor": "live.doctor"})
