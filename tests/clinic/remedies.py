"""Remedies, applied: what each finding prescribes, from the start of a fresh run and in the middle of one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imbalance_doctor.findings import Finding
from imbalance_doctor.prescriptions import Change
from losses import LossWarmupWrapper, SigmoidFocalLoss
from tests.clinic.catalogue import bce, smooth_ap
from tests.clinic.clinic import ClinicRun, Outcome
from tests.clinic.score import Share, Trial, share

#: Metrics by which a remedy is judged, final, on validation data; the budget is 1 % of the rows (recall) or
#: of the negatives (partial AUC). A model whose scores are not finite has 0 in each.
JUDGED_BY = ("average_precision", "recall_at_budget", "partial_auc")

FROM_THE_START, MID_RUN = "from the start", "mid-run"


@dataclass(frozen=True)
class Attempt:
    """A remedy on a sick run."""

    trial: Trial
    remedy: str
    when: str
    run: ClinicRun

    @property
    def name(self) -> str:
        """Unique among the attempts of all trials."""
        return f"{self.trial.case.name} {self.run.seed} {self.remedy} {self.when}"


@dataclass(frozen=True)
class Effect:
    """What a remedy did to all the runs that it was applied to."""

    code: str
    remedy: str
    when: str
    gone: Share
    #: For each metric of `JUDGED_BY`: means before and after.
    before: tuple[float, ...]
    after: tuple[float, ...]
    #: And the standard deviation of the differences over runs.
    spread: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """In a word or two, by the metric that changed most clearly."""
        root = math.sqrt(self.gone.trials)
        clear = [
            after - before
            for before, after, spread in zip(self.before, self.after, self.spread, strict=True)
            if abs(after - before) > max(SMALL, 2.0 * spread / root)
        ]
        if not clear:
            return "no clear gain"
        return "gained" if min(clear) > 0 else "lost" if max(clear) < 0 else "gained and lost"


#: Difference of a metric that matters.
SMALL = 0.02


def attempts(trial: Trial) -> Iterator[Attempt]:
    """Every remedy of a trial's finding that the clinic can apply."""
    code, sick = trial.case.code, trial.case.sick
    finding = next((f for f in trial.sick.opened if f.code == code), None)
    if finding is None:
        return
    prescriptions = [f.prescription for f in trial.sick.opened if f.code == code and f.prescription]
    settings = {p.parameter: p.after for p in prescriptions if isinstance(p, Change)}
    if settings:
        words = f"{', '.join(f'`{name}`' for name in settings)} as prescribed"
        yield Attempt(trial, words, FROM_THE_START, sick.but(loss=configured(sick.loss, settings)))
    if prescriptions:
        words = words if settings else "the queue reset, as prescribed"
        yield Attempt(trial, words, MID_RUN, sick.but(treat=code))
    for words, change in BY_HAND.get(code, ()):
        try:
            changed = change(sick, finding)
        except KeyError:  # another degree of the fault, which prints no such number
            continue
        if changed is not None:
            yield Attempt(trial, words, FROM_THE_START, changed)


def undone(trial: Trial) -> str | None:
    """What sets the twin apart, where undoing the fault is its remedy and the twin is otherwise the same."""
    return UNDONE.get(trial.case.code)


def effects(applied: Sequence[tuple[Attempt, Outcome]], trials: Sequence[Trial]) -> list[Effect]:
    """Attempts of a kind, taken together."""
    groups: dict[tuple[str, str, str], list[tuple[Trial, Outcome, bool]]] = {}
    for trial in trials:
        words = undone(trial)
        if words is not None:
            gone = trial.case.code not in trial.twin.codes("info")
            groups.setdefault((trial.case.code, words, FROM_THE_START), []).append((trial, trial.twin, gone))
    for attempt, outcome in applied:
        code = attempt.trial.case.code
        # From the start it never shows; mid-run it must have shown, and be over.
        still = {f.code for f in outcome.diagnosis.open} if attempt.when == MID_RUN else outcome.codes("info")
        key = (code, attempt.remedy, attempt.when)
        groups.setdefault(key, []).append((attempt.trial, outcome, code not in still))
    return [_effect(*key, group) for key, group in sorted(groups.items())]


def _effect(code: str, remedy: str, when: str, group: Sequence[tuple[Trial, Outcome, bool]]) -> Effect:
    before = [[trial.sick.metrics.get(name, 0.0) for trial, _, _ in group] for name in JUDGED_BY]
    after = [[outcome.metrics.get(name, 0.0) for _, outcome, _ in group] for name in JUDGED_BY]
    differences = [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]
    return Effect(
        code,
        remedy,
        when,
        share(gone for _, _, gone in group),
        tuple(map(statistics.fmean, before)),
        tuple(map(statistics.fmean, after)),
        tuple(statistics.stdev(d) if len(d) > 1 else 0.0 for d in differences),
    )


def configured(loss: Callable[[int], nn.Module], settings: Mapping[str, Any]) -> Callable[[int], nn.Module]:
    """A loss with some settings changed before its first forward."""

    def build(columns: int) -> nn.Module:
        built = loss(columns)
        built.reconfigure(**settings)  # type: ignore[operator]
        return built

    return build


def _changed(run: ClinicRun, **attributes: Any) -> ClinicRun:
    """The run with attributes of its (main) loss set: what `reconfigure` cannot change once it runs."""

    def build(columns: int) -> nn.Module:
        built = run.loss(columns)
        main = built.main_loss if isinstance(built, LossWarmupWrapper) else built
        for name, value in attributes.items():
            assert hasattr(main, name)
            setattr(main, name, value)
        return built

    return run.but(loss=build)


def _then(run: ClinicRun, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> ClinicRun:
    """The run with a change to each batch, after what was done to it."""
    before = run.tamper

    def tamper(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return change(*(before(step, x, y) if before is not None else (x, y)))

    return run.but(tamper=tamper)


def _finite_rows(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    kept = torch.isfinite(x).flatten(1).all(dim=1)
    return x[kept], y[kept]


def _with_reset(run: ClinicRun, finding: Finding) -> ClinicRun:
    """The queue is reset when the finding opens."""
    before = run.loop

    def loop(step: int, model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if before is not None:
            before(step, model, loss, optimizer)
        if step == finding.step + 1:
            loss.reset_queue()  # type: ignore[operator]

    return run.but(loop=loop)


def _pairwise(run: ClinicRun, finding: Finding) -> ClinicRun | None:
    """Only partial AUC has that surrogate."""
    return _changed(run, surrogate="pairwise") if finding.loss == "pauc_at_budget" else None


def _queue(run: ClinicRun, finding: Finding) -> ClinicRun:
    return run.but(loss=configured(run.loss, {"queue_size": int(finding.evidence["queue_size"])}))


def _alpha(run: ClinicRun, finding: Finding) -> ClinicRun:
    return run.but(loss=lambda columns: SigmoidFocalLoss(alpha=finding.evidence["alpha"]))


def _main_loss_alone(run: ClinicRun, finding: Finding) -> ClinicRun:
    return run.but(loss=smooth_ap())


Remedy = Callable[[ClinicRun, Finding], "ClinicRun | None"]

#: Remedies that no running loss can take: in words, and as a change to the run.
BY_HAND: dict[str, tuple[tuple[str, Remedy], ...]] = {
    "IMB001": (("rows that are not finite left out", lambda run, f: _then(run, _finite_rows)),),
    "IMB006": (("`reset_queue()` when it is found", _with_reset),),
    "IMB007": (("inputs clipped to ±5", lambda run, f: _then(run, lambda x, y: (x.clamp(-5.0, 5.0), y))),),
    "IMB009": (
        ("the printed weight of positives", lambda run, f: run.but(loss=bce(f.evidence["weight"]))),
        ("Smooth-AP", _main_loss_alone),
    ),
    "IMB015": (("the printed weight", lambda run, f: run.but(loss=bce(f.evidence["pos_weight"]))),),
    "IMB019": (("the printed `pos_weight`", lambda run, f: run.but(loss=bce(f.evidence["pos_weight"]))),),
    "IMB101": (("the printed batch", lambda run, f: run.but(batch=int(f.evidence["wanted_batch"]))),),
    "IMB105": (("Smooth-AP", _main_loss_alone),),
    "IMB106": (("the printed alpha", _alpha),),
    "IMB205": (("a focal loss instead", lambda run, f: run.but(loss=lambda columns: SigmoidFocalLoss(0.5))),),
    "IMB301": (
        ("the printed quantile", lambda run, f: _changed(run, quantile=f.evidence["quantile_wanted"])),
    ),
    "IMB303": (("the printed queue", _queue),),
    "IMB403": (
        ("the printed batch", lambda run, f: run.but(batch=int(f.evidence["batch_needed"]))),
        ('`surrogate="pairwise"`', _pairwise),
    ),
    "IMB405": (('`budget_basis="fpr"`', lambda run, f: _changed(run, budget_basis="fpr")),),
    "IMB503": (("no warmup", _main_loss_alone),),
    "IMB509": (('`surrogate="pairwise"`', _pairwise),),
    "IMB703": (("a tenth of the learning rate", lambda run, f: run.but(lr=run.lr / 10.0)),),
    "IMB704": (
        ("stopped at the printed step", lambda run, f: run.but(steps=int(f.evidence["best_step"]) + 1)),
    ),
}

#: Faults whose remedy is to undo them: the twin is the remedied run.
UNDONE: dict[str, str] = {
    "IMB004": "the right labels",
    "IMB005": "rows and labels that belong together",
    "IMB010": "shuffled batches",
    "IMB011": "no activation before the loss",
    "IMB012": "the sampler alone",
    "IMB016": "a learning rate that moves the weights",
    "IMB020": "units that live",
    "IMB021": "every class trained",
    "IMB402": "units that live",
    "IMB501": "a longer warmup",
    "IMB502": "a shorter warmup",
    "IMB506": "the hooks called",
    "IMB508": "the schedule restored",
    "IMB602": "the queue reset on no rank",
    "IMB701": "the right labels, fresh rows",
    "IMB702": "the right labels",
}

#: Why the others have no row.
NOT_APPLIED: dict[str, str] = {
    "IMB008": "the rule asks for none",
    "IMB103": "at one row in ten thousand no sampler finds positives in a run this short",
    "IMB104": "calibration comes after training",
    "IMB206": "a matter of time and memory, see the benchmarks of the kernels",
    "IMB302": "the objective is met",
}
