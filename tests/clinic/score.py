"""From outcomes to figures: what was found, when, and what else was said. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imbalance_doctor.findings import SEVERITIES, Severity
from imbalance_doctor.rules import find_rule
from tests.clinic.catalogue import Planted
from tests.clinic.clinic import ClinicRun, Outcome


@dataclass(frozen=True)
class Share:
    """Hits among trials, with its 95 % Wilson interval."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        """The share itself; nan of nothing."""
        return self.hits / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval."""
        if not self.trials:
            return 0.0, 1.0
        z, share, n = 1.96, self.value, self.trials
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.hits}/{self.trials} = {self.value:.0%} ({low:.0%}-{high:.0%})" if self.trials else "-"


def share(hits: Iterable[bool]) -> Share:
    """How many of them hold."""
    known = list(hits)
    return Share(sum(known), len(known))


@dataclass(frozen=True)
class Trial:
    """A planted fault and its healthy twin, carried out."""

    case: Planted
    sick: Outcome
    twin: Outcome

    @property
    def found(self) -> bool:
        """Whether the rule spoke at all."""
        return self.case.code in self.sick.codes("info")

    @property
    def delay(self) -> int | None:
        """Steps from the fault's beginning to the finding."""
        first = self.sick.first_step(self.case.code)
        return None if first is None else max(0, first - self.case.since)

    @property
    def in_time(self) -> bool:
        """Whether it spoke by the step that the case allows."""
        first = self.sick.first_step(self.case.code)
        return first is not None and first <= self.case.by

    @property
    def top(self) -> str | None:
        """The code that a reader of the diagnosis sees first."""
        return next(iter(self.sick.codes("warning") or self.sick.codes("info")), None)

    @property
    def first(self) -> bool:
        """Whether that is the planted fault, or another name of it, or what it directly leads to."""
        return self.top in (self.case.code, *self.case.also)

    @property
    def exactly_first(self) -> bool:
        """Whether it is the planted fault's own code."""
        return self.top == self.case.code

    @property
    def severity(self) -> Severity | None:
        """The gravest severity with which the rule spoke."""
        found = [f.severity for f in self.sick.diagnosis.findings if f.code == self.case.code]
        return max(found, key=SEVERITIES.index, default=None)


def causes(outcome: Outcome) -> list[str]:
    """Codes at warning or above that nothing else explains, in the order of the diagnosis."""
    found = [f for f in outcome.diagnosis.findings if f.severity != "info" and not f.explained_by]
    return list(dict.fromkeys(f.code for f in found))


def alarms(outcome: Outcome) -> list[str]:
    """Every code at warning or above, whatever explains it."""
    return outcome.codes("warning")


def spoken(outcome: Outcome) -> list[str]:
    """Codes at warning or above; of rules that are information by nature, any."""
    loud = set(outcome.codes("warning"))
    return [c for c in outcome.codes("info") if c in loud or find_rule(c).severity == "info"]


def confusion(trials: Sequence[Trial]) -> dict[str, Counter[str]]:
    """For each planted fault, how many of its runs had which code."""
    table: dict[str, Counter[str]] = {}
    for trial in trials:
        table.setdefault(trial.case.code, Counter()).update(spoken(trial.sick))
    return table


@dataclass(frozen=True)
class Ordinary:
    """A run meant to be healthy, carried out."""

    name: str
    run: ClinicRun
    outcome: Outcome


def by_code(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials of each planted code, codes in order."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.case.code, []).append(trial)
    return dict(sorted(groups.items()))
