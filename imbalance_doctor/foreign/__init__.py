"""Logs that others wrote, as runs.

A format is a module of this folder with two functions; nothing else lists it:

- ``reads(path) -> bool``: whether a file or directory is of this format. It looks at names and at the first
  lines, raises nothing, and is asked only of what is no log of ours.
- ``read(path) -> Run``: the run that it holds; `LogError` where it cannot be read.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def formats() -> tuple[ModuleType, ...]:
    """The formats, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


def format_of(path: Path) -> ModuleType | None:
    """The format of a file or directory; None where it is none of these."""
    return next((each for each in formats() if each.reads(path)), None)
