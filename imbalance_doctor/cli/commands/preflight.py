"""``imbalance-doctor preflight``: judge a configuration before the run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import click

from imbalance_doctor.cli import options
from imbalance_doctor.cli.endings import exit_code
from imbalance_doctor.cli.output import deliver
from imbalance_doctor.examine.project import find_project
from imbalance_doctor.examine.selection import Choice, said_thresholds
from imbalance_doctor.render.formats import FORMATS


class WithSettings(click.Command):
    """A command with an option for each setting of the losses.

    Losses are read when somebody asks for these options: they bring torch along.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of the command, the losses and their settings."""
        own = super().get_params(ctx)
        return [_loss(), *own[:-1], *_settings(), own[-1]]  # --help stays the last one


@cache
def _loss() -> click.Option:
    from imbalance_doctor.preflight.options import loss_types

    return click.Option(["--loss"], type=click.Choice(list(loss_types())), required=True, help="The loss.")


@cache
def _settings() -> list[click.Option]:
    from imbalance_doctor.preflight.options import settings

    return [
        click.Option([f"--{each.name.replace('_', '-')}", each.name], metavar="VALUE", help=each.help)
        for each in settings()
    ]


@click.command(
    "preflight",
    cls=WithSettings,
    context_settings=options.CONTEXT,
    short_help="Judge a configuration before the run.",
)
@click.option(
    "--positive-rate",
    metavar="RATE",
    required=True,
    help="Share of positives in the data, e.g. 0.005; with several classes one each, e.g. 0.9,0.08,0.02.",
)
@click.option("--batch-size", type=int, required=True, help="Rows in a batch, in each process.")
@click.option("--total-steps", type=int, help="Length of the run in steps.")
@click.option("--epochs", type=int, help="Length of the run in epochs, where a schedule is in epochs.")
@click.option("--world-size", type=int, default=1, show_default=True, help="Processes that train together.")
@click.option("--target-metric", metavar="NAME", help="What the run is for, e.g. average_precision.")
@options.form(name for name, form in FORMATS.items() if not form.draws_run)
@options.output("Standard output is the default.")
@options.fail_on
@options.select
@options.ignore
@options.threshold
def command(
    loss: str,
    positive_rate: str,
    batch_size: int,
    total_steps: int | None,
    epochs: int | None,
    world_size: int,
    target_metric: str | None,
    form: str,
    output: Path | None,
    fail_on: str,
    select: str | None,
    ignore: str | None,
    thresholds: Sequence[str],
    **given: str | None,
) -> int:
    """Judge a configuration before the run: what will go wrong, and values that pass.

    \b
    imbalance-doctor preflight --loss smooth_ap --positive-rate 0.002 --batch-size 64
    imbalance-doctor preflight --loss pauc_at_budget --positive-rate 0.002 --batch-size 64 \\
        --beta 0.01 --queue-size 8192 --warmup-steps 500 --total-steps 20000

    Settings of a loss are its constructor's parameters. With a setting of the warmup wrapper, such as
    --warmup-steps, the loss becomes the main loss after a warmup on BCE (or cross-entropy).
    """  # noqa: D301
    from imbalance_doctor.preflight import preflight
    from imbalance_doctor.preflight.options import build

    rates = _rates(positive_rate)
    settings = {name: text for name, text in given.items() if text is not None}
    project = find_project()
    said = said_thresholds(options.thresholds(thresholds))
    choice = Choice(options.codes(select), options.codes(ignore), said).over(project.choice)
    diagnosis = preflight(
        build(loss, settings, classes=len(rates)),
        batch_size=batch_size,
        positive_rate=rates[0] if len(rates) == 1 else rates,
        total_steps=total_steps,
        epochs=epochs,
        world_size=world_size,
        target_metric=target_metric,
        select=choice.select,
        ignore=choice.ignore,
        thresholds=choice.thresholds,
    )
    diagnosis = project.noted(diagnosis)
    deliver(diagnosis, form, output)
    return exit_code(diagnosis, fail_on)


def _rates(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(
            f"--positive-rate: expected a number, or numbers separated by commas, got {text!r}"
        ) from None
