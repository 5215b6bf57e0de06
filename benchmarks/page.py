"""docs/benchmarks.md: a section for each benchmark, written by the command that runs it."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Table

INTRODUCTION = """\
# Benchmarks

    make docs PAGES=benchmarks                 # all of it, and this page; the better part of an hour
    python -m benchmarks kernels --quick       # one of them, without what takes long
    python -m benchmarks kernels -o FILE       # also write its section of a page
    python -m benchmarks --help

What counts is the *ratio* within one run: steps are run in turns with those they are compared to, and the
medians are compared. Single times depend on the machine and on what else it does. Memory is what a step adds
to the peak of a process of its own. No test depends on a time.

This page is written by the command. Each section says on what machine, and below it what fell short of its
goal.
"""


def section(name: str, summary: str, machine: str, tables: Sequence[Table]) -> str:
    """What one benchmark has to say."""
    missed = [line for table in tables for line in table.missed]
    parts = [f"## {name.capitalize()}: {summary}", f"Measured on: {machine}."]
    parts += _listed([line for table in tables for line in table.headlines])
    if missed:
        parts += ["Short of its goal in this run:", *_listed(missed)]
    return "\n\n".join(parts + [str(table) for table in tables])


def write(page: Path, written: dict[str, str]) -> None:
    """Put sections on a page, in the order of their names; those of other benchmarks stay as they are."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    found = re.findall(r"<!-- benchmark (\w+) -->\n(.*?)(?=<!-- benchmark |\Z)", old, re.DOTALL)
    sections = {name: text.strip() for name, text in found} | written
    marked = [f"<!-- benchmark {name} -->\n{sections[name].strip()}\n" for name in sorted(sections)]
    page.write_text("\n".join([INTRODUCTION, *marked]), encoding="utf-8")


def _listed(lines: list[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)] if lines else []
