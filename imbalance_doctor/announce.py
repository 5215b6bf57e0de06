"""How a finding reaches the user while the model trains."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from imbalance_doctor.findings import Finding, ImbalanceError, at_least
from imbalance_doctor.guard import Guard, warn

Mode: TypeAlias = Literal["warn", "log", "raise"]
OnFinding: TypeAlias = "Mode | Callable[[Finding], object]"

logger = logging.getLogger("imbalance_doctor")

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def announcer(on_finding: OnFinding) -> Callable[[Finding], None]:
    """What to do with a finding that opened.

    Raises:
        ValueError: `on_finding` is none of the modes and cannot be called.
    """
    if callable(on_finding):
        guard = Guard("the on_finding callback", "findings are still recorded")
        return lambda finding: guard(_discard, on_finding, finding)
    actions = {"warn": _warn, "log": _log, "raise": _raise}
    if on_finding not in actions:
        modes = ", ".join(repr(mode) for mode in get_args(Mode))
        raise ValueError(f"expected on_finding to be {modes} or a callable; got {on_finding!r}")
    return actions[on_finding]


def _discard(callback: Callable[[Finding], object], finding: Finding) -> None:
    callback(finding)


def _warn(finding: Finding) -> None:
    # "info" needs no action, so it is left to the report.
    if at_least(finding.severity, "warning"):
        warn(finding.headline())


def _log(finding: Finding) -> None:
    logger.log(_LEVELS[finding.severity], finding.headline())


def _raise(finding: Finding) -> None:
    if finding.severity == "error":
        raise ImbalanceError(finding)
    _warn(finding)
