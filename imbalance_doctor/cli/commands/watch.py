"""``imbalance-doctor watch``: follow a run while it trains."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imbalance_doctor.cli import options
from imbalance_doctor.cli.endings import EXIT_OK
from imbalance_doctor.cli.output import say
from imbalance_doctor.examine.project import Project, find_project
from imbalance_doctor.texts import clean

if TYPE_CHECKING:
    from imbalance_doctor.examine.follow import Look


@click.command("watch", context_settings=options.CONTEXT, short_help="Follow a run while it trains.")
@options.run
@click.option("--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds.")
def command(run: Path, interval: float) -> int:
    """Follow a run while it trains: the diagnosis as it stands, until the run ends or you press Ctrl-C.

    RUN is a run directory, which may still be empty. On a terminal, the diagnosis is refreshed each time the
    log grows. In a pipe, each finding is one line when it opens and one when it is resolved.

    \b
    imbalance-doctor watch runs/fraud-01
    """  # noqa: D301
    with contextlib.suppress(KeyboardInterrupt):  # how one stops watching
        from imbalance_doctor.examine.follow import follow

        project = find_project()
        looks = follow(run, project.choice, interval=interval)
        tell = show_live if sys.stdout is not None and sys.stdout.isatty() else show_lines
        tell(looks, run, project)
    return EXIT_OK


def show_live(looks: Iterable[Look], run: Path, project: Project) -> None:
    """The diagnosis, shown anew each time the log has grown."""
    from rich.live import Live
    from rich.text import Text

    waiting = Text(f"waiting for a log in {clean(str(run))} ...")
    with Live(waiting, auto_refresh=False, vertical_overflow="visible") as live:
        for look in looks:
            if look.diagnosis is not None:
                live.update(project.noted(look.diagnosis), refresh=True)


def show_lines(looks: Iterable[Look], run: Path, project: Project) -> None:
    """Each finding as a line when it opens and when it is resolved."""
    for note in project.notes:
        say(f"Note: {note}")
    known: set[tuple[Any, ...]] = set()
    for look in looks:
        for finding in look.diagnosis.findings if look.diagnosis is not None else ():
            key = (finding.code, finding.loss, finding.class_index, finding.step, finding.status)
            if key not in known:
                known.add(key)
                word = finding.severity.upper() if finding.status == "open" else "resolved"
                click.echo(f"{word} {finding.headline()}")
