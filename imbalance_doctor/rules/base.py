"""The contract of a rule: a window of records in, evidence or nothing out.

A rule is a frozen dataclass. Its fields are its thresholds, each made by `threshold` with the reason for its
default, and nothing else in it is annotated: the attributes of the class, which `Rule` declares, are what
users read at run time. Its docstring is its page in the catalogue, with the sections `Symptom`, `Cause`,
`Remedy`, `Evidence`, `Known problems` and `References`. A new rule is one module in this folder and its cases
in the tests; nothing else lists it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.findings import Severity, Skipped
from imbalance_doctor.history import Window
from imbalance_doctor.losses import kinds
from imbalance_doctor.prescriptions import Prescription

Bools: TypeAlias = NDArray[np.bool_]

#: What a rule may apply to, see `losses.kinds`.
RANKING, THRESHOLDED, ANY = kinds.RANKING, kinds.THRESHOLDED, kinds.ANY
LIKELIHOOD, FOCAL, SOFTMAX = kinds.LIKELIHOOD, kinds.FOCAL, kinds.SOFTMAX


T = TypeVar("T")


def threshold(default: T, why: str) -> T:
    """A field of a rule: a number that decides, with what it is and why it is this one.

    The reason names the runs, or gives the argument. Whoever reads the rule's page sees it.
    """
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True)
class Threshold:
    """A threshold of a rule, as its page shows it."""

    name: str
    #: ``"float"``, ``"int"``, ``"str"`` or ``"bool"``.
    type: str
    default: Any
    why: str


class UnknownNumberError(ArithmeticError):
    """A rule came upon nan or infinity where it needs a number: it cannot be examined on this window."""


@dataclass(frozen=True)
class Evidence:
    """What a rule saw on one class (or on the loss as a whole), in the units of the problem."""

    #: Filled into the rule's texts by name; every number that a text quotes is here. They may be numbers of
    #: Python or NumPy: where evidence is admitted, they become floats.
    values: Mapping[str, float]
    class_index: int | None = None
    #: Overrides of the rule's own, for rules that tell apart several degrees or directions of a fault.
    severity: Severity | None = None
    symptom: str | None = None
    cause: str | None = None
    remedy: str | None = None
    prescription: Prescription | None = None


@dataclass(frozen=True)
class TooFew:
    """Classes without the positives that a rule needs before it judges them."""

    #: Positives that it needs of a class.
    needed: float
    #: Whether a class has fewer, [C].
    classes: Bools


Verdict: TypeAlias = Iterable[Evidence] | Skipped


@dataclass(frozen=True)
class Rule(ABC):
    """One failure mode. Subclass it once, in a module of its own; never subclass a rule."""

    #: Public and stable, as ``IMB401``.
    code: ClassVar[str]
    #: Public and stable; names the defect, not the fix: ``empty-band``.
    name: ClassVar[str]
    severity: ClassVar[Severity]
    #: Kinds of loss it applies to.
    kinds: ClassVar[frozenset[str]]
    #: Statistics without which it cannot be examined.
    requires: ClassVar[tuple[str, ...]]
    #: Validation metrics without which it cannot be examined.
    requires_eval: ClassVar[tuple[str, ...]] = ()
    #: Records that must be there first.
    min_records: ClassVar[int] = 5
    #: Whether it is examined at every record, the others at every fifth. What is not finite is on record when
    #: its step ends; other records of a plain loss may come up to two seconds later.
    at_once: ClassVar[bool] = False
    #: Codes of rules whose findings explain this one: where they hold, this is a consequence.
    explained_by: ClassVar[tuple[str, ...]] = ()
    #: Whether settings, and the counts that they let expect, are enough to judge it. A preflight then
    #: examines it on the records that `imbalance_doctor.preflight.expected` expects of a plan.
    foreseeable: ClassVar[bool] = False
    #: A setting that only a new run can change, as ``"batch_size"``, and the name of the evidence that holds
    #: the value which cures: what a preflight prescribes where the rule itself prescribes nothing.
    new_run: ClassVar[tuple[str, str] | None] = None

    #: Templates, filled from the evidence; ``{class_label}`` and ``{loss}`` are always there.
    symptom: ClassVar[str]
    cause: ClassVar[str]
    remedy: ClassVar[str]

    @classmethod
    def thresholds(cls) -> tuple[Threshold, ...]:
        """Its thresholds, with their defaults and the reasons for them."""
        found = ((each, each.metadata.get("why")) for each in fields(cls))
        return tuple(Threshold(f.name, str(f.type), f.default, why) for f, why in found if why is not None)

    @abstractmethod
    def examine(self, window: Window) -> Verdict:
        """Look at a window that has what `requires` names; say what is wrong, on which class."""

    def passed_over(self, window: Window) -> TooFew | None:
        """The classes that it cannot judge in a window that it examined.

        It is asked when somebody reads a diagnosis, and not in training.
        """
        return None
