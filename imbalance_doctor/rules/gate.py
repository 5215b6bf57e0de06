"""Whether a rule is ready for a window: whoever examines a rule asks here first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from imbalance_doctor.findings import Skipped
from imbalance_doctor.history import Window


class Needs(Protocol):
    """What a rule says of the windows that it can judge, see `Rule`."""

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of loss that it applies to."""

    @property
    def min_records(self) -> int:
        """Records that must be there first."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Statistics that it reads."""

    @property
    def requires_eval(self) -> tuple[str, ...]:
        """Validation metrics that it reads."""


_OTHER_KIND = Skipped("for other kinds of loss", "kind")


def unready(rule: Needs, window: Window) -> Skipped | None:
    """Why a rule cannot be examined on a window; None where it can."""
    if window.kind not in rule.kinds:
        return _OTHER_KIND
    if window.records < rule.min_records:
        return Skipped(
            f"too few records: judged from {rule.min_records} on (now {window.records})", "records"
        )
    return unrecorded(window, rule.requires) or unvalidated(window, rule.requires_eval)


def unrecorded(window: Window, names: Iterable[str]) -> Skipped | None:
    """That statistics are missing, where any of these is."""
    missing = [name for name in names if not window.has(name)]
    return Skipped(f"{', '.join(missing)} not recorded", "statistic") if missing else None


def unvalidated(window: Window, names: Iterable[str]) -> Skipped | None:
    """That validation metrics are missing, where any of these is."""
    missing = [name for name in names if not len(window.eval_series(name))]
    if not missing:
        return None
    return Skipped(f"no validation {', '.join(missing)}; call doctor.log_eval", "evaluation")
