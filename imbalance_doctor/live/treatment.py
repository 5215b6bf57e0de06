"""Applies a finding's prescription to a running loss, and takes it back.

A prescription is a `Change` of a setting that the loss can change while it trains (`reconfigure`), or
something to do once: `ResetQueue`, whose before and after are the numbers of rows.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from imbalance_doctor.findings import Finding
from imbalance_doctor.losses import LossWarmupWrapper, diagnostics, ranking
from imbalance_doctor.prescriptions import Change, ResetQueue
from imbalance_doctor.records import LossInfo, TreatmentRecord


def apply(finding: Finding, loss_fn: nn.Module) -> tuple[Any, Any] | None:
    """Do what the finding prescribes.

    Returns:
        The setting before and after; None where it is already what was prescribed, or beyond it because
        another finding asked for more.

    Raises:
        ValueError: The finding prescribes no setting, or this loss cannot change it while it runs.
    """
    if finding.prescription is None:
        raise ValueError(
            f"{finding.code} {finding.name} has no automatic treatment; apply the remedy yourself. "
            f"{finding.remedy}"
        )
    if not isinstance(loss_fn, diagnostics.Diagnosable):
        raise ValueError(
            f"{type(loss_fn).__name__} is not a loss of this package, so its settings cannot be changed "
            f"during training; apply the remedy yourself. {finding.remedy}"
        )
    match finding.prescription:
        case ResetQueue():
            return _reset_queue(loss_fn)
        case Change() as change:
            try:
                return _changed(loss_fn, change)
            except (TypeError, ValueError) as error:  # a rule of the user's own may prescribe anything plain
                raise ValueError(f"{error}; apply the remedy yourself. {finding.remedy}") from None


def revert(treatment: TreatmentRecord, loss_fn: nn.Module) -> tuple[Any, Any]:
    """Give a setting the value that it had before a treatment.

    Returns:
        The setting before and after this.

    Raises:
        ValueError: It has changed since the treatment, or what was done cannot be taken back.
    """
    parameter, wanted = treatment.parameter, treatment.before
    if parameter == ResetQueue.parameter:
        raise ValueError(
            f"a queue reset ({treatment.code}) cannot be undone; its {treatment.before:,} rows are gone. The "
            "queue refills during training."
        )
    assert isinstance(loss_fn, diagnostics.Diagnosable)  # or it could not have been treated
    now = _setting(loss_fn, parameter)
    if now != treatment.after:
        raise ValueError(
            f"cannot undo {treatment.code}: it set {parameter} to {treatment.after}, but it is now {now}. "
            "Undo the later change first."
        )
    if isinstance(loss_fn, LossWarmupWrapper) and isinstance(wanted, list):
        loss_fn.resume_decay(*wanted)
    else:
        loss_fn.reconfigure(**{parameter: wanted})
    return now, _memorable(loss_fn, parameter, _setting(loss_fn, parameter))


def _changed(loss_fn: diagnostics.Diagnosable, change: Change) -> tuple[Any, Any] | None:
    now = _setting(loss_fn, change.parameter)
    if _satisfied(now, change.before, change.after):
        return None
    before = _memorable(loss_fn, change.parameter, now)
    loss_fn.reconfigure(**{change.parameter: change.after})
    return before, _setting(loss_fn, change.parameter)


def _reset_queue(loss_fn: diagnostics.Diagnosable) -> tuple[int, int] | None:
    loss = loss_fn.main_loss if isinstance(loss_fn, LossWarmupWrapper) else loss_fn
    if not isinstance(loss, ranking.RankingLoss):
        raise ValueError(f"expected a loss with a queue to reset, got {type(loss_fn).__name__}")
    rows = round(float(loss.queue.fill()) * loss.queue_size)
    if not rows:
        return None
    loss.reset_queue()
    return rows, 0


def _satisfied(now: Any, before: Any, wanted: Any) -> bool:
    numbers = all(isinstance(value, (int, float)) for value in (now, before, wanted))
    if not numbers:
        return bool(now == wanted)
    return bool(now >= wanted if wanted >= before else now <= wanted)


def _setting(loss_fn: diagnostics.Diagnosable, parameter: str) -> Any:
    return LossInfo(loss_fn.kind, loss_fn.kind, loss_fn.config()).setting(parameter)


def _memorable(loss_fn: diagnostics.Diagnosable, parameter: str, now: Any) -> Any:
    """The value of a setting as it can be given back: a falling temperature is a start and an end."""
    if isinstance(loss_fn, LossWarmupWrapper) and parameter == "temperature":
        start, end = loss_fn.temp_start, loss_fn.temp_end
        return now if start == end else [start, end]
    return now
