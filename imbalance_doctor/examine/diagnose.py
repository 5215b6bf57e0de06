"""Diagnosis of a whole run, after it or while it is still being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from imbalance_doctor.examine.admission import code_of
from imbalance_doctor.examine.checkup import Checkup
from imbalance_doctor.examine.loading import load_run
from imbalance_doctor.examine.selection import Choice, Selector, as_list, said_thresholds
from imbalance_doctor.examine.tuning import Thresholds
from imbalance_doctor.findings import Diagnosis, Finding
from imbalance_doctor.log.run import Run, RunPath
from imbalance_doctor.records import Record, RunInfo, goes_on
from imbalance_doctor.rules.base import Rule


def diagnose(
    run: Run | RunPath,
    *,
    select: Selector = None,
    ignore: Selector = None,
    rules: Sequence[Rule] | None = None,
    thresholds: Thresholds | None = None,
    project: Choice | None = None,
) -> Diagnosis:
    """Examine a run with the rules that examined it live, unless told otherwise.

    Args:
        run: A run directory, a log file, or a `Run`.
        select: Codes, names or prefixes (``"IMB4"``) of the only rules to apply.
        ignore: Codes, names or prefixes of rules to leave out.
        rules: Rules of your own; each replaces the one of the same code.
        thresholds: Thresholds to change, as in `Doctor`.
        project: What holds where neither the arguments nor the run itself say anything.

    Raises:
        LogError: The run cannot be read.
        ValueError: `select` or `ignore` names no rule, or a threshold does not exist or has an invalid value.
    """
    said = Choice(
        None if select is None else as_list(select),
        None if ignore is None else as_list(ignore),
        said_thresholds(thresholds, rules),
    )
    examination = Examination(said, rules, project or Choice())
    return examination.read_on(run if isinstance(run, Run) else load_run(run))


class Examination:
    """Diagnoses a run while it grows: what has been examined is not examined again.

    Args:
        said: What the caller says of the rules.
        rules: Rules with thresholds of the caller's own; each replaces the one of the same code.
        project: What holds where neither the caller nor the run says anything.
    """

    def __init__(self, said: Choice, rules: Sequence[Rule] | None, project: Choice) -> None:
        self._said, self._own, self._project = said, rules, project
        self._begun: dict[str, _Begun] = {}

    def read_on(self, run: Run) -> Diagnosis:
        """The diagnosis of the run as it is now.

        Raises:
            ValueError: A selector names no rule.
        """
        live = Choice.of_log(run.info.rules)
        chosen = self._said.over(live).over(self._project).rules(self._own)
        found = self._examined(run, chosen)
        known = {(finding.code, finding.loss, finding.class_index) for finding in found.findings}
        elsewhere: list[Finding] = []
        # A rule of the user's own, which may have failed in the run, is not at hand here.
        asked = {code_of(rule) for rule in chosen}
        failed = {each.code: each for each in run.failed if each.code not in asked}
        for other in run.others:
            # What a gathering loss reports is the same on all ranks, and has been examined.
            own = {name for name, loss in other.losses.items() if not loss.gathers}
            seen = self._examined(other, chosen)
            failed |= {each.code: each for each in seen.failed}
            for finding in seen.findings:
                key = finding.code, finding.loss, finding.class_index
                if finding.loss in own and key not in known:
                    known.add(key)
                    elsewhere.append(replace(finding, loss=f"{finding.loss} on rank {other.info.rank}"))
        more = [each for code, each in failed.items() if code not in {rule.code for rule in found.failed}]
        return replace(
            found,
            findings=(*found.findings, *elsewhere),
            treatments=tuple(f"{each.loss.name}: {each}" for each in run.treatments),
            failed=(*found.failed, *more),
            notes=(*found.notes, *map(str, more)),
        )

    def _examined(self, run: Run, rules: Sequence[Rule]) -> Diagnosis:
        begun = self._begun.get(run.source)
        if begun is None or begun.info is not run.info or not goes_on(run.records, begun.records):
            begun = _Begun(run.info, Checkup(run.info, rules))
        for record in run.records[len(begun.records) :]:
            begun.checkup.feed(record)
        self._begun[run.source] = replace(begun, records=run.records)
        return begun.checkup.diagnosis(source=run.source, notes=run.notes)


@dataclass(frozen=True)
class _Begun:
    """A checkup of one log and the records that it was fed."""

    info: RunInfo
    checkup: Checkup
    records: Sequence[Record] = ()
