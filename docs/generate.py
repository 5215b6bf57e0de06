"""Writes every generated page, and nothing else does: `python docs/generate.py` (or `make docs`).

Pages of the first kind follow from the code, in seconds; a test fails while one of them is not what the
code says. Pages of the second kind tell what was measured: they are named to be written (`make docs
PAGES=clinic`), and the whole of their measurement is made again. None of them is edited by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from imbalance_doctor import statistics
from imbalance_doctor.rules import rule_page, rule_types
from imbalance_doctor.scores import metrics
from losses.catalogue import CATALOGUE, HISTOGRAM_BINS, QUANTILE_LEVELS, Stat

DOCS = Path(__file__).parent

_HEAD = """\
# The rules

Every rule of `imbalance_doctor/rules`, with its symptom, cause, remedy, evidence, and its thresholds with the
reason for each. Generated from the rules by `make docs`; edit those. Each table is what an experiment of
`tests/clinic/evidence` printed: `python -m tests.clinic.evidence CODE` makes it again.
`imbalance-doctor explain CODE` prints one of these pages.

| code | name | severity | says |
|---|---|---|---|
"""


#: What is said of a rule that is newer than the clinic's page.
NOT_MEASURED = " Not yet measured: the clinic has planted no fault of this kind."


def measured(code: str) -> bool:
    """Whether the clinic's page tells how often a rule is right."""
    return f"| {code} |" in (DOCS / "clinic.md").read_text(encoding="utf-8")


def rules_page() -> str:
    """The catalogue of rules."""
    rows, pages = [], []
    for rule in rule_types():
        page = rule_page(rule)
        summary = page.split("\n\n")[0].replace("\n", " ")
        rows.append(
            f"| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {rule.severity} | {summary} |"
        )
        kinds = ", ".join(sorted(rule.kinds))
        body = page.replace("\n## ", "\n### ")
        facts = f"Severity: {rule.severity}. Losses: {kinds}.{'' if measured(rule.code) else NOT_MEASURED}"
        pages.append(f"## {rule.code} {rule.name}\n\n{facts}\n\n{body}\n")
    return _HEAD + "\n".join(rows) + "\n\n" + "\n".join(pages)


_STATISTICS = f"""\
# The statistics

What the records of a run hold. Generated from `losses/catalogue.py`, `imbalance_doctor/statistics.py` and
`imbalance_doctor/scores/metrics.py` by `make docs`; edit those.

*level* is what a hook has to ask for to be told: each includes those before it ([losses.md](losses.md)).
*panel* is the group of TensorBoard that shows it, and the family of its panel on the page.
HISTOGRAM_BINS is {HISTOGRAM_BINS}, QUANTILE_LEVELS are {", ".join(map(str, QUANTILE_LEVELS))}.

## Of the losses

With `return_diagnostics=True`, through a hook (gradient norms through its `gradients`), and in the records of
a monitored run.

{{losses}}

## Of the monitor

In the records of a monitored run.

{{monitor}}

## On several ranks, and in a wrapper

Each rank records its own, although the losses gather: {{rank_local}}. All others have the same value on every
rank, and rank 0 records them.

A warmup wrapper reports its own {{of_wrapper}}. All other statistics are those of its active loss.

## Of evaluations

What `doctor.log_eval` records, for each class.

{{evaluations}}
"""


def statistics_page() -> str:
    """The catalogues of statistics."""
    known = statistics.STATISTICS.values()
    return _STATISTICS.format(
        losses=_table(CATALOGUE),
        monitor=_table(statistics.CATALOGUE),
        rank_local=", ".join(f"`{stat.name}`" for stat in known if stat.rank_local),
        of_wrapper=", ".join(f"`{stat.name}`" for stat in known if stat.of_wrapper),
        evaluations="\n".join(
            ("| name | unit | meaning |", "|---|---|---|", *map(_metric, metrics.CATALOGUE.values()))
        ),
    )


def _table(stats: Iterable[Stat]) -> str:
    head = ("| name | shape | unit | level | panel | meaning |", "|---|---|---|---|---|---|")
    return "\n".join((*head, *map(_stat, stats)))


def _stat(stat: Stat) -> str:
    level = stat.detail.name.lower()
    return f"| `{stat.name}` | {stat.shape} | {stat.unit} | {level} | {stat.panel} | {stat.meaning} |"


def _metric(metric: Stat) -> str:
    return f"| `{metric.name}` | {metric.unit} | {metric.meaning} |"


#: What follows from the code, by page.
PAGES = {"rules.md": rules_page, "statistics.md": statistics_page}


#: What is measured: the command of each page, and how long it takes on two cores.
MEASURED = {
    "clinic.md": ("tests.clinic", "20 minutes"),
    "promise.md": ("tests.promise", "half an hour"),
    "benchmarks.md": ("benchmarks", "the better part of an hour"),
}


def main(arguments: list[str] | None = None) -> None:
    """Write pages."""
    measured = "\n".join(f"  {Path(name).stem:12} {takes}" for name, (_, takes) in MEASURED.items())
    parser = argparse.ArgumentParser(
        description="Write the pages that follow from the code, and measured ones by name.",
        epilog=f"measured pages:\n{measured}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    named = {Path(name).stem: name for name in MEASURED}
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="a measured page, or all of them: all")
    given = parser.parse_args(arguments).pages
    if unknown := [name for name in given if name not in (*named, "all")]:
        parser.error(f"expected a page to be one of {', '.join(named)} or all, got {unknown[0]!r}")
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    for short, name in named.items():
        if {short, "all"} & {*given}:
            command = [sys.executable, "-m", MEASURED[name][0], "--out", str(DOCS / name)]
            subprocess.run(command, cwd=DOCS.parent, check=True)


if __name__ == "__main__":
    main()
