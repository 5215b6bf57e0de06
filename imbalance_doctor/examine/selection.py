"""Which rules apply, and with which thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from imbalance_doctor import plain
from imbalance_doctor.examine.admission import code_of, name_of
from imbalance_doctor.examine.tuning import (
    Thresholds,
    changed_thresholds,
    known_thresholds,
    on_these,
    thresholds_of,
    with_thresholds,
)
from imbalance_doctor.rules import all_rules, find_rule, rule_types
from imbalance_doctor.rules.base import Rule

#: Codes, names or code prefixes; one alone may be given as it is.
Selector: TypeAlias = "str | Iterable[str] | None"


@dataclass(frozen=True)
class Choice:
    """What somebody said of the rules: on the command line, in the run, in the project."""

    select: Sequence[str] | None = None
    ignore: Sequence[str] | None = None
    #: Thresholds to change, by rule code.
    thresholds: Thresholds = field(default_factory=dict)

    @staticmethod
    def of_log(rules: Mapping[str, Any]) -> Choice:
        """The choice of a live run, as the header of its log has it.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(rules, Mapping):
            raise ValueError(f"expected the rules of a run to be a mapping, got {plain.shown(rules)}")
        thresholds = rules.get("thresholds") or {}
        if not isinstance(thresholds, Mapping) or not all(
            isinstance(v, Mapping) for v in thresholds.values()
        ):
            raise ValueError(
                f"expected the thresholds of a run to be mappings by code, got {plain.shown(thresholds)}"
            )
        return Choice(
            known_selectors(rules.get("select")),
            known_selectors(rules.get("ignore")),
            known_thresholds(thresholds),
        )

    def over(self, weaker: Choice) -> Choice:
        """What this says, and the weaker one where this says nothing; thresholds one by one."""
        codes = {*self.thresholds, *weaker.thresholds}
        return Choice(
            weaker.select if self.select is None else self.select,
            weaker.ignore if self.ignore is None else self.ignore,
            {c: {**weaker.thresholds.get(c, {}), **self.thresholds.get(c, {})} for c in sorted(codes)},
        )

    def rules(self, own: Sequence[Rule] | None = None) -> tuple[Rule, ...]:
        """The rules to apply; `own` replace those of the same code, thresholds and all."""
        return choose_rules(own, select=self.select, ignore=self.ignore, thresholds=self.thresholds)


def for_log(select: Selector, ignore: Selector, rules: Sequence[Rule]) -> dict[str, Any]:
    """How rules were chosen and tuned, as the header of a log has it; `Choice.of_log` reads it.

    Args:
        select: As in `choose_rules`.
        ignore: As in `choose_rules`.
        rules: What was chosen.
    """
    return {
        "select": None if select is None else as_list(select),
        "ignore": None if ignore is None else as_list(ignore),
        "thresholds": changed_thresholds(rules),
    }


def choose_rules(
    rules: Sequence[Rule] | None = None,
    *,
    select: Selector = None,
    ignore: Selector = None,
    thresholds: Thresholds | None = None,
) -> tuple[Rule, ...]:
    """The rules to apply.

    Args:
        rules: Rules with thresholds of the user's; they replace those of the same code.
        select: Codes, names or code prefixes to keep; all by default.
        ignore: Codes, names or code prefixes to leave out.
        thresholds: Thresholds to change, by rule code, as `said_thresholds` gives them.

    Raises:
        TypeError: `rules` holds something that is no rule, such as the class of one.
        ValueError: A selector names no rule, a threshold does not exist or may not be that, or two of `rules`
            have the same code. What else is wrong with a rule costs that rule, once it is applied.
    """
    chosen = {rule.code: rule for rule in all_rules()}
    for code, values in (thresholds or {}).items():
        chosen[code] = with_thresholds(type(chosen[code]), values)
    chosen.update(_own(rules or ()))
    chosen.update({code: on_these(rule, chosen) for code, rule in chosen.items()})
    kept = set(chosen) if select is None else _matching(chosen.values(), as_list(select))
    kept -= set() if ignore is None else _matching(chosen.values(), as_list(ignore))
    return tuple(rule for code, rule in sorted(chosen.items()) if code in kept)


def _own(rules: Iterable[Rule]) -> dict[str, Rule]:
    """The rules of a user by code."""
    if isinstance(rules, (Rule, str)) or not isinstance(rules, Iterable):
        raise TypeError(f"expected rules to be a list of rules, got {plain.shown(rules)}")
    own: dict[str, Rule] = {}
    for rule in rules:
        if isinstance(rule, type) and issubclass(rule, Rule):
            raise TypeError(f"expected rules to be instances, got a class; pass {rule.__name__}()")
        if not isinstance(rule, Rule):
            raise TypeError(
                f"expected rules to be rules, got {plain.shown(rule)}; pass codes to `select` or `ignore`"
            )
        code = code_of(rule)
        if code in own:
            raise ValueError(f"expected rules to have codes of their own, got {code} twice")
        if type(rule) in rule_types():  # a report from the log makes it again, from these
            with_thresholds(type(rule), thresholds_of(rule))
        own[code] = rule
    return own


def said_thresholds(thresholds: Thresholds | None, rules: Sequence[Rule] | None = None) -> Thresholds:
    """Thresholds as somebody gives them, checked and by code.

    Args:
        thresholds: By name, by the code or the name of their rule.
        rules: Rules of the user's own, given beside them.

    Raises:
        TypeError: `rules` holds something that is no rule.
        ValueError: There is no such rule or threshold, it may not be that, or the rule is one of `rules`.
    """
    if not isinstance(thresholds, Mapping):
        if thresholds is None:
            return {}
        raise ValueError(
            'expected thresholds to be values by name, by the code of a rule, as {"IMB003": {"poor": 3}}, '
            f"got {plain.shown(thresholds)}"
        )
    own = _own(rules or ())
    found: dict[str, dict[str, Any]] = {}
    for name, values in thresholds.items():
        rule = find_rule(plain.word(name, "the code of a rule"))
        if not isinstance(values, Mapping):
            raise ValueError(
                f"expected the thresholds of {rule.code} to be values by name, got {plain.shown(values)}"
            )
        if rule.code in own:
            raise ValueError(
                f"expected the thresholds of {rule.code} in one place, got them in thresholds and in rules"
            )
        with_thresholds(rule, values)
        found.setdefault(rule.code, {}).update(
            {threshold: plain.setting(value, threshold) for threshold, value in values.items()}
        )
    return found


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
            raise ValueError(f"expected a code, a name or a prefix of rules, got {plain.shown(each)}")
    return given


def known_selectors(selectors: Sequence[str] | None) -> list[str] | None:
    """Those of a log's selectors that name a rule here; a live run may have had rules of the user's own."""
    if selectors is None:
        return None
    rules = all_rules()
    return [selector for selector in as_list(selectors) if _hits(rules, selector)]


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
                "expected a code (IMB401), a name (empty-band) or a code prefix (IMB4) of rules, "
                f"got {selector!r}; `imbalance-doctor rules` lists them"
            )
        found |= hits
    return found
