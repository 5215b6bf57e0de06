"""``imbalance-doctor report``: diagnose a run from its log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from imbalance_doctor.cli import options
from imbalance_doctor.cli.endings import exit_code
from imbalance_doctor.cli.output import deliver
from imbalance_doctor.examine.diagnose import diagnose
from imbalance_doctor.examine.loading import load_run
from imbalance_doctor.examine.project import find_project
from imbalance_doctor.render.formats import FORMATS


@click.command("report", context_settings=options.CONTEXT, short_help="Diagnose a run from its log.")
@options.run
@options.form(FORMATS)
@options.output("HTML goes to RUN/report.html by default, the others to stdout.")
@options.fail_on
@options.select
@options.ignore
@options.threshold
def command(
    run: Path,
    form: str,
    output: Path | None,
    fail_on: str,
    select: str | None,
    ignore: str | None,
    thresholds: Sequence[str],
) -> int:
    """Diagnose a run from its log: what is wrong, on which class, since when, why, and what to change.

    RUN is a run directory or one of its log files. A run that is still being written, or that was
    killed, can be read too.

    \b
    imbalance-doctor report runs/fraud-01
    imbalance-doctor report runs/fraud-01 --format html
    imbalance-doctor report runs/fraud-01 --format json --fail-on warning > diagnosis.json
    imbalance-doctor report runs/fraud-01 --format github     annotations in a GitHub workflow

    Rules are chosen by the options here, then by what the run itself chose, then by
    [tool.imbalance-doctor] of the nearest pyproject.toml.
    """  # noqa: D301
    said = options.thresholds(thresholds)
    loaded, project = load_run(run), find_project()
    found = diagnose(
        loaded,
        select=options.codes(select),
        ignore=options.codes(ignore),
        thresholds=said,
        project=project.choice,
    )
    diagnosis = project.noted(found)
    deliver(diagnosis, form, output, run=loaded, folder=run if run.is_dir() else run.parent)
    return exit_code(diagnosis, fail_on)
