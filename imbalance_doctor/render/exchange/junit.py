"""A diagnosis as JUnit XML: a test case for each rule and loss, so that CI systems list what failed."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from imbalance_doctor.findings import Diagnosis, Examined, Finding, Severity, at_least
from imbalance_doctor.render import grouping
from imbalance_doctor.render.cleaned import cleaned


def as_junit(diagnosis: Diagnosis, *, floor: Severity = "warning") -> str:
    """The diagnosis as XML.

    Args:
        diagnosis: What to show.
        floor: Open findings from this severity on are failures; milder ones are output of a passed case.
    """
    diagnosis = cleaned(diagnosis)
    suite = Xml.Element("testsuite", name="imbalance-doctor")
    failures, failed = 0, {rule.code: rule.reason for rule in diagnosis.failed}
    for group in grouping.grouped(diagnosis.open):
        case = _case(suite, group.first)
        text = "\n".join(line for finding in group.findings for line in _told(finding))
        if at_least(group.first.severity, floor):
            failures += 1
            failure = Xml.SubElement(case, "failure", type=group.first.severity, message=group.first.symptom)
            failure.text = text
        else:
            Xml.SubElement(case, "system-out").text = text
    for item in diagnosis.healthy:
        _case(suite, item)
    skipped = [item for item in diagnosis.skipped if item.code not in failed]
    for item in skipped:
        Xml.SubElement(_case(suite, item), "skipped", message=item.skipped or "")
    for code, reason in failed.items():
        case = Xml.SubElement(suite, "testcase", classname="rules", name=code)
        Xml.SubElement(case, "error", message=f"the rule failed: {reason}")
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("skipped", str(len(skipped)))
    suite.set("errors", str(len(failed)))
    if diagnosis.notes:
        Xml.SubElement(suite, "system-out").text = "\n".join(f"Note: {note}" for note in diagnosis.notes)
    Xml.indent(suite)
    return Xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: Xml.Element, item: Finding | Examined) -> Xml.Element:
    return Xml.SubElement(suite, "testcase", classname=item.loss, name=f"{item.code} {item.name}")


def _told(finding: Finding) -> Iterable[str]:
    since = "" if finding.step < 0 else f", since step {finding.step:,}"
    return (
        f"{finding.where}{since}: {finding.symptom}",
        f"Cause: {finding.cause}",
        f"Remedy: {finding.remedy}",
    )
