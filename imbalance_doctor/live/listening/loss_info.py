"""What a watched loss is called, and its settings: read from any module, whatever it does when it is read."""

from __future__ import annotations

from torch import nn

from imbalance_doctor.guard import attempt
from imbalance_doctor.losses import diagnostics, kinds
from imbalance_doctor.records import LossInfo
from imbalance_doctor.texts import clean

#: Letters of a name that a loss gives itself: the panels and tables that show it have less room.
MOST_LETTERS = 64


def name_of(loss: nn.Module) -> str:
    """What a loss is called by default: its kind, or its class where it has none. Nothing raises."""
    kind = attempt(getattr, loss, "kind", None)
    return _short(kind if isinstance(kind, str) else _class_of(loss)) or "loss"


def info_of(name: str, loss: nn.Module) -> LossInfo:
    """A loss by a name of this run, with its settings as they are now. Nothing raises."""
    settings = diagnostics.bridge.settings_of(loss)
    if not isinstance(loss, diagnostics.Diagnosable):
        settings = {"class": _short(_class_of(loss)), **settings}
    return LossInfo(name, _short(diagnostics.bridge.kind_of(loss)) or kinds.OTHER, settings)


def _class_of(loss: nn.Module) -> str:
    # A scripted loss knows what it was made from.
    name = attempt(getattr, loss, "original_name", None)
    return name if isinstance(name, str) else type(loss).__name__


def _short(text: str) -> str:
    return clean(text)[:MOST_LETTERS].strip()
