"""Names of a package that are imported when they are asked for, and what they need with them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The package's ``__getattr__`` and ``__dir__``.

    Args:
        package: Its name.
        homes: The module of each name, within the package. Modules themselves are found without being named.
    """

    def find(name: str) -> Any:
        try:
            module = importlib.import_module(f".{homes.get(name, name)}", package)
        except ModuleNotFoundError as error:
            if name in homes or error.name != f"{package}.{name}":
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        if name not in homes:
            return module
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)  # not to be asked for again
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return find, names
