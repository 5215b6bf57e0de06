"""Settings of a project, from ``[tool.imbalance-doctor]`` of its pyproject.toml."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imbalance_doctor.rules import find_rule
from imbalance_doctor.selection import Choice, choose_rules, with_thresholds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECTION = "tool.imbalance-doctor"


@dataclass(frozen=True)
class Project:
    """What a project says of the rules, and the file that says it; None where none does."""

    choice: Choice = field(default_factory=Choice)
    path: Path | None = None

    @property
    def note(self) -> tuple[str, ...]:
        """What a reader of a diagnosis should know of it."""
        return () if self.path is None else (f"rules as chosen by [{SECTION}] of {self.path}",)


def find_project(start: Path | None = None) -> Project:
    """The settings of the nearest pyproject.toml with the section, from a directory (this one) upwards.

    Raises:
        ValueError: A file is no TOML, or a setting is not known or not of its type; names file and key.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            section = _section(path)
            if section is not None:
                return Project(_Reader(path).choice(section), path)
    return Project()


def _section(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content: Any = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: this is no TOML: {error}") from None
    for name in SECTION.split("."):
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


@dataclass(frozen=True)
class _Reader:
    """Reads a section; every error names the file and the key."""

    path: Path

    def choice(self, section: Any) -> Choice:
        self._table(SECTION, section)
        known = ("select", "ignore", "rules")
        for key in section:
            if key not in known:
                raise self._error(f"{SECTION}.{key}", f"is not known; expected one of {', '.join(known)}")
        return Choice(
            select=self._selectors(section, "select"),
            ignore=self._selectors(section, "ignore"),
            thresholds=self._thresholds(section.get("rules", {})),
        )

    def _selectors(self, section: Mapping[str, Any], key: str) -> list[str] | None:
        value = section.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._error(f"{SECTION}.{key}", f'expected a list of texts, as ["IMB4"]; got {value!r}')
        try:
            choose_rules(select=value)
        except ValueError as error:
            raise self._error(f"{SECTION}.{key}", str(error)) from None
        return list(value)

    def _thresholds(self, rules: Any) -> dict[str, dict[str, Any]]:
        self._table(f"{SECTION}.rules", rules)
        found: dict[str, dict[str, Any]] = {}
        for name, values in rules.items():
            key = f"{SECTION}.rules.{name}"
            self._table(key, values)
            try:
                rule = find_rule(name)
                with_thresholds(rule, values)
            except ValueError as error:
                raise self._error(key, str(error)) from None
            found.setdefault(rule.code, {}).update(values)
        return found

    def _table(self, key: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise self._error(key, f"expected a table; got {value!r}")

    def _error(self, key: str, problem: str) -> ValueError:
        return ValueError(f"{self.path}: {key}: {problem}")
