"""Thresholds of the rules of this package: what they are, and rules with others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any, TypeAlias

from imbalance_doctor import plain
from imbalance_doctor.rules import all_rules, rule_types
from imbalance_doctor.rules.base import Rule, Threshold

#: Thresholds to change, by name, by the code or the name of their rule.
Thresholds: TypeAlias = "Mapping[str, Mapping[str, Any]]"

#: What a threshold may be, by the type of its field, and how that is called.
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "float": ((Real,), "a number"),
    "int": ((Integral,), "a whole number"),
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
}


def with_thresholds(rule: type[Rule], values: Mapping[str, Any]) -> Rule:
    """A rule with some of its thresholds changed.

    Raises:
        ValueError: The rule has no such threshold, or it may not be that.
    """
    known = {each.name: each for each in rule.thresholds()}
    for name, value in values.items():
        if name not in known:
            names = f"a threshold of {rule.code} to be one of {', '.join(known)}"
            expected = names if known else f"no threshold for {rule.code}, which has none"
            raise ValueError(f"expected {expected}, got {plain.shown(name)}")
        if not _may_be(known[name], value):
            raise ValueError(
                f"{rule.code} {rule.name}: expected {name} to be {_KINDS[known[name].type][1]}, "
                f"got {plain.shown(value)}"
            )
    return rule(**values)


def _may_be(threshold: Threshold, value: object) -> bool:
    types, _ = _KINDS[threshold.type]
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) and not _endless(value)


def _endless(value: object) -> bool:
    """Whether a value is a number that no measured one can be compared with: nan, infinity, 400 digits."""
    try:
        return isinstance(value, Real) and not math.isfinite(value)
    except OverflowError:
        return True


def thresholds_of(rule: Rule) -> dict[str, Any]:
    """The thresholds of a rule by name."""
    return {each.name: getattr(rule, each.name) for each in rule.thresholds()}


def changed_thresholds(rules: Iterable[Rule]) -> dict[str, dict[str, Any]]:
    """The thresholds that differ from their defaults, by rule code; for the header of the log.

    Those of the rules that they build on too, which need not be applied themselves.
    """
    changed = {}
    asked = [each for rule in rules for each in (rule, *_built_on(rule).values())]
    for rule in asked:
        if type(rule) not in rule_types():
            continue  # a rule of the user's own: a report from the log does not have its code
        values = thresholds_of(rule)
        different = {t.name: values[t.name] for t in rule.thresholds() if values[t.name] != t.default}
        if different:
            changed[rule.code] = different
    return changed


def known_thresholds(thresholds: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those of a log's thresholds that a rule here has; another version may have had others."""
    types = {rule.code: type(rule) for rule in all_rules()}
    return {
        code: {name: value for name, value in values.items() if _takes(types[code], name, value)}
        for code, values in thresholds.items()
        if code in types
    }


def _takes(rule: type[Rule], name: str, value: Any) -> bool:
    try:
        with_thresholds(rule, {name: value})
    except ValueError:
        return False
    return True


def _built_on(rule: Rule) -> dict[str, Rule]:
    """The rules that one of ours asks for their opinion, by the name of its field."""
    if type(rule) not in rule_types():
        return {}
    held = {f.name: getattr(rule, f.name) for f in fields(rule)}
    return {name: each for name, each in held.items() if isinstance(each, Rule)}


def on_these(rule: Rule, chosen: Mapping[str, Rule]) -> Rule:
    """A rule that builds on others, with those that apply here: their thresholds hold for it too."""
    others = {
        name: chosen[each.code]
        for name, each in _built_on(rule).items()
        if type(chosen[each.code]) is type(each)  # one of the user's own by that code may say other things
    }
    return replace(rule, **others) if others else rule
