"""Writes every generated page, and nothing else does: `python docs/generate.py` (or `make docs`).

Pages of the first kind follow from the code, in seconds; a test fails while one of them is not what the
code says. Pages of the second kind tell what was measured: they are named to be written (`make docs
PAGES=clinic`), and the whole of their measurement is made again. None of them is edited by hand.
"""

from __future__ import annotations

import argparse
import inspect
import subprocess
import sys
from pathlib import Path

from imbalance_doctor.rules import rule_types

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


#: What follows from the code, by page.
PAGES = {"rules.md": rules_page}


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
        parser.error(f"expected a page to be one of {', '.join(named)}, all; got {unknown[0]!r}")
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    for short, name in named.items():
        if {short, "all"} & {*given}:
            command = [sys.executable, "-m", MEASURED[name][0], "--out", str(DOCS / name)]
            subprocess.run(command, cwd=DOCS.parent, check=True)


if __name__ == "__main__":
    main()
