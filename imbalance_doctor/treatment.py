"""Applies a finding's prescription to a running loss."""

from __future__ import annotations

from typing import Any

from torch import nn

from imbalance_doctor.findings import Finding
from losses.diagnostics import Diagnosable


def apply(finding: Finding, loss_fn: nn.Module) -> tuple[Any, Any] | None:
    """Change the setting that the finding prescribes.

    Returns:
        The setting before and after; None where it is already what was prescribed, or beyond it because
        another finding asked for more.

    Raises:
        ValueError: The finding prescribes no setting, or this loss cannot change it while it runs.
    """
    if finding.prescription is None:
        raise ValueError(
            f"{finding.code} {finding.name} has no setting that carries its remedy; "
            f"do it by hand: {finding.remedy}"
        )
    if not isinstance(loss_fn, Diagnosable):
        raise ValueError(
            f"{type(loss_fn).__name__} is no loss of this package, and its settings cannot be changed "
            f"while it runs; do it by hand: {finding.remedy}"
        )
    parameter, after = finding.prescription["parameter"], finding.prescription["to"]
    before = _setting(loss_fn, parameter)
    if _satisfied(before, finding.prescription["from"], after):
        return None
    loss_fn.reconfigure(**{parameter: after})
    return before, _setting(loss_fn, parameter)


def _satisfied(now: Any, before: Any, wanted: Any) -> bool:
    numbers = all(isinstance(value, (int, float)) for value in (now, before, wanted))
    if not numbers:
        return bool(now == wanted)
    return bool(now >= wanted if wanted >= before else now <= wanted)


def _setting(loss_fn: Diagnosable, parameter: str) -> Any:
    config: dict[str, Any] = dict(loss_fn.config())
    main: dict[str, Any] = config.get("main_loss") or {}  # of a warmup wrapper
    return config.get(parameter, main.get(parameter))
