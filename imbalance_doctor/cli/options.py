"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import click

from imbalance_doctor.findings import SEVERITIES

Decorator: TypeAlias = Callable[[Callable[..., int]], Callable[..., int]]

#: What every command is made with.
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

run = click.argument("run", type=click.Path(path_type=Path))

fail_on = click.option(
    "--fail-on",
    type=click.Choice([*SEVERITIES, "never"]),
    default="error",
    show_default=True,
    help="Exit with 1 if a finding of this severity or above is open.",
)
select = click.option(
    "--select",
    metavar="CODES",
    help="Only these rules: codes, names or prefixes, e.g. IMB4,few-positives-in-pool.",
)
ignore = click.option("--ignore", metavar="CODES", help="Leave these rules out.")


def form(names: Iterable[str]) -> Decorator:
    """The format of what is printed, the first name by default."""
    choice = click.Choice(list(names))
    return click.option("--format", "form", type=choice, default=choice.choices[0], show_default=True)


def output(where: str) -> Decorator:
    """A file to write to; `where` says where each format goes without it."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"Write here; - is stdout. {where} A file keeps its permissions, a link is replaced.",
    )


def codes(text: str | None) -> list[str] | None:
    """The codes of ``--select`` or ``--ignore``; None where it was not given."""
    return None if text is None else text.replace(",", " ").split()
