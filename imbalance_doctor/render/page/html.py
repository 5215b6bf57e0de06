"""The report of a run as one HTML file that needs no network: findings on top, panels over time below."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imbalance_doctor.findings import SEVERITIES, Diagnosis, Finding
from imbalance_doctor.log.run import Run
from imbalance_doctor.prescriptions import Change
from imbalance_doctor.records import Array, LossInfo, RunInfo
from imbalance_doctor.render import panels
from imbalance_doctor.render.exchange.json import plain
from imbalance_doctor.render.numbers import count, number, prescription, step
from imbalance_doctor.render.page.markup import asset, findings_section, text
from imbalance_doctor.render.page.series import Steps, Track, histograms, lines, rounded, tracks
from imbalance_doctor.texts import Names, clean, clean_name

#: Points of a line, by how many lines there are: some 15,000 points for each statistic, over all classes
#: and losses, keep the numbers of a page at a few MB.
POINTS = 15_000
MOST_POINTS, FEWEST_POINTS = 400, 60
#: Characters beside an axis; more leave no room for what is drawn.
LABEL = 40
#: Classes of a loss whose panels are in the page; more would be numbers that nobody opens.
MOST_CLASSES = 150


def as_page(diagnosis: Diagnosis, run: Run) -> str:
    """The report as a complete HTML document."""
    from plotly.offline import get_plotlyjs

    title = f"imbalance-doctor: {diagnosis.source or run.source}"
    plotly, script = get_plotlyjs(), asset("page.js")
    data = json.dumps(plain(page_data(diagnosis, run)), allow_nan=False, separators=(",", ":"))
    # Inside a script element only "<" can end it or open a comment.
    data = data.replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(plotly, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{text(title)}</title>
<style>
{asset("findings.css")}
{asset("page.css")}
</style>
</head>
<body>
<main>
<header class="imbalance-doctor">
<h1>Diagnosis</h1>
{findings_section(diagnosis, _losses(run))}
{_settings(run)}
</header>
<section id="panels" aria-label="Panels">
<form id="choice"></form>
<p id="left-out" class="note"></p>
<div id="grid"></div>
<div id="absent"></div>
</section>
<noscript><p>The panels need JavaScript; the findings above do not.</p></noscript>
</main>
<script id="data" type="application/json">{data}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def _policy(*scripts: str) -> str:
    """What the page may do: run these very scripts, and draw; nothing that a name might bring along.

    Plotly adds style sheets of its own, other ones in each version, and makes pictures to save.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hashed, scripts))}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hashed(content: str) -> str:
    """The name of an inline script in a policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _losses(run: Run) -> list[str]:
    """The losses that the page has panels of."""
    return list(dict.fromkeys([*run.losses, *(record.loss for record in run.steps())]))


def _settings(run: Run) -> str:
    info = run.info
    facts = {
        "started": info.started,
        "steps": number(info.total_steps) if info.total_steps else "",
        "recorded every": f"{count(info.every, 'step')}",
        "positive rate where it will be used": number(info.population_positive_rate)
        if info.population_positive_rate is not None
        else "",
        "processes": number(info.world_size),
        **{f"version of {name}": version for name, version in info.versions.items()},
    }
    for loss in run.losses.values():
        settings = ", ".join(f"{name} = {number(value)}" for name, value in loss.config.items())
        facts[f"loss {loss.name}"] = f"{loss.kind}: {settings}" if settings else loss.kind
    for treatment in run.treatments:
        change = Change(treatment.parameter, treatment.before, treatment.after)
        facts[f"treated at step {step(treatment.step)}"] = (
            f"{treatment.loss.name}, {prescription(change)} for {treatment.code}"
        )
    rows = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in facts.items() if v)
    return f"<details><summary>Settings of the run</summary><dl>{rows}</dl></details>"


@np.errstate(all="ignore")  # what is no number has no place in a picture
def page_data(diagnosis: Diagnosis, run: Run) -> dict[str, Any]:
    """What the panels draw, as plain data."""
    steps = Steps()
    known = run.losses
    names = Names(_losses(run))
    evals = tracks((record.step, record.metrics) for record in run.evaluations)
    losses = [
        _Loss(known.get(name, LossInfo(name)), shown, run, diagnosis, evals, len(names))
        for name, shown in names.items()
    ]
    metrics = Names(sorted({key for record in run.steps() for key in record.metrics}), _label)
    logged = {f"logged.{key}": name for key, name in metrics.items()}
    data = [loss.data(steps) for loss in losses]
    last = max([record.step for record in run.records if hasattr(record, "step")], default=0)
    first = min([record.step for record in run.steps()], default=0)
    return {
        "panels": panels.described(logged),
        "losses": data,
        "x": steps.lists,
        "span": [first, max(last, first + 1)],
    }


class _Loss:
    """What the page holds of one loss."""

    def __init__(
        self,
        info: LossInfo,
        shown: str,
        run: Run,
        diagnosis: Diagnosis,
        evals: Mapping[str, Track],
        losses: int,
    ) -> None:
        self.info, self.shown, self.run, self.evals = info, shown, run, evals
        self.records = run.steps(info.name)
        self.findings = [f for f in diagnosis.findings if f.loss == info.name]
        self.tracks = tracks((record.step, _with_logged(record)) for record in self.records)
        columns = [t.values.shape[1] for t in self.tracks.values() if t.values.ndim == 2]
        self.count = max(columns, default=1)
        self.classes = self._chosen()
        self.points = max(FEWEST_POINTS, min(MOST_POINTS, POINTS // (len(self.classes) * max(1, losses))))

    def _chosen(self) -> list[int]:
        """Classes in the page, those with open findings first, the gravest first among them."""

        def order(index: int) -> tuple[int, int]:
            return -_rank(self._of_class(index)), index

        return sorted(range(self.count), key=order)[:MOST_CLASSES]

    def _of_class(self, index: int) -> list[Finding]:
        return [f for f in self.findings if f.class_index == index and f.status == "open"]

    def data(self, steps: Steps) -> dict[str, Any]:
        """Everything of this loss, as plain data."""
        drawn = panels.keys("loss") - ({"per_class_loss"} if self.count == 1 else set())
        own = {k: track for k, track in self.tracks.items() if k in drawn or k.startswith("logged.")}
        available = {"loss": frozenset(own), "evaluations": frozenset(self.evals)}
        evals = {key: track for key, track in self.evals.items() if key in panels.keys("evaluations")}
        stats = [(record.step, record.stats) for record in self.records]
        return {
            "name": self.shown,
            "kind": clean_name(self.info.kind),
            "classes": [self._class(c) for c in self.classes],
            "lines": {"loss": self._lines(own, steps), "evaluations": self._lines(evals, steps)},
            "histograms": histograms(stats, self.classes),
            "findings": [_event(finding) for finding in self.findings],
            "treatments": self._treatments(),
            "phases": self._phases(),
            "overview": self._overview(),
            "absent": panels.absent(available),
            "left_out": self._left_out(),
        }

    def _class(self, index: int) -> dict[str, Any]:
        found = self._of_class(index)
        return {
            "index": index,
            "label": class_title(self.run.info, index, self.count),
            "findings": len(found),
            "worst": SEVERITIES[_rank(found) - 1] if found else None,
        }

    def _lines(self, of: Mapping[str, Track], steps: Steps) -> dict[str, Any]:
        """Lines by statistic: one for the loss as a whole, or one for each class in the page."""
        result: dict[str, Any] = {}
        for key, track in of.items():
            drawn = lines(track, self.points, steps)
            if track.values.ndim == 1:
                result[key] = {"one": drawn[0]}
            else:
                result[key] = {"each": [drawn[c] if c < len(drawn) else None for c in self.classes]}
        return result

    def _treatments(self) -> list[dict[str, Any]]:
        return [
            {
                "step": t.step,
                "code": clean_name(t.code),
                "text": clean(prescription(Change(t.parameter, t.before, t.after))),
            }
            for t in self.run.treatments
            if t.loss.name == self.info.name
        ]

    def _phases(self) -> list[dict[str, Any]]:
        """Where the warmup wrapper went from one phase to the next."""
        phase = self.tracks.get("phase")
        if phase is None or phase.values.ndim != 1:
            return []
        names = {0.0: "warmup", 1.0: "blend", 2.0: "main phase"}
        changes = np.flatnonzero(np.diff(phase.values)) + 1
        return [
            {"step": int(phase.steps[i]), "text": names.get(float(phase.values[i]), "?")} for i in changes
        ]

    def _overview(self) -> dict[str, Any] | None:
        """All classes in one picture: how many positives each has, and how well it is ranked."""
        counts = self.tracks.get("pool_pos_count")
        if self.count < 2 or counts is None or counts.values.shape[1:] != (self.count,):
            return None
        recent = counts.values[-20:]
        positives = np.nansum(recent, axis=0) / (~np.isnan(recent)).sum(axis=0)
        for track, label in (
            (self.evals.get("average_precision"), "validation average precision, newest"),
            (self.tracks.get("pool_auroc"), "AUROC of the pool, newest"),
            (self.tracks.get("per_class_loss"), "loss of the class, newest"),
        ):
            if track is not None and track.values.ndim == 2 and track.values.shape[1] == self.count:
                y = track.values[-1]
                return {
                    "y_label": label,
                    "x": rounded(positives[self.classes]),
                    "y": rounded(y[self.classes]),
                }
        return None

    def _left_out(self) -> str:
        left = self.count - len(self.classes)
        if left <= 0:
            return ""
        return (
            f"This page has panels of {len(self.classes):,} of {count(self.count, 'class', 'classes')}, "
            "those with findings first; the run log has all."
        )


def _with_logged(record: Any) -> dict[str, Array]:
    logged = {f"logged.{k}": np.float32(v).reshape(()) for k, v in record.metrics.items()}
    return {**record.stats, **logged}


def _rank(findings: Sequence[Finding]) -> int:
    return max((SEVERITIES.index(finding.severity) + 1 for finding in findings), default=0)


def _event(finding: Finding) -> dict[str, Any]:
    return {
        "step": finding.step,
        "end": finding.last_step,
        "code": _label(finding.code),
        "name": _label(finding.name),
        "severity": finding.severity,
        "open": finding.status == "open",
        "class": finding.class_index,
        "text": clean(finding.symptom),
    }


def _label(name: str) -> str:
    return clean(name, LABEL)


def class_title(info: RunInfo, index: int, classes: int) -> str:
    """What a class is called in the selector."""
    name = info.class_name(index, classes)
    if classes == 1:
        return clean_name(name) if name else "the positive class"
    return f"{index}: {clean_name(name)}" if name else f"class {index}"
