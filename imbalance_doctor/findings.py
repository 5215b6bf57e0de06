"""What the rules say: findings, what was skipped, and the diagnosis that holds both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from imbalance_doctor import plain
from imbalance_doctor.prescriptions import Prescription, plain_prescription, prescription_of
from imbalance_doctor.texts import clean, clean_name

if TYPE_CHECKING:
    from rich.console import RenderableType

Severity: TypeAlias = Literal["info", "warning", "error"]

Status: TypeAlias = Literal["open", "resolved"]

#: Why a rule was not examined: it is for other kinds of loss, has too few records yet, lacks a statistic or
#: a validation metric, would have to say a number that is not known, has failed, needs a run (which a
#: preflight has not), or has a reason of its own.
Cause: TypeAlias = Literal["kind", "records", "statistic", "evaluation", "unknown", "failed", "run", "rule"]

#: Severities from mild to grave.
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
#: What may become of a finding.
STATUSES: tuple[Status, ...] = ("open", "resolved")
CAUSES: tuple[Cause, ...] = get_args(Cause)

#: Numbers of classes: those that an int32 holds.
CLASSES = range(2**31)


def at_least(severity: Severity, floor: Severity) -> bool:
    """Whether a severity is as grave as `floor` or graver."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(floor)


class ImbalanceWarning(UserWarning):
    """A finding, raised as a Python warning so that users can filter it."""


class ImbalanceError(RuntimeError):
    """A finding, raised as an error where the user asked for that (``on_finding="raise"``)."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.headline())
        self.finding = finding

    def __reduce__(self) -> tuple[type[ImbalanceError], tuple[Finding]]:
        return type(self), (self.finding,)  # or a process pool could not hand it on


@dataclass(frozen=True)
class Finding:
    """One fault of one loss (and class).

    `step` is where it first showed, -1 in a preflight; `last_step` is where it was last seen or, once
    resolved, where it was closed.
    """

    code: str
    name: str
    severity: Severity
    loss: str
    class_index: int | None
    class_name: str | None
    step: int
    last_step: int
    status: Status
    symptom: str
    cause: str
    remedy: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    #: The remedy as data, where a setting carries it or the queue is to be reset.
    prescription: Prescription | None = None
    #: Codes of the open findings on the same loss and class that bring this one about.
    explained_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "explained_by", tuple(self.explained_by))  # JSON knows no tuples
        if self.prescription is not None:  # nor types
            object.__setattr__(self, "prescription", prescription_of(self.prescription))

    @staticmethod
    def from_dict(values: object) -> Finding:
        """A finding from plain data, as `to_dict` gives it and a log or a checkpoint keeps it.

        Keys that are not known here, of a later version, are left out.

        Raises:
            ValueError: It is no finding; the message says what was expected of which value.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"expected a finding to be a mapping, got {plain.shown(values)}")
        missing = [name for name in _CHECKS if name not in values and name not in _OPTIONAL]
        if missing:
            raise ValueError(f"expected a finding to be complete, got one without {', '.join(missing)}")
        return Finding(
            **{name: check(values[name], name) for name, check in _CHECKS.items() if name in values}
        )

    @property
    def where(self) -> str:
        """The loss and the class, in words."""
        if self.class_index is None:
            return clean_name(self.loss)
        place = f"{clean_name(self.loss)}, class {self.class_index}"
        return f"{place} ({clean_name(self.class_name)})" if self.class_name else place

    def headline(self) -> str:
        """The finding in one paragraph, for a log line or a warning."""
        return clean(
            f"{self.code} {self.name} [{self.where}] since step {self.step}: "
            f"{self.symptom} Cause: {self.cause} Remedy: {self.remedy}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data, ready for JSON."""
        prescription = None if self.prescription is None else self.prescription.to_dict()
        return {**asdict(self), "prescription": prescription, "explained_by": list(self.explained_by)}

    def resolved(self, step: int) -> Finding:
        """The same finding, no longer seen at `step`."""
        return replace(self, status="resolved", last_step=step)


def evidence_of(values: object, name: str) -> dict[str, float]:
    """Evidence as a finding holds it: what is a number, in the nine digits that a log keeps.

    Raises:
        ValueError: It is no mapping of texts to numbers.
    """
    return kept(numbers_of(values, name))


def kept(numbers: Mapping[str, float]) -> dict[str, float]:
    """What a log keeps of numbers: those that are finite, in nine digits."""
    return {
        name: value if value.is_integer() and abs(value) < 1e9 else float(f"{value:.9g}")
        for name, value in numbers.items()
        if math.isfinite(value)
    }


def numbers_of(values: object, name: str) -> dict[str, float]:
    """Numbers by name, nan and infinity among them.

    Raises:
        ValueError: It is no mapping of texts to numbers.
    """
    if not isinstance(values, (dict, Mapping)):
        raise ValueError(f"expected {name} to be numbers by name, got {plain.shown(values)}")
    if len(values) > plain.MOST_ITEMS:
        raise ValueError(f"expected {name} to be at most {plain.MOST_ITEMS:,} numbers, got {len(values):,}")
    return {plain.word(key, "a name of evidence"): plain.number(value, key) for key, value in values.items()}


def _or_none(check: Callable[..., Any], *args: Any) -> Callable[[object, str], Any]:
    return lambda value, name: None if value is None else check(value, name, *args)


#: What the values of a finding are checked by.
_CHECKS: Mapping[str, Callable[[object, str], Any]] = {
    "code": plain.word,
    "name": plain.word,
    "severity": lambda value, name: plain.choice(value, name, SEVERITIES),
    "loss": plain.text,
    "class_index": _or_none(plain.whole, CLASSES),
    "class_name": _or_none(plain.text),
    "step": plain.whole,
    "last_step": plain.whole,
    "status": lambda value, name: plain.choice(value, name, STATUSES),
    "symptom": plain.text,
    "cause": plain.text,
    "remedy": plain.text,
    "evidence": evidence_of,
    "prescription": plain_prescription,
    "explained_by": plain.words,
}
_OPTIONAL = {"evidence", "prescription", "explained_by"}


@dataclass(frozen=True)
class Skipped:
    """A rule that could not be examined, which is not the same as healthy."""

    #: For people. What follows from it is decided by the cause.
    reason: str
    cause: Cause = "rule"


@dataclass(frozen=True)
class Examined:
    """The state of one rule on one loss at the end of a checkup."""

    code: str
    name: str
    loss: str
    #: Why it was not examined, for people and as data; None where it was.
    skipped: str | None = None
    cause: Cause | None = None


@dataclass(frozen=True)
class Unjudged:
    """Classes that a rule passed over, because they had too few positives, where it judged the others."""

    code: str
    name: str
    loss: str
    #: Positives that it needs of a class.
    needed: float
    #: The classes that had fewer, and how many there are in all.
    classes: tuple[int, ...]
    of: int

    def __str__(self) -> str:
        named = ", ".join(map(str, self.classes[:5]))
        more = f" and {len(self.classes) - 5} more" if len(self.classes) > 5 else ""
        return clean(
            f"{self.code} {self.name} [{clean_name(self.loss)}]: "
            f"{len(self.classes)} of {self.of} classes had fewer than "
            f"{math.ceil(self.needed)} positives and were not judged: {named}{more}"
        )


@dataclass(frozen=True)
class Failed:
    """A rule that is wrong: from where it failed on, it says nothing, and health is not known."""

    code: str
    reason: str

    @staticmethod
    def from_dict(values: object) -> Failed:
        """What a log keeps of it.

        Raises:
            ValueError: It is something else.
        """
        if not isinstance(values, Mapping) or not {"code", "reason"} <= values.keys():
            raise ValueError(f"expected a failed rule to have a code and a reason, got {plain.shown(values)}")
        return Failed(plain.word(values["code"], "code"), plain.text(values["reason"], "reason"))

    def __str__(self) -> str:
        return f"rule {self.code} failed ({self.reason}) and is no longer applied"


@dataclass(frozen=True)
class Expected:
    """A quantity predicted from a plan, of a loss as a whole or of one class."""

    name: str
    value: float
    loss: str
    class_index: int | None = None
    #: ``"rows"``, ``"share"``, ``"chance"``, ``"bytes"`` or ``"seconds"``.
    unit: str = "rows"


@dataclass(frozen=True)
class Diagnosis:
    """The outcome of a checkup: findings, rules that were skipped and why, rules that found nothing."""

    findings: tuple[Finding, ...] = ()
    skipped: tuple[Examined, ...] = ()
    healthy: tuple[Examined, ...] = ()
    #: Where it came from (a path, or "this process") and how far the run had got.
    source: str = ""
    last_step: int | None = None
    #: Things the reader of the log should know, such as a torn line that was left out.
    notes: tuple[str, ...] = ()
    #: Classes that a rule could not judge while it judged others; the notes say so in words.
    unjudged: tuple[Unjudged, ...] = ()
    #: Rules that are wrong, and were not asked to the end; the notes say so in words.
    failed: tuple[Failed, ...] = ()
    #: Settings that were changed while the run went on, in words.
    treatments: tuple[str, ...] = ()
    #: What a preflight computed; a run has its statistics instead.
    expected: tuple[Expected, ...] = ()
    #: Settings that together pass the preflight, by name, where some of those given do not.
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> tuple[Finding, ...]:
        """Findings that still hold."""
        return tuple(finding for finding in self.findings if finding.status == "open")

    @property
    def worst(self) -> Severity | None:
        """The gravest severity among the open findings."""
        return max((f.severity for f in self.open), key=SEVERITIES.index, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as plain data, ready for JSON."""
        return {
            "source": self.source,
            "last_step": self.last_step,
            "worst": self.worst,
            "findings": [finding.to_dict() for finding in self.findings],
            "skipped": [asdict(item) for item in self.skipped],
            "healthy": [asdict(item) for item in self.healthy],
            "notes": list(self.notes),
            "unjudged": [asdict(item) for item in self.unjudged],
            "failed": [asdict(item) for item in self.failed],
            "treatments": list(self.treatments),
            **({"expected": [asdict(item) for item in self.expected]} if self.expected else {}),
            **({"settings": dict(self.settings)} if self.expected else {}),
        }

    def __rich__(self) -> RenderableType:
        from imbalance_doctor.render.terminal import diagnosis_view

        return diagnosis_view(self)

    def __str__(self) -> str:
        from imbalance_doctor.render.terminal import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from imbalance_doctor.render.notebook import as_html

        return as_html(self)
