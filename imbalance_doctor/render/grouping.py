"""What is said once instead of a hundred times: one fault on many classes, one reason for many rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imbalance_doctor.findings import SEVERITIES, Diagnosis, Examined, Finding, Severity
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.render.numbers import count, number, prescription, ranges, step


@dataclass(frozen=True)
class Group:
    """The same fault of the same loss, on one class or on several; the first finding speaks for all."""

    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        """The finding that is shown in full."""
        return self.findings[0]

    @property
    def others(self) -> tuple[Finding, ...]:
        """The findings that are only counted or listed."""
        return self.findings[1:]

    @property
    def title(self) -> str:
        """Code and name."""
        return f"{self.first.code} {self.first.name}"

    def where(self) -> str:
        """The loss and the classes."""
        if not self.others:
            return self.first.where
        return f"{self.first.where} and {count(len(self.others), 'more class', 'more classes')}"

    def since(self) -> str:
        """When it was first seen; empty before there is a run."""
        steps = [finding.step for finding in self.findings]
        if min(steps) < 0:
            return ""
        if min(steps) == max(steps):
            return f"since step {step(steps[0])}"
        return f"since step {step(min(steps))} to {step(max(steps))}, depending on the class"

    def place(self) -> str:
        """The loss, the classes, and since when."""
        return ", ".join(part for part in (self.where(), self.since()) if part)

    def change(self) -> str:
        """The prescription in words, with its range where classes need different ones; empty without one."""
        changes = [finding.prescription for finding in self.findings if finding.prescription]
        if not changes:
            return ""
        wanted = [change.after for change in changes if isinstance(change, Change)]
        values = [float(value) for value in wanted if isinstance(value, (int, float))]
        text = prescription(changes[0])
        if len(values) < 2 or min(values) == max(values):
            return text
        return f"{text} ({number(min(values))} to {number(max(values))} over the classes)"

    def also(self, most: int = 12) -> str:
        """The other classes, with names where they are few."""
        if len(self.others) <= 6 and any(finding.class_name for finding in self.others):
            return ", ".join(class_label(finding) for finding in self.others)
        return ranges((f.class_index for f in self.others if f.class_index is not None), most)


def class_label(finding: Finding) -> str:
    """The class of a finding, in words; empty where it is about the loss as a whole."""
    if finding.class_index is None:
        return ""
    return f"{finding.class_index} ({finding.class_name})" if finding.class_name else str(finding.class_index)


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Findings of one code, severity, loss and state together, in the order of their first.

    A fault that came back on the same class is an episode of its own.
    """
    groups: dict[object, list[Finding]] = {}
    episodes: Counter[object] = Counter()
    for finding in findings:
        same = (finding.code, finding.severity, finding.loss, finding.status, finding.explained_by)
        groups.setdefault((same, episodes[same, finding.class_index]), []).append(finding)
        episodes[same, finding.class_index] += 1
    return [Group(tuple(members)) for members in groups.values()]


@dataclass(frozen=True)
class Chapters:
    """The findings of a diagnosis in the order in which a reader needs them."""

    #: Open findings that nothing else explains.
    causes: list[Group]
    #: Open findings that others bring about.
    consequences: list[Group]
    resolved: list[Group]


def chapters(diagnosis: Diagnosis) -> Chapters:
    """Sort the findings of a diagnosis into chapters."""
    return Chapters(
        causes=grouped(f for f in diagnosis.open if not f.explained_by),
        consequences=grouped(f for f in diagnosis.open if f.explained_by),
        resolved=grouped(f for f in diagnosis.findings if f.status == "resolved"),
    )


@dataclass(frozen=True)
class SkippedGroup:
    """Rules that one reason kept from being examined."""

    reason: str
    rules: tuple[str, ...]
    #: The losses it holds for; empty where it holds for every loss of the diagnosis.
    losses: tuple[str, ...]


def skipped(diagnosis: Diagnosis) -> list[SkippedGroup]:
    """Rules that were not examined, by reason; the reason that holds for most rules comes first."""
    every_loss = {item.loss for item in (*diagnosis.skipped, *diagnosis.healthy)}
    every_loss |= {finding.loss for finding in diagnosis.findings}
    reasons: dict[str, dict[Examined, None]] = {}
    for item in diagnosis.skipped:
        reasons.setdefault(item.skipped or "", {})[item] = None
    found = []
    for reason, items in reasons.items():
        losses = sorted({item.loss for item in items})
        rules = sorted({f"{item.code} {item.name}" for item in items})
        everywhere = set(losses) == every_loss and len(items) == len(rules) * len(losses)
        found.append(SkippedGroup(reason, tuple(rules), () if everywhere else tuple(losses)))
    return sorted(found, key=lambda group: (-len(group.rules), group.reason))


def rules_of(items: Iterable[Examined]) -> list[str]:
    """Codes and names of rules, each once."""
    return sorted({f"{item.code} {item.name}" for item in items})


def tally(findings: Sequence[Finding]) -> dict[Severity, int]:
    """How many findings of each severity there are, the gravest first."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in reversed(SEVERITIES) if counts[severity]}


def verdict(diagnosis: Diagnosis) -> str:
    """The outcome in one line; rules that failed are a part of it, because health is not known then."""
    if diagnosis.failed:
        return f"{_outcome(diagnosis)}; {count(len(diagnosis.failed), 'rule')} failed and may hide more"
    return _outcome(diagnosis)


def _outcome(diagnosis: Diagnosis) -> str:
    nouns = {"error": "error", "warning": "warning", "info": "note"}
    counts = [count(n, nouns[severity]) for severity, n in tally(diagnosis.open).items()]
    if counts:
        text = " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)
        rules = len({finding.code for finding in diagnosis.open})
        return f"{text}, of {count(rules, 'kind')}" if rules < len(diagnosis.open) else text
    if diagnosis.healthy:
        return "Nothing wrong in what was examined"
    if diagnosis.skipped:
        return "Nothing could be examined"
    return "Nothing was examined: there are no records of a loss"


def examined_line(diagnosis: Diagnosis) -> str:
    """How much the verdict rests on; empty where there is nothing to say."""
    resolved = sum(finding.status == "resolved" for finding in diagnosis.findings)
    parts = [count(resolved, "finding") + " resolved"] if resolved else []
    if diagnosis.healthy:
        parts.append(count(len(rules_of(diagnosis.healthy)), "rule") + " found nothing")
    if diagnosis.skipped:
        parts.append(count(len(rules_of(diagnosis.skipped)), "rule") + " not examined")
    return ", ".join(parts)


def origin(diagnosis: Diagnosis) -> str:
    """Where the diagnosis comes from and how far the run had got."""
    parts = [diagnosis.source] if diagnosis.source else []
    if diagnosis.last_step is not None:
        parts.append(f"up to step {step(diagnosis.last_step)}")
    return ", ".join(parts)
