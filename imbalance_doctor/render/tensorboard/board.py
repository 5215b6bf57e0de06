"""TensorBoard panels of a run: scalars, score histograms, findings as text, charts of several lines.

Everything is bounded, however long the run and however many its classes: beyond `MOST_CLASSES` classes the
lowest, median and highest value of each statistic stand for all, with lines of their own for the rarest
classes and for those with findings; beyond `FULL_RATE` records every second one is drawn, then every fourth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from imbalance_doctor.findings import Diagnosis, Finding
from imbalance_doctor.log.run import Run
from imbalance_doctor.records import Array, EvalRecord, Record, RunInfo, StepRecord
from imbalance_doctor.render.cleaned import Cleaned
from imbalance_doctor.render.grouping import grouped
from imbalance_doctor.render.numbers import number, prescription, step
from imbalance_doctor.render.page.series import flat
from imbalance_doctor.render.panels import GROUPS, HISTOGRAMS, LINES, NOT_DRAWN, charts
from imbalance_doctor.scores.metrics import METRICS
from imbalance_doctor.texts import Names

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: A log directory, or the user's own writer.
Target: TypeAlias = "str | Path | SummaryWriter"

#: Classes that get lines of their own: TensorBoard draws a chart for each statistic and class.
MOST_CLASSES = 8
#: Records after which every second one is drawn, then every fourth, and so on. TensorBoard itself shows
#: no more than 1,000 points of a line.
FULL_RATE = 500

#: Rows of the table of findings; what is beyond them is counted.
MOST_ROWS = 50

_OF_ALL: Mapping[str, Callable[[Array], Any]] = {
    "lowest": np.nanmin,
    "median": np.nanmedian,
    "highest": np.nanmax,
}


def write_run(run: Run, diagnosis: Diagnosis, logdir: Path) -> None:
    """Draw a run that is over, as it would have been drawn while it trained."""
    panels, cleaned = TensorBoardPanels(logdir), Cleaned()
    panels.begin(cleaned.info(replace(run.info, start_step=0)))
    for record in run.records:
        panels.record(cleaned.record(record))
    for finding in sorted(diagnosis.findings, key=lambda finding: finding.step):
        panels.finding(cleaned.finding(finding))
    panels.close()


class TensorBoardPanels:
    """A `Sink` that draws records and findings as they come.

    Args:
        target: A log directory, or the user's own writer, which is flushed and left open.
    """

    name = "TensorBoard"

    def __init__(self, target: Target) -> None:
        self._target, self._owned = target, isinstance(target, (str, Path))
        self._writer: Any = None

    def begin(self, info: RunInfo) -> None:
        """Begin a session; what an earlier one drew from its first step on is hidden."""
        if self._writer is not None:
            self.close()
        self._info = info
        self._writer = _opened(self._target, info.start_step)
        self._records: dict[str, int] = {}
        self._classes: dict[str, list[int]] = {}
        self._findings: dict[tuple[str, str, int | None], Finding] = {}
        self._open: set[tuple[str, str, int | None]] = set()
        self._charts: dict[str, Any] = {}
        #: What losses, and metrics of the user's, are called in tags.
        self._names, self._metrics = Names(clean=_segment), Names(clean=_segment)
        #: What changed since the layout of the charts, and the table of findings, were last written.
        self._drawn_since = self._found_since = 0
        self._new_charts = False

    @np.errstate(all="ignore")  # a sum beyond float32 is drawn as infinite
    def record(self, record: Record) -> None:
        """Draw one record, if it has numbers."""
        if isinstance(record, EvalRecord):
            self._write_eval(record)
        elif isinstance(record, StepRecord):
            self._write_step(record)
        self._flush()

    def _write_step(self, record: StepRecord) -> None:
        drawn = self._records[record.loss] = self._records.get(record.loss, -1) + 1
        if drawn % (1 << (drawn // FULL_RATE).bit_length()):
            return
        self._choose_classes(record)
        self._lay_out()
        loss = self._names[record.loss]
        for key, values in flat(record.stats):
            if key in LINES:
                self._write_values(f"{loss} {LINES[key]}", values, record)
        for name, value in record.metrics.items():
            tag = f"{loss} {GROUPS['logged']}/{self._metrics[name]}"
            self._writer.add_scalar(tag, value, record.step)
        self._write_histograms(record)

    def finding(self, finding: Finding) -> None:
        """Add a finding, or show that one was resolved."""
        key = finding.code, finding.loss, finding.class_index
        self._findings[key] = finding
        chosen = self._classes.get(finding.loss)
        if chosen is not None and finding.class_index is not None and len(chosen) < MOST_CLASSES:
            self._classes[finding.loss] = sorted({*chosen, finding.class_index})
        at = finding.step if finding.status == "open" else finding.last_step
        (self._open.add if finding.status == "open" else self._open.discard)(key)
        self._writer.add_text(f"findings/{_segment(f'{finding.code} {finding.name}')}", _page(finding), at)
        self._found_since += 1
        if self._found_since * MOST_ROWS >= len(self._findings):
            self._write_table(at)
        self._writer.add_scalar("findings/open", len(self._open), at)
        self._flush()

    def close(self) -> None:
        """Write what is left; close the writer if it is our own."""
        self._lay_out(at_last=True)
        if self._found_since:
            self._write_table(max(max(f.step, f.last_step) for f in self._findings.values()))
        if self._owned:
            self._writer.close()
        else:
            self._writer.flush()

    def _flush(self) -> None:
        """Show what was drawn while the run goes on; the user's own writer has its own ways."""
        if self._owned:
            self._writer.flush()

    def _write_table(self, at: int) -> None:
        self._writer.add_text("findings/all", _summary(list(self._findings.values())), at)
        self._found_since = 0

    # --- which classes ----------------------------------------------------------------------------------

    def _choose_classes(self, record: StepRecord) -> None:
        """Once for each loss: all classes, or the rarest ones, with room left for those with findings."""
        classes = _classes(record.stats)
        if record.loss in self._classes or not classes:
            return
        if classes <= MOST_CLASSES:
            self._classes[record.loss] = list(range(classes))
        else:
            counts = record.stats.get("pool_pos_count", np.arange(classes))
            self._classes[record.loss] = sorted(
                np.argsort(counts, kind="stable")[: MOST_CLASSES // 2].tolist()
            )
            self._writer.add_text("about/classes", _left_out(classes), record.step)
        labels = [_label(c, classes, self._info) for c in self._classes[record.loss]]
        self._add_charts(
            record, labels if classes <= MOST_CLASSES else [f"{name} of all" for name in _OF_ALL]
        )

    def _add_charts(self, record: StepRecord, labels: list[str]) -> None:
        """Charts with several lines each."""
        loss = self._names[record.loss]
        for chart in charts("loss", record.stats):
            tags = [LINES[key] for key in chart.keys]
            known = self._charts.setdefault(f"{loss}: {chart.title}", {})
            known |= _multiline(chart.title, f"{loss} ", tags, labels)
        for chart in charts("evaluations", METRICS):
            tags = [f"{GROUPS['validation']}/{key}" for key in chart.keys]
            self._charts[chart.title] = _multiline(chart.title, "", tags, labels)
        self._new_charts = True

    def _lay_out(self, *, at_last: bool = False) -> None:
        """Write the charts of all losses anew: the newest layout of a writer is the one that is shown.

        With few losses after each new one; with thousands after as many records, or each would be written
        thousands of times.
        """
        self._drawn_since += 1
        if self._new_charts and (at_last or self._drawn_since >= len(self._classes)):
            self._writer.add_custom_scalars(self._charts)
            self._drawn_since, self._new_charts = 0, False

    # --- values -----------------------------------------------------------------------------------------

    def _write_values(self, tag: str, values: Array, record: StepRecord) -> None:
        if values.ndim == 0:
            self._writer.add_scalar(tag, float(values), record.step)
        elif values.ndim == 1:
            for label, value in self._chosen(values, self._classes.get(record.loss, [])):
                self._writer.add_scalar(f"{tag}{_ending(label)}", value, record.step)

    def _write_eval(self, record: EvalRecord) -> None:
        for name, values in record.metrics.items():
            if name in NOT_DRAWN:
                continue
            classes = max(
                self._classes.values(), key=len, default=list(range(min(len(values), MOST_CLASSES)))
            )
            for label, value in self._chosen(values, classes):
                tag = f"{GROUPS['validation']}/{_segment(name)}"
                self._writer.add_scalar(f"{tag}{_ending(label)}", value, record.step)

    def _chosen(self, values: Array, classes: list[int]) -> Iterator[tuple[str, float]]:
        """Label and value of the classes that are drawn, and of all together where some are not."""
        for c in classes:
            if c < len(values) and not math.isnan(values[c]):
                yield _label(c, len(values), self._info), float(values[c])
        if len(values) > MOST_CLASSES and not np.isnan(values).all():
            for name, of_all in _OF_ALL.items():
                yield f"{name} of all", float(of_all(values))

    def _write_histograms(self, record: StepRecord) -> None:
        edges = record.stats.get("score_hist_edges")
        if edges is None:
            return
        for name, counts in record.stats.items():
            if name not in HISTOGRAMS:
                continue
            tag = f"{self._names[record.loss]} {HISTOGRAMS[name]}"
            for c in self._classes.get(record.loss, []):
                if c < len(counts):  # the number of classes may change in a run
                    ending = _ending(_label(c, len(counts), self._info))
                    self._write_histogram(f"{tag}{ending}", counts[c], edges[c], record.step)

    def _write_histogram(self, tag: str, counts: Array, edges: Array, at: int) -> None:
        filled = np.flatnonzero(counts > 0)
        if not len(filled) or not np.isfinite(edges).all():
            return
        bins, centres = counts.astype(np.float64), (edges[1:] + edges[:-1]).astype(np.float64) / 2
        self._writer.add_histogram_raw(
            tag,
            # TensorBoard takes these two as the outer edges of the first and last bin that hold anything.
            min=float(edges[filled[0]]),
            max=float(edges[filled[-1] + 1]),
            num=int(bins.sum()),
            sum=float((bins * centres).sum()),
            sum_squares=float((bins * centres**2).sum()),
            bucket_limits=edges[1:].astype(np.float64).tolist(),
            bucket_counts=bins.tolist(),
            global_step=at,
        )


def _classes(stats: Mapping[str, Array]) -> int:
    return max((value.shape[0] for value in stats.values() if value.ndim), default=0)


def _label(index: int, classes: int, info: RunInfo) -> str:
    """What a class is called at the end of a tag; nothing where there is only one."""
    if classes == 1:
        return ""
    name = info.class_name(index, classes)
    return f"{index} {_segment(name)}" if name else f"class {index}"


def _multiline(title: str, prefix: str, tags: Iterable[str], labels: Iterable[str]) -> dict[str, Any]:
    """For each label a chart of the lines with these tags."""
    pattern = f"{re.escape(prefix)}({'|'.join(map(re.escape, tags))})"
    return {label or title: ["Multiline", [f"{pattern}{re.escape(_ending(label))}$"]] for label in labels}


def _ending(label: str) -> str:
    """The end of a tag. In its last part, because TensorBoard shortens the others."""
    return f", {label}" if label else ""


def _segment(name: str) -> str:
    """A name as a part of a tag, in which a slash would begin a group."""
    return name.replace("/", "_")


def _opened(target: Target, first_step: int) -> Any:
    """A file of our own, or torch's writer for a place that only TensorBoard's file system reaches."""
    if not isinstance(target, (str, Path)):
        return target
    if "://" in str(target):
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(target), purge_step=first_step or None)
    from imbalance_doctor.render.tensorboard.events import EventFile

    return EventFile(Path(target), first_step)


def _left_out(classes: int) -> str:
    return (
        f"{classes:,} classes: lines are drawn for the {MOST_CLASSES // 2} with the fewest positives in the "
        f"first record and for those with findings, up to {MOST_CLASSES} in all. *lowest*, *median* and "
        "*highest of all* are those of all classes. The run log has every class; the HTML report has more."
    )


def _page(finding: Finding) -> str:
    """A finding as Markdown."""
    lines = [
        f"**{finding.severity} {_markdown(f'{finding.code} {finding.name}')}**, {_markdown(finding.where)}, "
        + (
            f"since step {step(finding.step)}"
            if finding.status == "open"
            else f"resolved: from step {step(finding.step)} to {step(finding.last_step)}"
        ),
        f"**Symptom:** {_markdown(finding.symptom)}",
        f"**Cause:** {_markdown(finding.cause)}",
        f"**Remedy:** {_markdown(finding.remedy)}",
    ]
    if finding.prescription:
        lines.append(f"**Change:** {_markdown(prescription(finding.prescription))}")
    if finding.evidence:
        lines.append(
            "**Evidence:** " + ", ".join(f"{_markdown(k)} = {number(v)}" for k, v in finding.evidence.items())
        )
    return "\n\n".join(lines)


def _summary(findings: list[Finding]) -> str:
    """All findings as a Markdown table, open ones first; the same fault on many classes in one row."""
    findings = sorted(findings, key=lambda f: (f.status != "open", f.step, f.code))
    rows = ["| state | severity | finding | where | since step | symptom |", "|---|---|---|---|---|---|"]
    groups = grouped(findings)
    for group in groups[:MOST_ROWS]:
        first, where = group.first, _markdown(group.where())
        since = step(min(finding.step for finding in group.findings))
        rows.append(
            f"| {first.status} | {first.severity} | {_markdown(group.title)} | {where} | {since} "
            f"| {_markdown(first.symptom)} |"
        )
    if len(groups) > MOST_ROWS:
        rows.append(f"| and {len(groups) - MOST_ROWS:,} more in the report | | | | | |")
    return "\n".join(rows)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", escape(text, quote=False))
