"""The catalogue of rules. Every module below this folder that defines a `Rule` is in it.

A rule is in the folder of its family, and can be imported without naming it:
``imbalance_doctor.rules.few_positives_in_pool``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import sys
import textwrap
from functools import cache
from pathlib import Path

from imbalance_doctor.rules.base import Rule, Threshold
from imbalance_doctor.second_names import SecondNames

#: Columns of a page: those of the docstrings.
WIDTH = 106


@cache
def rule_types() -> tuple[type[Rule], ...]:
    """Every rule of this package, ordered by code.

    Raises:
        ImportError: Two rules claim one code or one name.
    """
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    found = sorted(
        (rule for rule in Rule.__subclasses__() if rule.__module__.startswith(f"{__name__}.")),
        key=lambda rule: rule.code,
    )
    for attribute in ("code", "name"):
        seen: dict[str, type[Rule]] = {}
        for rule in found:
            key = getattr(rule, attribute)
            if key in seen:
                raise ImportError(
                    f"expected each rule to have a {attribute} of its own, got {key!r} in "
                    f"{seen[key].__module__} and {rule.__module__}"
                )
            seen[key] = rule
    return tuple(found)


def all_rules() -> tuple[Rule, ...]:
    """Every rule with its default thresholds, ordered by code."""
    return tuple(rule() for rule in rule_types())


def find_rule(code_or_name: str) -> type[Rule]:
    """The rule with this code or name, in any case.

    Raises:
        ValueError: There is none; the message lists what is close.
    """
    wanted = code_or_name.strip().lower()
    for rule in rule_types():
        if wanted in (rule.code.lower(), rule.name):
            return rule
    names = [name for rule in rule_types() for name in (rule.code, rule.name)]
    close = difflib.get_close_matches(code_or_name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "`imbalance-doctor rules` lists them"
    raise ValueError(f"expected the code or the name of a rule, got {code_or_name!r}; {hint}")


def rule_page(rule: type[Rule]) -> str:
    """A rule's page, as text, with its thresholds at the end.

    From its class attributes where docstrings were dropped (python -OO).
    """
    page = inspect.getdoc(rule) or ""
    if "## Symptom" not in page:
        parts = {"Symptom": rule.symptom, "Cause": rule.cause, "Remedy": rule.remedy}
        page = "\n\n".join([rule.name, *(f"## {title}\n{text}" for title, text in parts.items())])
    thresholds = rule.thresholds()
    return "\n".join([page, "", "## Thresholds", *map(_in_lines, thresholds)]) if thresholds else page


def _in_lines(threshold: Threshold) -> str:
    text = f"- `{threshold.name}` = {threshold.default:g}: {threshold.why}"
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _with_family(name: str) -> str | None:
    """``imbalance_doctor.rules.pool.few_positives_in_pool``, of the same without its family."""
    package, _, rule = name.rpartition(".")
    if package != __name__:
        return None
    found = next(Path(__path__[0]).glob(f"*/{rule}.py"), None)
    return None if found is None else f"{__name__}.{found.parent.name}.{rule}"


sys.meta_path.append(SecondNames(_with_family))  # asked last: of what is not found otherwise
