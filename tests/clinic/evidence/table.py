"""A table as the rules' pages have it, and the numbers in its cells."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

#: What one run of a cell measured, by name; a cell has one for each seed.
Figures = Mapping[str, float]
Cell = Sequence[Figures]

#: What the pages call the clinic's families.
CALLED = {
    "gaussian": "Gaussian data",
    "digits": "digits",
    "table": "make_classification",
    "sequence": "sequences",
}


@dataclass(frozen=True)
class Table:
    """A table of texts; a cell may be empty."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as it stands in a page, without the page's indentation."""
        lines = [_line(self.header), "|" + "---|" * len(self.header), *map(_line, self.rows)]
        return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def number(value: float, digits: int = 2) -> str:
    """A share: ``.90``, ``1.00``."""
    return f"{value:.{digits}f}".removeprefix("0")


def mean(cell: Cell, name: str = "average_precision") -> str:
    """The mean over seeds."""
    return number(fmean(figures[name] for figures in cell))


def spread(cell: Cell, name: str = "average_precision") -> str:
    """The mean over seeds, and their standard deviation."""
    return f"{mean(cell, name)} ± {number(pstdev(figures[name] for figures in cell))}"


def each(cell: Cell, name: str = "average_precision") -> str:
    """The value of every seed."""
    return " ".join(number(figures[name]) for figures in cell)


def between(cell: Cell, name: str, form: str = ",.0f") -> str:
    """The least and the greatest value over seeds, or the one value that they read as."""
    values = [figures[name] for figures in cell]
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}-{high}"


def over(
    cells: Mapping[Hashable, Cell],
    key: tuple[Hashable, ...],
    families: Iterable[str],
    name: str = "average_precision",
    text: Callable[[Cell, str], str] = mean,
) -> str:
    """The cells of one key on several families: ``.90 / .92``; empty where there were no such runs."""
    found = [cells[(*key, family)] for family in families if (*key, family) in cells]
    return " / ".join(text(cell, name) for cell in found)
