"""``imbalance-doctor tensorboard``: write a run's panels for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import click

from imbalance_doctor.cli import options
from imbalance_doctor.cli.endings import EXIT_OK
from imbalance_doctor.cli.output import say
from imbalance_doctor.examine.diagnose import diagnose
from imbalance_doctor.examine.loading import load_run
from imbalance_doctor.examine.project import find_project


@click.command(
    "tensorboard", context_settings=options.CONTEXT, short_help="Write a run's panels for TensorBoard."
)
@options.run
@click.option(
    "--logdir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where the event files go; created if missing.",
)
def command(run: Path, logdir: Path) -> int:
    """Write a run's log as TensorBoard panels, for a run that was trained without them.

    \b
    imbalance-doctor tensorboard runs/fraud-01 --logdir tb/fraud-01
    tensorboard --logdir tb
    """  # noqa: D301
    from imbalance_doctor.render.tensorboard.board import write_run

    loaded = load_run(run)
    project = find_project()
    write_run(loaded, diagnose(loaded, project=project.choice), logdir)
    for note in project.notes:
        say(f"Note: {note}")
    say(f"wrote {logdir}; view it with: tensorboard --logdir {logdir}")
    return EXIT_OK
