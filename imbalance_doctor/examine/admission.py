"""Rules may be anybody's: what they say of themselves and of a window is checked here, where it comes in.

Behind this everything is plain data of the right types, so that a rule that is wrong can fail alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from imbalance_doctor import plain
from imbalance_doctor.findings import CAUSES, SEVERITIES, Severity, Skipped, numbers_of
from imbalance_doctor.guard import attempt
from imbalance_doctor.history import Window
from imbalance_doctor.prescriptions import plain_prescription
from imbalance_doctor.rules.base import Evidence, Rule, TooFew, UnknownNumberError

#: Pieces of evidence that a rule may give beside one for each class: some tell a fault of the loss from those
#: of its classes. What gives more does not end.
MORE_THAN_CLASSES = 100

#: Why a rule was skipped whose texts would say "nan".
NOT_KNOWN = Skipped("a number that it needs is not known", "unknown")
_NO_NUMBER = re.compile(r"\b(nan|inf)\b")

_MISSING = object()


@dataclass(frozen=True)
class Admitted:
    """A rule whose description is as it should be, read once: an attribute may be anything the next time."""

    rule: Rule
    code: str
    name: str
    severity: Severity
    kinds: frozenset[str]
    requires: tuple[str, ...]
    requires_eval: tuple[str, ...]
    min_records: int
    at_once: bool
    explained_by: tuple[str, ...]
    foreseeable: bool
    new_run: tuple[str, str] | None
    symptom: str
    cause: str
    remedy: str

    def examine(self, window: Window) -> list[Evidence] | Skipped:
        """What the rule says of a window.

        Raises:
            Exception: Whatever it raises, or a `ValueError` where it says what no rule can say.
        """
        try:
            with np.errstate(all="ignore"):  # 0 / 0 is nan, and what would say so is not told
                verdict: object = self.rule.examine(window)
                if isinstance(verdict, Skipped):
                    return _told(verdict)
                given = _all_of(verdict, window)
        except UnknownNumberError:
            return NOT_KNOWN
        if not given:
            return []
        classes = range(window.widest)
        return [_checked(each, classes) for each in given]

    def passed_over(self, window: Window) -> TooFew | None:
        """The classes that the rule could not judge.

        Raises:
            Exception: Whatever it raises, or a `ValueError` where it says what no rule can say.
        """
        with np.errstate(all="ignore"):
            few: object = self.rule.passed_over(window)
        if few is None:
            return None
        if not isinstance(few, TooFew):
            raise ValueError(f"expected passed_over to return TooFew or None, got {plain.shown(few)}")
        classes = np.array(few.classes)
        if classes.ndim != 1 or classes.dtype != np.bool_:
            raise ValueError(
                f"expected classes of TooFew to be true or false for each class, got {classes.dtype} of "
                f"shape {classes.shape}"
            )
        return TooFew(plain.finite(few.needed, "needed of TooFew"), classes)


def admit(rule: Rule) -> Admitted:
    """The rule, with what it says of itself.

    Raises:
        Exception: Whatever its attributes raise, or a `ValueError` where one is not what it should be.
    """

    def said(check: Any, name: str, *args: Any) -> Any:
        value = getattr(rule, name, _MISSING)
        if value is _MISSING:
            raise ValueError(f"expected a rule to have {name}, got none")
        return check(value, name, *args)

    return Admitted(
        rule=rule,
        code=said(plain.word, "code"),
        name=said(plain.word, "name"),
        severity=said(plain.choice, "severity", SEVERITIES),
        kinds=frozenset(said(plain.words, "kinds")),
        requires=said(plain.words, "requires"),
        requires_eval=said(plain.words, "requires_eval"),
        min_records=said(plain.whole, "min_records"),
        at_once=said(plain.truth, "at_once"),
        explained_by=said(plain.words, "explained_by"),
        foreseeable=said(plain.truth, "foreseeable"),
        new_run=said(_new_run, "new_run"),
        symptom=said(plain.text, "symptom"),
        cause=said(plain.text, "cause"),
        remedy=said(plain.text, "remedy"),
    )


def code_of(rule: Rule) -> str:
    """What a rule goes by: its code, or the name of its class where that is none."""
    code, kind = attempt(getattr, rule, "code"), type(rule).__name__
    return next((plain.word(each, "code") for each in (code, kind) if plain.is_word(each)), "a rule")


def name_of(rule: Rule) -> str | None:
    """The name of a rule; None where it has none."""
    name = attempt(getattr, rule, "name")
    return plain.word(name, "name") if plain.is_word(name) else None


def _new_run(value: object, name: str) -> tuple[str, str] | None:
    if value is None:
        return None
    names = plain.words(value, name)
    if len(names) != 2:
        raise ValueError(f"expected {name} to be a setting and the name of evidence, got {len(names)} texts")
    return names[0], names[1]


def _told(skipped: Skipped) -> Skipped:
    """Why a rule says that it cannot be examined, in plain data."""
    reason = plain.text(skipped.reason, "the reason to skip")
    if _NO_NUMBER.search(reason):
        return NOT_KNOWN
    return Skipped(reason, plain.choice(skipped.cause, "the cause to skip", CAUSES))


def _all_of(verdict: object, window: Window) -> list[object]:
    if not isinstance(verdict, (list, Iterable)) or isinstance(verdict, (str, bytes, dict)):
        raise ValueError(
            f"expected examine to return a list of Evidence or Skipped, got {plain.shown(verdict)}"
        )
    items = iter(verdict)
    given = list(islice(items, MORE_THAN_CLASSES))
    if len(given) == MORE_THAN_CLASSES:
        given += islice(items, window.widest)
        if next(items, None) is not None:
            raise ValueError(
                f"expected examine to return at most {len(given):,} pieces of evidence, got more"
            )
    return given


def _checked(given: object, classes: range) -> Evidence:
    """Evidence in plain data."""
    if not isinstance(given, Evidence):
        raise ValueError(f"expected examine to return nothing but Evidence, got {plain.shown(given)}")
    index, severity = given.class_index, given.severity
    return Evidence(
        numbers_of(given.values, "the evidence"),
        None if index is None else plain.whole(index, "class_index", classes),
        severity=None if severity is None else plain.choice(severity, "severity", SEVERITIES),
        symptom=None if given.symptom is None else plain.text(given.symptom, "symptom"),
        cause=None if given.cause is None else plain.text(given.cause, "cause"),
        remedy=None if given.remedy is None else plain.text(given.remedy, "remedy"),
        prescription=plain_prescription(given.prescription, "prescription"),
    )
