"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from imbalance_doctor.findings import SEVERITIES
from imbalance_doctor.plain import value_of

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

threshold = click.option(
    "--threshold",
    "thresholds",
    metavar="RULE.NAME=VALUE",
    multiple=True,
    help="Change a threshold, e.g. IMB003.poor=3; may be repeated. `explain RULE` lists them.",
)


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
        help=f"Write here; - is stdout. {where} An existing file keeps its permissions; a link is replaced.",
    )


def codes(text: str | None) -> list[str] | None:
    """The codes of ``--select`` or ``--ignore``; None where it was not given."""
    return None if text is None else text.replace(",", " ").split()


def thresholds(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The thresholds of ``--threshold``, by rule and name.

    Raises:
        click.UsageError: One is not ``RULE.NAME=VALUE``.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, _, value = text.partition("=")
        rule, _, threshold = name.rpartition(".")
        if not (rule and threshold and value):
            raise click.UsageError(f"--threshold: expected RULE.NAME=VALUE, as IMB003.poor=3, got {text!r}")
        found.setdefault(rule, {})[threshold] = value_of(value)
    return found
