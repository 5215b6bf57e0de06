"""Where a command's words go: standard output, stderr, a file."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.guard import attempt
from imbalance_doctor.log.run import Run
from imbalance_doctor.render.files import is_stream, pour, write_whole
from imbalance_doctor.render.formats import FORMATS
from imbalance_doctor.texts import clean


def deliver(
    diagnosis: Diagnosis,
    form: str,
    output: Path | None,
    *,
    run: Run | None = None,
    folder: Path | None = None,
) -> None:
    """Give a diagnosis in one of the formats.

    Args:
        diagnosis: What is given.
        form: One of `FORMATS`.
        output: The file; ``-`` is standard output, None what the format does by itself.
        run: The run that was diagnosed, for formats that draw it.
        folder: Where formats that are files go by themselves.
    """
    chosen = FORMATS[form]
    if form == "text" and output is None:  # a terminal has colours and a width of its own
        show(diagnosis)
        return
    text = chosen.render(diagnosis, run)
    if str(output) == "-":
        click.echo(text, nl=False)
    elif output is not None:
        write = pour if is_stream(output) else write_whole
        write(output, text)
        say(f"wrote {output}")
    elif folder is not None and chosen.file is not None:
        write_whole(folder / chosen.file, text)  # nobody asked for the pipe that may be there
        say(f"wrote {folder / chosen.file}")
    else:
        click.echo(text, nl=False)


def show(renderable: Any) -> None:
    """Print what rich can print."""
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process with 1; `endings` knows better

    PipedConsole().print(renderable)


def say(message: str) -> None:
    """One line on stderr. Where nobody can hear it, the exit code has to do."""
    attempt(click.echo, clean(message), err=True)


def print_what_the_terminal_can() -> None:
    """Texts hold τ and θ: where an encoding lacks them, a mark in their place beats a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            attempt(stream.reconfigure, errors="replace")  # one that is closed says so when it is written to
