"""Diagnosis of a whole run, after it or while it is still being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imbalance_doctor.admission import code_of
from imbalance_doctor.checkup import Checkup
from imbalance_doctor.findings import Diagnosis, Finding
from imbalance_doctor.rules.base import Rule
from imbalance_doctor.run import Run, RunPath, load_run
from imbalance_doctor.selection import Choice, Selector, as_list


def diagnose(
    run: Run | RunPath,
    *,
    select: Selector = None,
    ignore: Selector = None,
    rules: Sequence[Rule] | None = None,
    project: Choice | None = None,
) -> Diagnosis:
    """Examine a run with the rules that examined it live, unless told otherwise.

    Args:
        run: A run directory, a log file, or a `Run`.
        select: Codes, names or prefixes (``"IMB4"``) of the only rules to apply.
        ignore: Codes, names or prefixes of rules to leave out.
        rules: Rules with thresholds of your own; each replaces the one of the same code.
        project: What holds where neither the arguments nor the run itself say anything.

    Raises:
        LogError: The run cannot be read.
        ValueError: `select` or `ignore` names no rule.
    """
    run = run if isinstance(run, Run) else load_run(run)
    said = Choice(None if select is None else as_list(select), None if ignore is None else as_list(ignore))
    live = Choice.of_log(run.info.rules)
    chosen = said.over(live).over(project or Choice()).rules(rules)
    found = _examined(run, chosen)
    known = {(finding.code, finding.loss, finding.class_index) for finding in found.findings}
    elsewhere: list[Finding] = []
    # A rule of the user's own, which may have failed in the run, is not at hand here.
    asked = {code_of(rule) for rule in chosen}
    failed = {each.code: each for each in run.failed if each.code not in asked}
    for other in run.others:
        # What a gathering loss reports is the same on all ranks, and has been examined.
        own = {name for name, loss in other.losses.items() if not loss.gathers}
        seen = _examined(other, chosen)
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


def _examined(run: Run, rules: Sequence[Rule]) -> Diagnosis:
    checkup = Checkup(run.info, rules)
    for record in run.records:
        checkup.feed(record)
    return checkup.diagnosis(source=run.source, notes=run.notes)
