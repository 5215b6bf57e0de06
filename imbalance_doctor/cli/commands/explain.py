"""``imbalance-doctor explain``: a rule's page."""

from __future__ import annotations

import click

from imbalance_doctor.cli import options
from imbalance_doctor.cli.endings import EXIT_OK
from imbalance_doctor.rules import find_rule, rule_page


@click.command("explain", context_settings=options.CONTEXT, short_help="Explain a rule.")
@click.argument("rule")
def command(rule: str) -> int:
    """Explain a rule, by code (IMB401) or name (empty-band).

    Symptom, cause, remedy, evidence, limits, and its thresholds with the reason for each.
    """
    found = find_rule(rule)
    click.echo(f"{found.code} {found.name} ({found.severity})\n")
    click.echo(rule_page(found))
    return EXIT_OK
