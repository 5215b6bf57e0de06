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
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from imbalance_doctor.second_names import SecondNames

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
    from losses import diagnostics as diagnostics
    from losses import distributed as distributed
    from losses import forwards as forwards
    from losses import interrupts as interrupts
    from losses import kinds as kinds
    from losses import ranking as ranking
    from losses import warmup as warmup

#: Both packages come from one distribution, so they lie beside each other.
_FOLDER = Path(__file__).resolve().parents[1] / "losses"


def _first_name(name: str) -> str | None:
    """``losses.x``, of ``imbalance_doctor.losses.x``."""
    return name.removeprefix("imbalance_doctor.") if name.startswith(f"{__name__}.") else None


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
        sys.meta_path.insert(0, SecondNames(_first_name))
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
