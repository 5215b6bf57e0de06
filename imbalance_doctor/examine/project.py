"""Settings of a project, from ``[tool.imbalance-doctor]`` of its pyproject.toml."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imbalance_doctor.examine.selection import Choice, choose_rules
from imbalance_doctor.examine.tuning import with_thresholds
from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.rules import find_rule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECTION = "tool.imbalance-doctor"


#: Bytes of a pyproject.toml. The largest of well-known projects have some 50,000; parsing one of
#: megabytes can take minutes.
MOST_BYTES = 100_000

#: What the top of a checkout holds: what lies above it is another project, or none.
_CHECKOUT = (".git", ".hg")


@dataclass(frozen=True)
class Project:
    """What a project says of the rules, and where."""

    choice: Choice = field(default_factory=Choice)
    #: The file that says it; None where none does.
    path: Path | None = None
    #: What a reader of a diagnosis should know: the file whose rules these are, files that were passed over.
    notes: tuple[str, ...] = ()

    def noted(self, diagnosis: Diagnosis) -> Diagnosis:
        """The diagnosis with the notes of the project after its own."""
        return replace(diagnosis, notes=(*diagnosis.notes, *self.notes))


class _PassedOverError(Exception):
    """A file that is not read, and why."""


def find_project(start: Path | None = None) -> Project:
    """The settings of the nearest pyproject.toml with the section, from a directory (this one) upwards.

    The search ends at the top of a checkout, at the user's home, and at the root of the file system. A file
    that belongs to somebody else than the user and root is passed over, because it could silence every
    finding; so is one that cannot be read, unless it speaks of this program.

    Raises:
        ValueError: A file with the section is no TOML, or a setting is not known or not of its type; names
            file and key.
    """
    try:
        start = (start or Path.cwd()).resolve()
    except OSError:
        return Project(notes=("the working directory is gone, so no pyproject.toml was read",))
    notes: list[str] = []
    for folder in _searched(start):
        path = folder / "pyproject.toml"
        try:
            section = _section(path)
        except _PassedOverError as reason:
            notes.append(f"{path} was not used: {reason}")
        else:
            if section is not None:
                notes.append(f"rules as chosen by [{SECTION}] of {path}")
                return Project(_Reader(path).choice(section), path, tuple(notes))
    return Project(notes=tuple(notes))


def _searched(start: Path) -> Iterator[Path]:
    home = os.path.realpath(os.path.expanduser("~"))
    for folder in (start, *start.parents):
        yield folder
        if str(folder) == home or any(os.path.lexists(folder / name) for name in _CHECKOUT):
            return


def _section(path: Path) -> Any:
    """The section of a file; None where it has none or is not there."""
    content = _content(path)
    try:
        table: Any = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        if SECTION.rpartition(".")[2].encode() in content:
            raise ValueError(f"{path}: expected valid TOML, got: {error}") from None
        raise _PassedOverError(f"it is not valid TOML: {error}") from None
    for name in SECTION.split("."):
        table = table.get(name) if isinstance(table, Mapping) else None
    return table


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _content(path: Path) -> bytes:
    """What a file holds, without waiting for a pipe; nothing where there is none."""
    try:
        owners = {path.lstat().st_uid}  # whoever owns a link says what is read
        opened = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - closed below
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _PassedOverError(f"it cannot be read: {error.strerror}") from None
    with opened as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _PassedOverError("it is not a regular file")
        if hasattr(os, "getuid") and not (owners | {found.st_uid}) <= {os.getuid(), 0}:
            raise _PassedOverError("it belongs to another user")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _PassedOverError(f"it has more than {MOST_BYTES:,} bytes")
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
                raise self._error(f"{SECTION}.{key}", f"expected one of {', '.join(known)}, got {key!r}")
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
            raise self._error(f"{SECTION}.{key}", f'expected a list of texts, as ["IMB4"], got {value!r}')
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
            raise self._error(key, f"expected a table, got {value!r}")

    def _error(self, key: str, problem: str) -> ValueError:
        return ValueError(f"{self.path}: {key}: {problem}")
