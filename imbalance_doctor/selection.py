"""Which rules apply, and with which thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeAlias

from imbalance_doctor import plain
from imbalance_doctor.admission import code_of, name_of
from imbalance_doctor.rules import all_rules, rule_types
from imbalance_doctor.rules.base import Rule

#: Codes, names or code prefixes; one alone may be given as it is.
Selector: TypeAlias = "str | Iterable[str] | None"


#: What a threshold may be, by the type of its field, and how that is called.
_THRESHOLDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "float": ((Real,), "a number"),
    "int": ((Integral,), "a whole number"),
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
}


@dataclass(frozen=True)
class Choice:
    """What somebody said of the rules: on the command line, in the run, in the project."""

    select: Sequence[str] | None = None
    ignore: Sequence[str] | None = None
    #: Fields to change, by rule code.
    thresholds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @staticmethod
    def of_log(rules: Mapping[str, Any]) -> Choice:
        """The choice of a live run, as the header of its log has it."""
        return Choice(
            known_selectors(rules.get("select")),
            known_selectors(rules.get("ignore")),
            known_thresholds(rules.get("thresholds") or {}),
        )

    def over(self, weaker: Choice) -> Choice:
        """What this says, and the weaker one where this says nothing; thresholds one by one."""
        codes = {*self.thresholds, *weaker.thresholds}
        return Choice(
            weaker.select if self.select is None else self.select,
            weaker.ignore if self.ignore is None else self.ignore,
            {c: {**weaker.thresholds.get(c, {}), **self.thresholds.get(c, {})} for c in sorted(codes)},
        )

    def tuned(self) -> list[Rule]:
        """The rules whose thresholds this choice changes."""
        return [rule for rule in choose_rules(thresholds=self.thresholds) if rule.code in self.thresholds]

    def rules(self, own: Sequence[Rule] | None = None) -> tuple[Rule, ...]:
        """The rules to apply; `own` replace those of the same code, thresholds and all."""
        return choose_rules(own, select=self.select, ignore=self.ignore, thresholds=self.thresholds)


def choose_rules(
    rules: Sequence[Rule] | None = None,
    *,
    select: Selector = None,
    ignore: Selector = None,
    thresholds: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Rule, ...]:
    """The rules to apply.

    Args:
        rules: Rules with thresholds of the user's; they replace those of the same code.
        select: Codes, names or code prefixes to keep; all by default.
        ignore: Codes, names or code prefixes to leave out.
        thresholds: Fields to change, by rule code, as `changed_thresholds` gives them.

    Raises:
        TypeError: `rules` holds something that is no rule, such as the class of one.
        ValueError: A selector names no rule, a threshold does not exist or may not be that, or two of `rules`
            have the same code. What else is wrong with a rule costs that rule, once it is applied.
    """
    chosen = {rule.code: rule for rule in all_rules()}
    for code, values in (thresholds or {}).items():
        if code in chosen:  # a rule of the user's own is not known to a report from the log
            chosen[code] = with_thresholds(type(chosen[code]), values)
    chosen.update(_own(rules or ()))
    kept = set(chosen) if select is None else _matching(chosen.values(), as_list(select))
    kept -= set() if ignore is None else _matching(chosen.values(), as_list(ignore))
    return tuple(rule for code, rule in sorted(chosen.items()) if code in kept)


def _own(rules: Iterable[Rule]) -> dict[str, Rule]:
    """The rules of a user by code."""
    if isinstance(rules, (Rule, str)) or not isinstance(rules, Iterable):
        raise TypeError(f"expected rules to be a list of rules; got {plain.shown(rules)}")
    own: dict[str, Rule] = {}
    for rule in rules:
        if isinstance(rule, type) and issubclass(rule, Rule):
            raise TypeError(f"expected rules to be instances; got the class: give {rule.__name__}()")
        if not isinstance(rule, Rule):
            raise TypeError(
                f"expected rules to be rules; got {plain.shown(rule)}. `select` and `ignore` take codes"
            )
        code = code_of(rule)
        if code in own:
            raise ValueError(f"expected rules to have codes of their own; two of them are {code}")
        if type(rule) in rule_types():  # a report from the log makes it again, from these
            with_thresholds(type(rule), thresholds_of(rule))
        own[code] = rule
    return own


def with_thresholds(rule: type[Rule], values: Mapping[str, Any]) -> Rule:
    """A rule with some of its thresholds changed.

    Raises:
        ValueError: The rule has no such threshold, or it may not be that.
    """
    known = {f.name: str(f.type) for f in fields(rule)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(
                f"{rule.code} {rule.name} has no threshold {name!r}; it has {', '.join(known) or 'none'}"
            )
        if not _is_threshold(value, known[name]):
            raise ValueError(
                f"{rule.code} {rule.name}: expected {name} to be {_THRESHOLDS[known[name]][1]}; "
                f"got {plain.shown(value)}"
            )
    return rule(**values)


def _is_threshold(value: object, kind: str) -> bool:
    types, _ = _THRESHOLDS.get(kind, ((object,), ""))
    if isinstance(value, bool):
        return bool in types or object in types
    return isinstance(value, types) and not _endless(value)


def _endless(value: object) -> bool:
    """Whether a value is a number that no measured one can be compared with: nan, infinity, 400 digits."""
    try:
        return isinstance(value, Real) and not math.isfinite(value)
    except OverflowError:
        return True


def thresholds_of(rule: Rule) -> dict[str, Any]:
    """The thresholds of a rule by name."""
    return {f.name: getattr(rule, f.name) for f in fields(rule)}


def changed_thresholds(rules: Iterable[Rule]) -> dict[str, dict[str, Any]]:
    """The thresholds that differ from their defaults, by rule code; for the header of the log."""
    changed = {}
    for rule in rules:
        if type(rule) not in rule_types():
            continue  # a rule of the user's own: a report from the log does not have its code
        default = type(rule)()
        values = thresholds_of(rule)
        different = {k: v for k, v in values.items() if v != getattr(default, k)}
        if different:
            changed[rule.code] = different
    return changed


def as_list(selector: str | Iterable[str]) -> list[str]:
    """Selectors as a list.

    Raises:
        ValueError: They are no texts.
    """
    if isinstance(selector, str):
        return [selector]
    given = list(selector) if isinstance(selector, Iterable) else [selector]
    for each in given:
        if not isinstance(each, str):
            raise ValueError(f"expected a code, a name or a prefix of rules; got {plain.shown(each)}")
    return given


def known_selectors(selectors: Sequence[str] | None) -> list[str] | None:
    """Those of a log's selectors that name a rule here; a live run may have had rules of the user's own."""
    if selectors is None:
        return None
    rules = all_rules()
    return [selector for selector in as_list(selectors) if _hits(rules, selector)]


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


def _hits(rules: Iterable[Rule], selector: str) -> set[str]:
    wanted = selector.strip().lower()
    named = ((code_of(rule), name_of(rule)) for rule in rules)
    return {code for code, name in named if wanted and (name == wanted or code.lower().startswith(wanted))}


def _matching(rules: Iterable[Rule], selectors: Iterable[str]) -> set[str]:
    rules = list(rules)
    found: set[str] = set()
    for selector in selectors:
        hits = _hits(rules, selector)
        if not hits:
            raise ValueError(
                f"{selector!r} selects no rule; give a code (IMB401), a name (empty-band) or a "
                "code prefix (IMB4); `imbalance-doctor rules` lists them"
            )
        found |= hits
    return found
