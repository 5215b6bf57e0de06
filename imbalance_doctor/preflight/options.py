"""Losses by name, and their settings as text: read from the constructors, so that no list is kept twice."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from imbalance_doctor import losses, plain
from imbalance_doctor.losses import diagnostics
from imbalance_doctor.records import MAIN_LOSS, WARMUP_LOSS

Loss: TypeAlias = type[nn.Module]

#: What the number of rates says, what a text cannot name, and what no number of a preflight depends on.
_LEFT_OUT = {
    *("num_classes", "process_group", WARMUP_LOSS, MAIN_LOSS),
    *("reduction", "ignore_index", "update_queue_in_eval", "quantile_interpolation", "background_class"),
    *("label_smoothing", "reset_queue_each_epoch"),
}


def loss_types() -> dict[str, Loss]:
    """The losses that a preflight knows by name."""
    ours = [getattr(losses, name) for name in losses.__all__]
    named: dict[str, Loss] = {
        loss.kind: loss
        for loss in ours
        if isinstance(loss, type)
        and issubclass(loss, diagnostics.Diagnosable)
        and loss is not losses.LossWarmupWrapper
    }
    return named | {kind: loss for loss, kind in diagnostics.bridge.PLAIN_KINDS.items()}


@dataclass(frozen=True)
class LossOption:
    """A constructor parameter: the losses that have it, with its default and its meaning in each."""

    name: str
    kinds: tuple[str, ...]
    defaults: tuple[Any, ...]
    meaning: str

    @property
    def help(self) -> str:
        """What it is, where, and what it is by default."""
        default = " or ".join(dict.fromkeys(map(_text, self.defaults)))
        return f"{self.meaning} [{', '.join(self.kinds)}; default: {default}]"


def settings() -> list[LossOption]:
    """The settings of all losses of this package, and those of the warmup wrapper around any of them."""
    owners: dict[str, Loss] = {
        kind: loss for kind, loss in loss_types().items() if issubclass(loss, diagnostics.Diagnosable)
    }
    found: dict[str, dict[str, tuple[Any, str]]] = {}
    owners["warmup"] = losses.LossWarmupWrapper
    for kind, loss in owners.items():
        meanings = _meanings(loss)
        for name, default in _parameters(loss).items():
            if kind != "warmup" or name not in found:
                found.setdefault(name, {})[kind] = (default, meanings.get(name, ""))
    return [_setting(name, of) for name, of in found.items()]


def build(kind: str, given: Mapping[str, str], classes: int) -> nn.Module:
    """The loss of this name with these settings; in a warmup wrapper where a setting is the wrapper's.

    Raises:
        ValueError: The loss has no such setting, or the setting may not be that.
    """
    loss, wrapper = loss_types()[kind], losses.LossWarmupWrapper
    own = set(_parameters(loss)) if issubclass(loss, diagnostics.Diagnosable) else set()
    wrappers = set(_parameters(wrapper)) - own
    for name in given:
        if name not in own | wrappers:
            known = f"one of {', '.join(sorted(own))}" if own else "which has none"
            raise ValueError(f"expected a setting of {kind}, {known}, got {name}")
    values = {name: plain.value_of(text) for name, text in given.items()}
    inner = {name: value for name, value in values.items() if name in own}
    if "num_classes" in inspect.signature(loss).parameters:
        inner["num_classes"] = classes
    built = loss(**inner)
    outer = {name: value for name, value in values.items() if name not in own}
    if not outer:
        return built
    warmup = nn.BCEWithLogitsLoss() if classes == 1 else nn.CrossEntropyLoss()
    return wrapper(warmup, built, **outer)


def _parameters(loss: Loss) -> dict[str, Any]:
    found = inspect.signature(loss).parameters
    return {name: each.default for name, each in found.items() if name not in _LEFT_OUT}


def _meanings(loss: Loss) -> dict[str, str]:
    """What the docstring says of each parameter; nothing where docstrings were dropped."""
    _, _, arguments = (inspect.getdoc(loss) or "").partition("\nArgs:\n")
    arguments = arguments.partition("\n\n")[0]
    return dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", arguments, re.MULTILINE))


def _setting(name: str, of: Mapping[str, tuple[Any, str]]) -> LossOption:
    meanings: dict[str, list[str]] = {}
    for kind, (_, meaning) in of.items():
        if meaning and not meaning.startswith("As in "):
            meanings.setdefault(_first_sentence(meaning), []).append(kind)
    if len(meanings) > 1:
        meaning = " ".join(f"{', '.join(kinds)}: {text}" for text, kinds in meanings.items())
    else:
        meaning = next(iter(meanings), "")
    return LossOption(name, tuple(of), tuple(default for default, _ in of.values()), meaning)


def _first_sentence(meaning: str) -> str:
    plain = " ".join(meaning.replace("``", "").replace("`", "").split())
    return plain.split(". ")[0].rstrip(".") + "."


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value}"
