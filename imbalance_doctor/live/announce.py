"""How a finding reaches the user while the model trains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeAlias, get_args

from imbalance_doctor.findings import Finding, ImbalanceError, Severity, at_least
from imbalance_doctor.guard import Guard, log, warn

Mode: TypeAlias = Literal["warn", "log", "raise"]
OnFinding: TypeAlias = "Mode | Callable[[Finding], object]"

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def announcer(on_finding: OnFinding) -> Callable[[Sequence[Finding]], None]:
    """What to do with findings that opened at one step.

    Raises:
        ValueError: `on_finding` is none of the modes and cannot be called.
    """
    if callable(on_finding):
        guard = Guard("the on_finding callback", "findings are still recorded")
        return partial(_hand_over, guard, on_finding)
    actions = {"warn": _warn, "log": _log, "raise": _raise}
    if on_finding not in actions:
        modes = ", ".join(repr(mode) for mode in get_args(Mode))
        raise ValueError(f"expected on_finding to be {modes} or a callable, got {on_finding!r}")
    return actions[on_finding]


def _hand_over(guard: Guard, callback: Callable[[Finding], object], findings: Sequence[Finding]) -> None:
    guard(lambda: [callback(finding) for finding in findings])


def _spoken(findings: Iterable[Finding]) -> Iterator[tuple[Finding, str]]:
    """One message for one fault of one loss, on however many classes it opened at once."""
    groups: dict[tuple[str, str, Severity], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.loss, finding.severity), []).append(finding)
    for first, *others in groups.values():
        more = f" The same on {len(others)} more classes; see the report." if others else ""
        yield first, first.headline() + more


def _warn(findings: Sequence[Finding]) -> None:
    for finding, text in _spoken(findings):
        # "info" needs no action, so it is left to the report.
        if at_least(finding.severity, "warning"):
            warn(text)


def _log(findings: Sequence[Finding]) -> None:
    for finding, text in _spoken(findings):
        log(_LEVELS[finding.severity], text)


def _raise(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.severity == "error":
            raise ImbalanceError(finding)
    _warn(findings)
