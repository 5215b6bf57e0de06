"""Writes the pages that follow from the code: `python docs/generate.py` (or `make docs`).

A test fails while a page is not what the code says, so none of them is edited by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

from imbalance_doctor import metrics, statistics
from imbalance_doctor.rules import rule_types
from losses.catalogue import CATALOGUE, HISTOGRAM_BINS, QUANTILE_LEVELS, Stat

DOCS = Path(__file__).parent

_HEAD = """\
# The rules

Every rule of `imbalance_doctor/rules`, with its symptom, cause, remedy and the evidence behind its
thresholds. Generated from the rules' docstrings by `make docs`; edit those.
`imbalance-doctor explain CODE` prints one of these pages.

| code | name | severity | says |
|---|---|---|---|
"""


def rules_page() -> str:
    """The catalogue of rules."""
    rows, pages = [], []
    for rule in rule_types():
        page = inspect.getdoc(rule) or ""
        summary = page.split("\n\n")[0].replace("\n", " ")
        rows.append(
            f"| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {rule.severity} | {summary} |"
        )
        kinds = ", ".join(sorted(rule.kinds))
        body = page.replace("\n## ", "\n### ")
        pages.append(f"## {rule.code} {rule.name}\n\nSeverity: {rule.severity}. Losses: {kinds}.\n\n{body}\n")
    return _HEAD + "\n".join(rows) + "\n\n" + "\n".join(pages)


_STATISTICS = f"""\
# The statistics

What the records of a run hold. Generated from `losses/catalogue.py`, `imbalance_doctor/statistics.py` and
`imbalance_doctor/metrics.py` by `make docs`; edit those.

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

A warmup wrapper reports of itself: {{of_wrapper}}. All others are of the loss that is active in it.

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


PAGES = {"rules.md": rules_page, "statistics.md": statistics_page}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
