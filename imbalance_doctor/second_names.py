"""Modules that go by a second name: one copy of each, whichever name it is imported by."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _SameModule(Loader):
    """Gives out a module that has been imported under another name."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._own_spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the spec of the second name there.
        module.__spec__ = self._own_spec


class SecondNames(MetaPathFinder):
    """Finds modules by second names.

    Args:
        first: Takes a name that is imported; gives the name of the module that it means, None where it is
            no second name.
    """

    def __init__(self, first: Callable[[str], str | None]) -> None:
        self._first = first

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's spec under its second name."""
        name = self._first(fullname)
        if name is None:
            return None
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            return None
        return ModuleSpec(fullname, _SameModule(module), is_package=hasattr(module, "__path__"))
