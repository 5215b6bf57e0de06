"""Changing a loss's settings while it trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .diagnostics import ConfigValue


def check_changeable(owner: object, settings: Mapping[str, ConfigValue], changeable: Iterable[str]) -> None:
    """Raise `ValueError` if `settings` names anything that cannot change during training."""
    names = tuple(changeable)
    unknown = [name for name in settings if name not in names]
    if unknown:
        raise ValueError(
            f"{type(owner).__name__} cannot change {', '.join(map(repr, unknown))} during training; "
            f"it can change {', '.join(map(repr, names))}"
        )
