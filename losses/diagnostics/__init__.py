"""What losses report of a forward: who listens, and how the statistics are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._exports import exports

if TYPE_CHECKING:
    from . import bridge as bridge
    from . import gradients as gradients
    from . import likelihood as likelihood
    from . import listening as listening
    from . import plain_values as plain_values
    from . import scores as scores
    from .listening import (
        CATALOGUE,
        HISTOGRAM_BINS,
        QUANTILE_LEVELS,
        STATS,
        ConfigValue,
        Detail,
        Diagnosable,
        DiagnosticsHook,
        Stat,
        Stats,
    )

__all__ = [
    "CATALOGUE",
    "HISTOGRAM_BINS",
    "QUANTILE_LEVELS",
    "STATS",
    "ConfigValue",
    "Detail",
    "Diagnosable",
    "DiagnosticsHook",
    "Stat",
    "Stats",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "ConfigValue": "listening",
        "Diagnosable": "listening",
        "DiagnosticsHook": "listening",
        "Stats": "listening",
        "CATALOGUE": "listening",
        "STATS": "listening",
        "Stat": "listening",
        "Detail": "listening",
        "QUANTILE_LEVELS": "listening",
        "HISTOGRAM_BINS": "listening",
    },
)
