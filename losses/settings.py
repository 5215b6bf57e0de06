"""A loss knows its settings once: its construction, `config` and `reconfigure` follow from one table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

from ._checks import check_choice, check_integer, check_number
from .diagnostics.listening import ConfigValue, Diagnosable

#: Takes the name of a setting and what was given; gives what the loss is to hold. `ValueError` (of what is no
#: module, `TypeError`) if it may not be that.
Check: TypeAlias = Callable[[str, object], Any]


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Setting:
    """A constructor parameter, which the loss holds in the attribute of its name.

    Attributes:
        check: What it may be.
        changes: Whether it can change in use.
        hold: Takes the loss, the name and a checked value, and puts it in place, at construction and when it
            changes.
        plain: What a value that is held is in `config`.
    """

    check: Check
    changes: bool = False
    hold: Callable[[Any, str, Any], None] = setattr
    plain: Callable[[Any], ConfigValue] = _as_it_is


Settings: TypeAlias = Mapping[str, Setting]


def number(
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Check:
    """A finite number within bounds."""
    return partial(check_number, above=above, least=least, most=most, below=below)


def integer(*, least: int | None = None) -> Check:
    """An integer."""
    return partial(check_integer, least=least)


def one_of(*choices: object) -> Check:
    """One of these values."""
    return partial(check_choice, choices=choices)


def optional(check: Check) -> Check:
    """None, or what another check takes."""
    return lambda name, value: None if value is None else check(name, value)


#: What has one meaning in all losses that have it.
GATHER_DISTRIBUTED = Setting(one_of(None, True, False), changes=True)
TEMPERATURE = Setting(number(above=0.0), changes=True)


class Configurable(Diagnosable):
    """A loss whose settings are a table. Base of every loss of this package."""

    #: By constructor parameter, in the order of `config`; all but `process_group`, which no log can hold.
    _SETTINGS: ClassVar[Settings]

    def __init__(self, given: Mapping[str, object]) -> None:
        """Check and hold each setting.

        Args:
            given: The ``locals()`` of a constructor: what was given for each parameter. What else is among
                them is passed over.
        """
        super().__init__()
        for name, setting in self._SETTINGS.items():
            setting.hold(self, name, setting.check(name, given[name]))

    def config(self) -> dict[str, ConfigValue]:
        """The settings as they are now, as constructor parameters."""
        return {name: setting.plain(getattr(self, name)) for name, setting in self._SETTINGS.items()}

    def reconfigure(self, **settings: ConfigValue) -> None:
        """Change settings during training.

        Raises:
            ValueError: If a value is not allowed, or a setting is named that cannot change (the message lists
                those that can); nothing is changed.
        """
        for name, value in self._checked(settings).items():
            self._SETTINGS[name].hold(self, name, value)

    def _changeable(self) -> list[str]:
        """The settings that can change in use."""
        return [name for name, setting in self._SETTINGS.items() if setting.changes]

    def _checked(self, settings: Mapping[str, object]) -> dict[str, Any]:
        """What to hold after a change; `ValueError` if a value is not allowed, or a setting cannot change."""
        fixed = settings.keys() - self._changeable()
        if fixed:
            raise self._cannot_change([name for name in settings if name in fixed])
        return {name: self._SETTINGS[name].check(name, value) for name, value in settings.items()}

    def _cannot_change(self, names: Collection[str]) -> ValueError:
        return ValueError(
            f"expected settings that {type(self).__name__} can change during training, which are "
            f"{', '.join(map(repr, self._changeable()))}, got {', '.join(map(repr, names))}: build a new "
            "loss to change others"
        )
