"""What each script last printed, in a file beside it, and the tables of the rules' pages."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import torch

from tests.clinic.evidence.table import Table

FOLDER = Path(__file__).parent / "results"

#: The line above a stored table: how it was made.
ORIGIN = re.compile(
    r"<!-- python -m tests\.clinic\.evidence (?P<name>\w+) --seeds (?P<seeds>\d+)(?P<cut> --steps \d+)?;"
    r" torch (?P<torch>\S+) -->"
)


def write(folder: Path, name: str, table: Table, seeds: int, steps: int | None) -> Path:
    """Keep a table, with the command that makes it again."""
    cut = "" if steps is None else f" --steps {steps}"
    command = f"python -m tests.clinic.evidence {name} --seeds {seeds}{cut}"
    origin = f"<!-- {command}; torch {torch.__version__} -->"
    path = folder / f"{name}.md"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{origin}\n\n{table.markdown()}\n", encoding="utf-8")
    return path


def read(name: str) -> tuple[str, str]:
    """What is kept of a script: how the table was made, and the table."""
    origin, _, table = (FOLDER / f"{name}.md").read_text(encoding="utf-8").partition("\n\n")
    return origin, table.rstrip()


def tables(page: str) -> list[str]:
    """The Markdown tables of a page."""
    groups = groupby(page.splitlines(), key=lambda line: line.startswith("|"))
    return ["\n".join(lines) for is_table, lines in groups if is_table]
