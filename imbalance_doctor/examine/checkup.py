"""The one way from records to findings, shared by the training hook and by the report.

`Checkup` takes records in the order of the run. Everything it decides follows from the records alone,
never from the clock, so a log read afterwards gives the findings that were raised live.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imbalance_doctor import plain
from imbalance_doctor.examine.admission import NOT_KNOWN, Admitted, admit, code_of
from imbalance_doctor.findings import (
    SEVERITIES,
    Diagnosis,
    Examined,
    Failed,
    Finding,
    Severity,
    Skipped,
    Unjudged,
    kept,
)
from imbalance_doctor.guard import described, from_outside
from imbalance_doctor.history import History, Window
from imbalance_doctor.records import (
    EndRecord,
    EvalRecord,
    Record,
    RunInfo,
    StartRecord,
    StepRecord,
    TreatmentRecord,
    WatchRecord,
)
from imbalance_doctor.rules.base import Evidence, Rule
from imbalance_doctor.rules.gate import unready

#: Records at which the scores are taken and the rules are asked: the first ones, because a loss that is
#: wrongly configured is so from the start, and every fifth: scores cost five times what counts cost, a
#: distribution of thousands of them moves slowly, and rules look back on 20 records or more.
FIRST_LOOKS = (1, 3)
LOOK_EVERY = 5

#: A finding is resolved after this many examinations in a row that found nothing. A fault of a random pool
#: shows in some windows and not in others: with 3 examinations, one a record, the demo's runs closed and
#: reopened one lasting fault up to three times in 2,000 steps. With one examination in five records, windows
#: of 20 records that are four examinations apart have nothing in common.
RESOLVE_AFTER = 4
#: The same for rules that are examined at every record.
RESOLVE_AT_ONCE_AFTER = 10
#: The same after a treatment: the window begins anew there, so that nothing in it is from before. A rule that
#: asks for 10 records then closes after 190 steps at the defaults, and after 290 with 4.
RESOLVE_TREATED_AFTER = 3
#: The same at the end of a run, whose last looks are far apart: the last one and the one before.
RESOLVE_AT_END_AFTER = 2

#: Characters of the reason why a rule failed: a few lines of a terminal.
LONGEST_REASON = 300

_Key = tuple[str, str, int | None]  # rule code, loss name, class index


@dataclass
class _Open:
    """A finding under observation."""

    finding: Finding
    #: Examinations in a row that did not see it, and that saw a milder degree of it.
    quiet: int = 0
    milder: int = 0
    #: Whether its loss has been treated since.
    treated: bool = False

    def patience(self, rule: Admitted) -> int:
        """Examinations in a row after which it is believed to be over, or milder."""
        if rule.at_once:
            return RESOLVE_AT_ONCE_AFTER
        return RESOLVE_TREATED_AFTER if self.treated else RESOLVE_AFTER


@dataclass(frozen=True)
class _Seen:
    """What a rule saw, in words; without them where a number that they would say is not known."""

    class_index: int | None
    unknown: set[str]
    finding: Finding | None


class Checkup:
    """Runs rules over a growing history and keeps the findings' life cycle.

    A rule that is wrong in any way fails alone: it is not applied from there on, its findings stay as they
    are, and `failed` names it.

    Args:
        run: What is known of the run.
        rules: The rules to apply.
    """

    def __init__(self, run: RunInfo, rules: Sequence[Rule]) -> None:
        self.history = History(run)
        self.rules = tuple(rules)
        #: Rules that are wrong, by code, with the reason: they are not asked again.
        self.failed: dict[str, str] = {}
        self._rules = {rule.code: rule for rule in self._admitted()}
        self._all = tuple(self._rules.values())
        self._at_once = tuple(rule for rule in self._all if rule.at_once)
        self._reading_evals = tuple(rule for rule in self._all if rule.requires_eval)
        self._open: dict[_Key, _Open] = {}
        #: Losses with open findings that a new session has not watched again.
        self._unwatched: set[str] = set()
        self._closed: list[Finding] = []
        #: Why a rule was last skipped on a loss; None where it was examined.
        self._examined: dict[tuple[str, str], Skipped | None] = {}

    def feed(self, record: Record) -> list[Finding]:
        """Take in one record.

        Returns:
            Findings that this record opened, made graver, or resolved.
        """
        self.history.add(record)
        changed: list[Finding] = []
        if isinstance(record, StartRecord):
            self._unwatched = {key[1] for key in self._open}
        elif isinstance(record, WatchRecord):
            self._unwatched.discard(record.loss.name)
        elif isinstance(record, StepRecord):
            if self._unwatched:
                gone = [key for key in self._open if key[1] in self._unwatched]
                changed += [self._close(key, record.step) for key in gone]
            current = list(self.history.windows(record.loss))
            for window in current:
                changed += self._examine(window, self._all if is_look(window.records) else self._at_once)
            if self._open:
                changed += self._leave_phase(record, {window.kind for window in current})
        elif isinstance(record, TreatmentRecord):
            for key, entry in self._open.items():
                entry.treated |= key[1] == record.loss.name
        elif isinstance(record, EvalRecord):
            # It tells nothing new to rules that do not read it.
            for window in self.history.windows():
                changed += self._examine(window, self._reading_evals)
        elif isinstance(record, EndRecord):
            for window in self.history.windows():
                changed += self._examine(window, self._all)
            over = [key for key, entry in self._open.items() if entry.quiet >= RESOLVE_AT_END_AFTER]
            changed += [self._close(key, record.step) for key in over]
        return self._in_order(changed) if changed else changed

    def _admitted(self) -> Iterator[Admitted]:
        for rule in self.rules:
            try:
                yield admit(rule)
            except Exception as error:
                if from_outside(error):
                    raise
                self._fail(code_of(rule), error)

    def restore(self, findings: Iterable[Finding]) -> None:
        """Take over the findings of an earlier session whose records are not at hand."""
        for finding in findings:
            if finding.status == "resolved" or finding.code not in self._rules:
                self._closed.append(finding)
            else:
                self._open[finding.code, finding.loss, finding.class_index] = _Open(finding)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding so far: open ones first, the gravest among them, causes before consequences."""
        return tuple(self._in_order([*(entry.finding for entry in self._open.values()), *self._closed]))

    def _in_order(self, findings: Iterable[Finding]) -> list[Finding]:
        """Findings with what explains them, as a reader needs them."""
        causes = {key: self._causes(key) for key in self._open}
        gravity = {key: SEVERITIES.index(entry.finding.severity) for key, entry in self._open.items()}
        depth = dict.fromkeys(self._open, 0)
        # A cause is as grave as the gravest of its consequences, and comes before them. A chain of causes is
        # no longer than there are rules in it; two that name each other go round no more often than that.
        for _ in {code for code, *_ in self._open}:
            for key, reasons in causes.items():
                for reason in reasons:
                    gravity[reason] = max(gravity[reason], gravity[key])
            deeper = {
                key: 1 + max((depth[reason] for reason in reasons), default=-1)
                for key, reasons in causes.items()
            }
            if deeper == depth:
                break
            depth = deeper

        def explained(finding: Finding) -> Finding:
            reasons = causes.get(_key(finding), ()) if finding.status == "open" else ()
            return replace(finding, explained_by=tuple(dict.fromkeys(code for code, *_ in reasons)))

        def order(finding: Finding) -> tuple[Any, ...]:
            key, is_open = _key(finding), finding.status == "open"
            return (
                not is_open,
                -(gravity.get(key, 0) if is_open else SEVERITIES.index(finding.severity)),
                depth.get(key, 0) if is_open else 0,
                finding.step,
                finding.code,
                finding.class_index or 0,
            )

        return sorted(map(explained, findings), key=order)

    def _causes(self, key: _Key) -> list[_Key]:
        """The open findings that explain an open one, in the order in which its rule names them."""
        code, loss, index = key
        named = self._rules[code].explained_by if code in self._rules else ()
        # A fault of the loss as a whole explains what is seen on each of its classes. None explains itself.
        return [
            cause
            for name in named
            if name != code
            for cause in dict.fromkeys([(name, loss, index), (name, loss, None)])
            if cause in self._open
        ]

    def diagnosis(self, *, source: str = "", notes: Sequence[str] = ()) -> Diagnosis:
        """The state of every rule now."""
        findings = self.findings
        unjudged, silent = self._unjudged()
        failed = {**self.failed, **silent}
        sick = {(finding.code, finding.loss) for finding in findings if finding.status == "open"}
        examined = [
            self._told(code, loss, _failed(failed[code]) if code in failed else self._examined[code, loss])
            for code, loss in sorted(self._examined)
            if (code, loss) not in sick
        ]
        wrong = tuple(Failed(code, reason) for code, reason in sorted(failed.items()))
        return Diagnosis(
            findings=findings,
            skipped=tuple(item for item in examined if item.skipped is not None),
            healthy=tuple(item for item in examined if item.skipped is None),
            source=source,
            last_step=self.history.step,
            notes=(*notes, *map(str, wrong), *map(str, unjudged)),
            unjudged=tuple(unjudged),
            failed=wrong,
        )

    def _told(self, code: str, loss: str, skipped: Skipped | None) -> Examined:
        name = self._rules[code].name
        return Examined(code, name, loss, *((skipped.reason, skipped.cause) if skipped else ()))

    def _unjudged(self) -> tuple[list[Unjudged], dict[str, str]]:
        """What rules passed over in the windows that they examined last, and which could not say it.

        Those are not switched off: when a diagnosis is read must not change what is found.
        """
        found: list[Unjudged] = []
        failed: dict[str, str] = {}
        for window in self.history.windows():
            for rule in self._all:
                # What was examined need not be ready now: with a treatment a window begins anew.
                key = rule.code, window.loss.name
                if unready(rule, window) or key not in self._examined or self._examined[key] is not None:
                    continue
                try:
                    few = rule.passed_over(window)
                except Exception as error:
                    if from_outside(error):
                        raise
                    failed[rule.code] = _reason(error)
                    continue
                if few is not None and few.classes.any() and len(few.classes) > 1:
                    indices = tuple(int(index) for index in np.flatnonzero(few.classes))
                    found.append(
                        Unjudged(
                            rule.code, rule.name, window.loss.name, few.needed, indices, len(few.classes)
                        )
                    )
        return found, failed

    def _examine(self, window: Window, rules: Iterable[Admitted]) -> list[Finding]:
        changed: list[Finding] = []
        loss = window.loss.name
        for rule in rules:
            held_up = unready(rule, window)
            if held_up and held_up.cause == "kind":
                continue
            verdict = held_up or self._verdict(rule, window)
            if isinstance(verdict, Skipped):
                self._examined[rule.code, loss] = verdict
                continue
            if verdict or self._open:
                changed += self._update(rule, window, verdict)
            self._examined[rule.code, loss] = _not_told(verdict)
        return changed

    def _leave_phase(self, record: StepRecord, kinds: set[str]) -> list[Finding]:
        """Close findings about a phase that is over: nothing will examine them again."""
        # What is open is of a rule that was admitted: `restore` keeps others apart.
        over = [key for key in self._open if key[1] == record.loss and not kinds & self._rules[key[0]].kinds]
        return [self._close(key, record.step) for key in over]

    def _close(self, key: _Key, step: int) -> Finding:
        finding = self._open.pop(key).finding.resolved(step)
        self._closed.append(finding)
        return finding

    def _verdict(self, rule: Admitted, window: Window) -> list[_Seen] | Skipped:
        if rule.code in self.failed:
            return _failed(self.failed[rule.code])
        try:
            verdict = rule.examine(window)
            if isinstance(verdict, Skipped):
                return verdict
            return [self._seen(rule, window, each) for each in verdict]
        except Exception as error:  # a rule that is wrong must not end a training run
            if from_outside(error):
                raise
            return _failed(self._fail(rule.code, error))

    def _seen(self, rule: Admitted, window: Window, evidence: Evidence) -> _Seen:
        """What a rule saw, in words.

        Raises:
            Exception: Its texts ask for what is not in the evidence, or in a way that numbers do not have.
        """
        unknown = _unknown(rule, evidence)
        if unknown:
            return _Seen(evidence.class_index, unknown, None)
        entry = self._open.get((rule.code, window.loss.name, evidence.class_index))
        since = window.step if entry is None else entry.finding.step
        return _Seen(evidence.class_index, unknown, _finding(rule, window, evidence, since))

    def _fail(self, code: str, error: Exception) -> str:
        return self.failed.setdefault(code, _reason(error))

    def _update(self, rule: Admitted, window: Window, verdict: Iterable[_Seen]) -> list[Finding]:
        changed: list[Finding] = []
        code, loss = rule.code, window.loss.name
        seen = set()
        for each in verdict:
            key, now = (code, loss, each.class_index), each.finding
            seen.add(key)
            if now is None:  # an open finding stays as it is
                continue
            entry = self._open.get(key)
            if entry is None:
                entry = self._open[key] = _Open(now)
                changed.append(now)
            else:
                worse = SEVERITIES.index(now.severity) - SEVERITIES.index(entry.finding.severity)
                entry.milder = entry.milder + 1 if worse < 0 else 0
                if worse >= 0 or entry.milder >= entry.patience(rule):
                    entry.finding, entry.milder = now, 0
                else:
                    entry.finding = replace(entry.finding, last_step=window.step)
                if worse > 0:
                    changed.append(entry.finding)
            entry.quiet = 0
        for key in [k for k in self._open if k[0] == code and k[1] == loss and k not in seen]:
            entry = self._open[key]
            entry.quiet += 1
            if entry.quiet >= entry.patience(rule):
                changed.append(self._close(key, window.step))
        return changed


def _key(finding: Finding) -> _Key:
    return finding.code, finding.loss, finding.class_index


def is_look(records: int) -> bool:
    """Whether the newest of this many records of a loss is looked at closely."""
    return records in FIRST_LOOKS or records % LOOK_EVERY == 0


def _reason(error: Exception) -> str:
    """What went wrong with a rule; an error may bring the whole of its data along."""
    reason = described(error)
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"


def _failed(reason: str) -> Skipped:
    """Why a rule is skipped that failed."""
    return Skipped(f"the rule failed: {reason}", "failed")


def _finding(rule: Admitted, window: Window, evidence: Evidence, since: int) -> Finding:
    class_name = window.run.class_name(evidence.class_index, window.classes)
    if evidence.class_index is None or (window.classes == 1 and class_name is None):
        class_label = "the positive class"
    else:
        class_label = f"class {evidence.class_index if class_name is None else repr(class_name)}"
    symptom, cause, remedy = _texts(rule, evidence)
    words: dict[str, Any] = {"class_label": class_label, "loss": window.loss.name, **evidence.values}
    severity: Severity = evidence.severity or rule.severity
    return Finding(
        code=rule.code,
        name=rule.name,
        severity=severity,
        loss=window.loss.name,
        class_index=evidence.class_index,
        class_name=class_name,
        step=since,
        last_step=window.step,
        status="open",
        symptom=plain.text(_sentence(symptom.format(**words)), "symptom"),
        cause=plain.text(_sentence(cause.format(**words)), "cause"),
        remedy=plain.text(_sentence(remedy.format(**words)), "remedy"),
        evidence=kept(evidence.values),
        prescription=evidence.prescription,
    )


def _texts(rule: Admitted, evidence: Evidence) -> tuple[str, str, str]:
    """The templates of a finding."""
    return evidence.symptom or rule.symptom, evidence.cause or rule.cause, evidence.remedy or rule.remedy


def _unknown(rule: Admitted, evidence: Evidence) -> set[str]:
    """Numbers that the texts or the prescription would say and that are none: nan or infinite."""
    broken = {name for name, value in evidence.values.items() if not math.isfinite(value)}
    if broken:
        fields = (string.Formatter().parse(text) for text in _texts(rule, evidence))
        broken &= {name for field in fields for _, name, *_ in field if name}
    prescribed = (evidence.prescription or {}).items()
    return broken | {key for key, value in prescribed if not _known(value)}


def _known(value: Any) -> bool:
    """Whether a plain value holds neither nan nor infinity."""
    if isinstance(value, dict):
        return all(map(_known, value.values()))
    if isinstance(value, list):
        return all(map(_known, value))
    return not isinstance(value, float) or math.isfinite(value)


def _not_told(verdict: Sequence[_Seen]) -> Skipped | None:
    """Why nothing can be said of what a rule saw; None where something can, or where it saw nothing."""
    if not verdict or any(not each.unknown for each in verdict):
        return None
    unknown = set[str]().union(*(each.unknown for each in verdict))
    return replace(NOT_KNOWN, reason=f"{NOT_KNOWN.reason}: {', '.join(sorted(unknown))}")


def _sentence(text: str) -> str:
    """The text with a capital first letter, unless it begins with the name of a setting."""
    first = text.split(maxsplit=1)[0] if text else ""
    return text if "_" in first or "=" in first else text[:1].upper() + text[1:]
