"""Tells you why a PyTorch model on rare positives does not learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imbalance_doctor.examine.diagnose import diagnose
from imbalance_doctor.examine.loading import load_run
from imbalance_doctor.findings import Diagnosis, Finding, ImbalanceError, ImbalanceWarning
from imbalance_doctor.live.sinks import Sink
from imbalance_doctor.log import LogError
from imbalance_doctor.log.run import Run
from imbalance_doctor.losses import _exports
from imbalance_doctor.preflight import preflight

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

# What trains needs torch. A report does not, and starts ten times as fast without it.
__getattr__, __dir__ = _exports.exports(__name__, {"Doctor": "live.doctor"})
