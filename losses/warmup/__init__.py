"""A ranking loss after a warmup on another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._exports import exports

if TYPE_CHECKING:
    from . import schedule as schedule
    from . import wrapper as wrapper
    from .wrapper import LossWarmupWrapper

__all__ = [
    "LossWarmupWrapper",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "LossWarmupWrapper": "wrapper",
    },
)
