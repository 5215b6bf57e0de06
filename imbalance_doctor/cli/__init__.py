"""The command line: `imbalance-doctor`, `python -m imbalance_doctor`, or `main(argv)`.

A command is a module of `commands` that calls its `click.Command` ``command``; nothing else lists it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import click

from imbalance_doctor.cli import commands
from imbalance_doctor.cli.endings import EXIT_FINDINGS, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ended
from imbalance_doctor.cli.options import CONTEXT
from imbalance_doctor.cli.output import print_what_the_terminal_can

__all__ = ["EXIT_FINDINGS", "EXIT_INTERRUPTED", "EXIT_OK", "EXIT_USAGE", "cli", "entry_point", "main"]


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="imbalance-doctor")
def cli() -> None:
    """Tells you why a PyTorch model on rare positives does not learn.

    \b
    New here?                     imbalance-doctor demo
    A run that you logged         imbalance-doctor report runs/fraud-01
    The same, as a page           imbalance-doctor report runs/fraud-01 --format html
    A run that is training        imbalance-doctor watch runs/fraud-01
    Before you train              imbalance-doctor preflight --help
    What a finding means          imbalance-doctor explain empty-band
    """  # noqa: D301 - \\b tells click to keep the lines


for _module in pkgutil.iter_modules(commands.__path__):
    cli.add_command(importlib.import_module(f"{commands.__name__}.{_module.name}").command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code instead of ending the process."""
    print_what_the_terminal_can()
    args = None if argv is None else list(argv)
    return ended(lambda: cli.main(args=args, prog_name="imbalance-doctor", standalone_mode=False))


def entry_point() -> None:
    """What the console script calls."""
    sys.exit(main())
