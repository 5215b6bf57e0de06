"""The numbers of a preflight as a table: a quantity a row, a class a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imbalance_doctor.findings import Diagnosis, Expected
from imbalance_doctor.render.numbers import number

#: Classes that get a column each; beyond, a row shows the smallest and the largest value.
MOST_CLASSES = 4


@dataclass(frozen=True)
class Table:
    """Cells as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(diagnosis: Diagnosis) -> list[Table]:
    """One table for each loss of a preflight; none for a run."""
    losses = dict.fromkeys(item.loss for item in diagnosis.expected)
    return [_table(loss, [item for item in diagnosis.expected if item.loss == loss]) for loss in losses]


def passing(diagnosis: Diagnosis) -> str:
    """The settings that pass together, as one would type them; empty where there are none."""
    return ", ".join(f"{name}={value!r}" for name, value in diagnosis.settings.items())


def quantity(value: float, unit: str) -> str:
    """A number with its unit.

    >>> quantity(0.0034, "share"), quantity(5e-10, "chance"), quantity(1.5e6, "bytes")
    ('0.34 %', '< 0.01 %', '1.43 MiB')
    """
    if unit == "chance" and value < 1e-4:
        return "< 0.01 %"
    if unit in ("share", "chance"):
        return f"{number(100 * value)} %"
    if unit == "bytes":
        return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB"))
    if unit == "seconds":
        return _scaled(1e6 * value, 1000.0, ("µs", "ms", "s"))
    return number(value)


def _scaled(value: float, base: float, units: Sequence[str]) -> str:
    power = 0
    while value >= base and power < len(units) - 1:
        value, power = value / base, power + 1
    return f"{number(value)} {units[power]}"


def _table(loss: str, items: Sequence[Expected]) -> Table:
    classes = sorted({item.class_index for item in items if item.class_index is not None})
    by_name: dict[str, list[Expected]] = {}
    for item in items:
        by_name.setdefault(item.name, []).append(item)
    if len(classes) <= 1:
        columns: tuple[str, ...] = ("",)
    elif len(classes) <= MOST_CLASSES:
        columns = tuple(f"class {index}" for index in classes)
    else:
        columns = ("least", "most")
    rows = tuple((name, *_cells(found, len(columns))) for name, found in by_name.items())
    return Table(loss, columns, rows)


def _cells(found: Sequence[Expected], columns: int) -> list[str]:
    texts = [quantity(item.value, item.unit) for item in found]
    if found[0].class_index is None:
        return [texts[0], *[""] * (columns - 1)]
    if len(found) > columns:
        ordered = sorted(found, key=lambda item: item.value)
        return [quantity(item.value, item.unit) for item in (ordered[0], ordered[-1])]
    return texts
