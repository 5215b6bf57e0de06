"""``imbalance-doctor demo``: two planted faults, diagnosed, treated and cured."""

from __future__ import annotations

from pathlib import Path

import click

from imbalance_doctor.cli import options


@click.command(
    "demo",
    context_settings=options.CONTEXT,
    short_help="See two planted faults diagnosed, treated and cured.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-runs"),
    show_default=True,
    help="Where the runs, reports and TensorBoard files go.",
)
@click.option("--quick", is_flag=True, help="Shorter runs: the findings are the same, the metrics noisier.")
def command(out: Path, quick: bool) -> int:
    """Train on rare digits with two planted faults; watch them diagnosed live, treated, and cured.

    Needs scikit-learn for its data: pip install "imbalance-doctor[demo]".
    """
    from imbalance_doctor.demo.show import run_demo

    return run_demo(out, quick=quick)
