"""The rules on a plan, and settings that pass them: each is tried on the rules before it is prescribed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imbalance_doctor.examine.admission import Admitted, admit, code_of
from imbalance_doctor.examine.checkup import Checkup
from imbalance_doctor.findings import Diagnosis, Examined, Finding, Skipped
from imbalance_doctor.guard import attempt
from imbalance_doctor.history import History
from imbalance_doctor.losses import kinds
from imbalance_doctor.preflight.expected import every, records
from imbalance_doctor.preflight.plan import Plan
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.records import MAIN_LOSS, EndRecord
from imbalance_doctor.rules.base import Rule
from imbalance_doctor.rules.gate import unready
from imbalance_doctor.rules.measures.pool import round_up

#: Why a rule is not examined on a plan.
NEEDS_A_RUN = "only a run can show it"
NEEDS_LENGTH = "needs total_steps, and epochs where the schedule is in epochs"

#: The step of a finding before there is a run.
NO_STEP = -1

#: How often a value that does not cure is doubled before it is given up.
DOUBLINGS = 10
#: How often settings are put together and tried again: a cure may bring up what it had hidden.
ROUNDS = 6


@dataclass(frozen=True)
class Cure:
    """A setting of a loss, or of the run, and the value that is to cure."""

    loss: str
    parameter: str
    value: Any

    def on(self, plan: Plan) -> Plan:
        """The plan with this cure."""
        return plan.changed(self.loss, self.parameter, self.value)


@dataclass(frozen=True)
class Judge:
    """Examines plans by a set of rules; one that is wrong fails alone, as in a run."""

    rules: Sequence[Rule]
    _by_code: dict[str, Admitted] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        admitted = (attempt(admit, rule) for rule in self.rules)
        self._by_code.update({rule.code: rule for rule in admitted if rule is not None})

    def examine(self, plan: Plan) -> Diagnosis:
        """The diagnosis of a plan, with prescriptions that were found to cure."""
        # Those that are wrong are the checkup's to name.
        waits = {code for code, rule in self._by_code.items() if not rule.foreseeable}
        seen = _examined(plan, [rule for rule in self.rules if code_of(rule) not in waits], self._by_code)
        trial = _Trial(plan)
        findings = tuple(self._prescribed(trial, finding) for finding in seen.findings)
        waiting = tuple(
            Examined(rule.code, rule.name, loss.name, NEEDS_A_RUN, "run")
            for loss in plan.losses
            for rule in self._by_code.values()
            if not rule.foreseeable and loss.kind in rule.kinds
        )
        return replace(seen, findings=findings, skipped=(*seen.skipped, *waiting))

    def with_settings(self, plan: Plan, seen: Diagnosis) -> Diagnosis:
        """The diagnosis of a plan, with settings that leave nothing to cure, and a finding for each of them.

        A cure may bring up what it had hidden. The finding of that is added, with the settings under which it
        holds, and its rule is not healthy.

        Args:
            plan: The plan as it is.
            seen: Its diagnosis.
        """
        original, settings, hidden = seen, dict[str, Any](), list[Finding]()
        for number in range(ROUNDS):
            cures: dict[tuple[str, str], Cure] = {}
            for finding in seen.findings:
                cure = _cure_of(finding)
                if cure is not None:
                    key = (cure.loss, cure.parameter)
                    cures[key] = _stronger(cures.get(key), cure, plan)
            if not cures:
                found = {(finding.code, finding.loss) for finding in hidden}
                return replace(
                    original,
                    settings=settings,
                    findings=(*original.findings, *hidden),
                    healthy=tuple(x for x in original.healthy if (x.code, x.loss) not in found),
                )
            if number:
                hidden += [_under(settings, f) for f in seen.findings if _cure_of(f) in cures.values()]
            for cure in cures.values():
                plan = cure.on(plan)
                settings[_spelled(plan, cure.loss, cure.parameter)] = cure.value
            seen = self.examine(plan)
        return original

    def _prescribed(self, trial: _Trial, finding: Finding) -> Finding:
        """The finding with a prescription that was tried, and a remedy that says the same."""
        plan, rule = trial.plan, self._by_code[finding.code]
        own = _first_cure(plan, rule, finding)
        if own is None:
            return finding
        cure = next((each for each in _tries(plan, own) if trial.works(each, rule, finding)), None)
        if cure is None:
            return self._uncapped(plan, finding, own)
        before = plan.setting(cure.loss, cure.parameter)
        parameter = _spelled(plan, cure.loss, cure.parameter)
        same = cure == own and parameter == own.parameter
        remedy = finding.remedy if same else f"Set {parameter}={_written(cure.value)}."
        return replace(finding, prescription=Change(parameter, before, cure.value), remedy=remedy)

    def _uncapped(self, plan: Plan, finding: Finding, own: Cure) -> Finding:
        """The finding where no value of its setting is enough: a cap is to go first, if there is one."""
        cap = plan.setting(finding.loss, "max_pool_size")
        if cap is None:
            return replace(finding, prescription=None)
        remedy = (
            f"Set max_pool_size=None first: in a pool sampled down to {cap:,} rows, no {own.parameter} is "
            "enough."
        )
        return replace(finding, prescription=Change("max_pool_size", cap, None), remedy=remedy)


@dataclass(frozen=True)
class _Trial:
    """Cures of one plan, each tried once on each rule."""

    plan: Plan
    #: Where each rule finds something under each cure; None where it failed there.
    _sick: dict[tuple[str, Cure], set[tuple[str, int | None]] | None] = field(default_factory=dict)

    def works(self, cure: Cure, rule: Admitted, finding: Finding) -> bool:
        """Whether the rule, with this cure, no longer finds what it found."""
        key = (rule.code, cure)
        if key not in self._sick:
            self._sick[key] = attempt(_sick, cure.on(self.plan), rule)
        sick = self._sick[key]
        return sick is not None and (finding.loss, finding.class_index) not in sick


def _sick(plan: Plan, rule: Admitted) -> set[tuple[str, int | None]]:
    """The losses and classes of which the rule finds anything."""
    sick: set[tuple[str, int | None]] = set()
    history = History(plan.run_info(every(plan)))
    for record in records(plan):
        history.add(record)
    for window in history.windows():
        verdict = unready(rule, window) or rule.examine(window)
        if not isinstance(verdict, Skipped):
            sick |= {(window.loss.name, evidence.class_index) for evidence in verdict}
    return sick


def _examined(plan: Plan, rules: Sequence[Rule], known: Mapping[str, Admitted]) -> Diagnosis:
    """What the rules say of the records that are expected of a plan."""
    checkup = Checkup(plan.run_info(every(plan)), rules)
    step = 0
    for record in records(plan):
        checkup.history.add(record)
        step = record.step
    checkup.feed(EndRecord(step))
    seen = checkup.diagnosis()
    wrapper = plan.wrapper

    def belongs(item: Finding | Examined) -> bool:
        # The phases of a wrapper are losses of their own here; by its name go the rules on its schedule.
        return wrapper is None or item.loss != wrapper.name or kinds.WARMUP in known[item.code].kinds

    return replace(
        seen,
        findings=tuple(replace(f, step=NO_STEP, last_step=NO_STEP) for f in seen.findings if belongs(f)),
        skipped=tuple(_in_terms_of_a_plan(item) for item in seen.skipped if belongs(item)),
        healthy=tuple(item for item in seen.healthy if belongs(item)),
        last_step=None,
    )


def _in_terms_of_a_plan(item: Examined) -> Examined:
    """A rule that was not examined, with the reason as it is before a run."""
    if item.cause == "statistic":
        return replace(item, skipped=NEEDS_LENGTH)
    if item.cause == "evaluation":
        return replace(item, skipped=NEEDS_A_RUN, cause="run")
    return item


def _first_cure(plan: Plan, rule: Admitted, finding: Finding) -> Cure | None:
    """What the rule itself prescribes for a run, or names for a new one."""
    if isinstance(finding.prescription, Change):
        return Cure(finding.loss, finding.prescription.parameter, finding.prescription.after)
    if rule.new_run is None:
        return None
    parameter, evidence = rule.new_run
    before = plan.setting(finding.loss, parameter)
    if not _is_number(before) or evidence not in finding.evidence:
        return None  # one for each class, or none at all
    value: Any = finding.evidence[evidence]
    if parameter == "batch_size":  # rules see a batch over all ranks
        value = round_up(value * plan.batch_size / plan.live_rows(plan.loss(finding.loss)))
    return Cure(finding.loss, parameter, int(value) if isinstance(before, int) else value)


def _tries(plan: Plan, first: Cure) -> Iterator[Cure]:
    """The cure, and stronger ones where it does not work."""
    yield first
    before = plan.setting(first.loss, first.parameter)
    if not _is_number(before) or not _is_number(first.value) or before == first.value:
        return
    value = first.value
    for _ in range(DOUBLINGS):
        value = value * 2 if first.value > before else value / 2
        yield replace(first, value=round_up(value) if isinstance(first.value, int) else value)


def _stronger(one: Cure | None, other: Cure, plan: Plan) -> Cure:
    if one is None or other.value is None:
        return other
    if not (_is_number(one.value) and _is_number(other.value)):
        return one
    before = plan.setting(other.loss, other.parameter)
    grows = _is_number(before) and other.value > before
    return max(one, other, key=lambda cure: cure.value if grows else -cure.value)


def _cure_of(finding: Finding) -> Cure | None:
    change = finding.prescription
    if not isinstance(change, Change):
        return None
    of_main = finding.loss == MAIN_LOSS and change.parameter == "temp_end"
    return Cure(finding.loss, "temperature" if of_main else change.parameter, change.after)


def _spelled(plan: Plan, loss: str, parameter: str) -> str:
    """The name of a setting where the user sets it: a wrapper sets its main loss's temperature."""
    wrapped = loss == MAIN_LOSS and plan.wrapper is not None
    return "temp_end" if wrapped and parameter == "temperature" else parameter


def _under(settings: Mapping[str, Any], finding: Finding) -> Finding:
    """A finding that holds once these settings are made."""
    made = ", ".join(f"{name}={_written(value)}" for name, value in settings.items())
    return replace(finding, symptom=f"With {made}: {finding.symptom}")


def _written(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
