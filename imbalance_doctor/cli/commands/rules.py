"""``imbalance-doctor rules``: the list of rules."""

from __future__ import annotations

import json

import click

from imbalance_doctor.cli import options
from imbalance_doctor.cli.endings import EXIT_OK
from imbalance_doctor.cli.output import show
from imbalance_doctor.examine.project import find_project
from imbalance_doctor.examine.selection import Choice
from imbalance_doctor.examine.tuning import thresholds_of
from imbalance_doctor.rules import rule_page
from imbalance_doctor.rules.base import Rule
from imbalance_doctor.texts import clean


@click.command("rules", context_settings=options.CONTEXT, short_help="List the rules.")
@options.form(["text", "json"])
@options.select
@options.ignore
def command(form: str, select: str | None, ignore: str | None) -> int:
    """List the rules: code, name, severity, the symptom each looks for, and its thresholds.

    [tool.imbalance-doctor] in the nearest pyproject.toml chooses rules and changes thresholds:

    \b
    [tool.imbalance-doctor]
    ignore = ["IMB302"]
    [tool.imbalance-doctor.rules.IMB003]
    poor = 3
    """  # noqa: D301
    project = find_project()
    chosen = Choice(options.codes(select), options.codes(ignore)).over(project.choice).rules()
    catalogue = [
        {
            "code": rule.code,
            "name": rule.name,
            "severity": rule.severity,
            "losses": sorted(rule.kinds),
            "summary": _summary(type(rule)),
            "thresholds": thresholds_of(rule),
            "defaults": {each.name: each.default for each in rule.thresholds()},
            "reasons": {each.name: each.why for each in rule.thresholds()},
        }
        for rule in chosen
    ]
    if form == "json":
        from imbalance_doctor.render.exchange.json import plain

        click.echo(json.dumps(plain(catalogue), indent=2, allow_nan=False))
        return EXIT_OK
    from rich.padding import Padding
    from rich.text import Text

    for rule, entry in zip(chosen, catalogue, strict=True):
        show(Text.assemble((f"{rule.code} {rule.name}", "bold"), f" ({rule.severity})"))
        show(Padding(Text(str(entry["summary"])), (0, 0, 0, 4)))
        if thresholds := ", ".join(f"{name} = {value}" for name, value in thresholds_of(rule).items()):
            show(Padding(Text(clean(thresholds), style="dim"), (0, 0, 0, 4)))
    for note in project.notes:
        show(Text(clean(f"Note: {note}"), style="dim"))
    return EXIT_OK


def _summary(rule: type[Rule]) -> str:
    return rule_page(rule).split("\n\n")[0].replace("\n", " ")
