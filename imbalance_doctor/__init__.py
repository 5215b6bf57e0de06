"""Tells you why a PyTorch model on rare positives does not learn."""

from imbalance_doctor.diagnose import diagnose
from imbalance_doctor.doctor import Doctor
from imbalance_doctor.findings import Diagnosis, Finding, ImbalanceError, ImbalanceWarning
from imbalance_doctor.preflight import preflight
from imbalance_doctor.run import Run, load_run
from imbalance_doctor.runlog import LogError

__all__ = [
    "Diagnosis",
    "Doctor",
    "Finding",
    "ImbalanceError",
    "ImbalanceWarning",
    "LogError",
    "Run",
    "diagnose",
    "load_run",
    "preflight",
]
