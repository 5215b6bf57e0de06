"""Writes the pages that follow from the code: `python docs/generate.py` (or `make docs`).

A test fails while a page is not what the code says, so none of them is edited by hand.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from imbalance_doctor.rules import rule_types

DOCS = Path(__file__).parent

_HEAD = """\
# The rules

Every rule of `imbalance_doctor/rules`, with its symptom, cause, remedy and the evidence behind its
thresholds. Generated from the rules' docstrings by `make docs`; edit those. Each table is what an experiment
of `tests/clinic/evidence` printed: `python -m tests.clinic.evidence CODE` makes it again.
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


PAGES = {"rules.md": rules_page}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
