"""The `losses` package by a name that no file of the user's hides.

A training script often has a ``losses.py`` of its own beside it, and ``import losses`` then means that
file. So everything in here reaches the package as `imbalance_doctor.losses`: the very modules of `losses`
where that name is ours, and otherwise the package loaded from its folder under this name. Either way there is
one copy of each class.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from losses import LossWarmupWrapper as LossWarmupWrapper
    from losses import PAUCAtBudgetLoss as PAUCAtBudgetLoss
    from losses import RecallAtQuantileLoss as RecallAtQuantileLoss
    from losses import SigmoidFocalLoss as SigmoidFocalLoss
    from losses import SmoothAPLoss as SmoothAPLoss
    from losses import SoftmaxFocalLoss as SoftmaxFocalLoss
    from losses import __all__ as __all__
    from losses import _checks as _checks
    from losses import _exports as _exports
    from losses import all_gather_no_grad as all_gather_no_grad
    from losses import all_gather_with_grad as all_gather_with_grad
    from losses import catalogue as catalogue
    from losses import compiling as compiling
    from losses import diagnostics as diagnostics
    from losses import distributed as distributed
    from losses import grad_mode as grad_mode
    from losses import gradients as gradients
    from losses import interrupts as interrupts
    from losses import kinds as kinds
    from losses import likelihood as likelihood
    from losses import likelihood_statistics as likelihood_statistics
    from losses import pool as pool
    from losses import queue as queue
    from losses import ranking as ranking
    from losses import repeats as repeats
    from losses import schedule as schedule

#: Both packages come from one distribution, so they lie beside each other.
_FOLDER = Path(__file__).resolve().parents[1] / "losses"


class _SameModule(Loader):
    """Gives out a module that has been imported under another name."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._own_spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the spec of the second name there.
        module.__spec__ = self._own_spec


class _SecondName(MetaPathFinder):
    """Finds ``imbalance_doctor.losses.x`` as ``losses.x``."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if not fullname.startswith(f"{__name__}."):
            return None
        try:
            module = importlib.import_module(fullname.removeprefix("imbalance_doctor."))
        except ModuleNotFoundError:
            return None
        return ModuleSpec(fullname, _SameModule(module), is_package=hasattr(module, "__path__"))


def _other_file() -> str | None:
    """What ``import losses`` means where it does not mean this package."""
    try:
        spec = importlib.util.find_spec("losses")
    except ValueError:  # a module that was made by hand
        return "a module without a file"
    if spec is None:
        return "nothing"
    if spec.origin is None:  # a folder without __init__.py
        return str(next(iter(spec.submodule_search_locations or ()), "a module without a file"))
    return None if Path(spec.origin).resolve().parent == _FOLDER else spec.origin


def _load() -> ModuleType:
    other = _other_file()
    if other is None:
        sys.meta_path.insert(0, _SecondName())
        return importlib.import_module("losses")
    spec = importlib.util.spec_from_file_location(
        __name__, _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules[__name__] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    if other != "nothing":
        warnings.warn(
            f"imbalance-doctor: 'import losses' means {other} here, which hides this package's losses: "
            "import them with 'from imbalance_doctor.losses import SmoothAPLoss', or rename that file",
            UserWarning,
            stacklevel=2,
        )
    return package


# The import system takes what stands here once this module has run.
sys.modules[__name__] = _load()
