"""One real training run under the Doctor: what the clinic is made of.

A `ClinicRun` says everything about a run; `train` carries it out and returns what was found and how good
the model became. A planted fault is a difference in configuration, data or loop between two `ClinicRun`s,
never a change to a log.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from imbalance_doctor.examine.diagnose import diagnose
from imbalance_doctor.findings import Diagnosis, Finding, Severity, at_least
from imbalance_doctor.live.doctor import Doctor
from imbalance_doctor.log import log_path
from imbalance_doctor.records import TreatmentRecord
from imbalance_doctor.rules.base import SOFTMAX
from imbalance_doctor.scores.metrics import evaluate
from losses.diagnostics.bridge import kind_of
from tests.clinic.families import FAMILIES, model_for

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class ClinicRun:
    """A training run, in full. `loss` builds the loss from the number of logit columns.

    Two are the same run only where they are one object: the functions in them compare no other way.
    """

    loss: Callable[[int], nn.Module]
    family: str = "gaussian"
    family_options: dict[str, Any] = field(default_factory=dict)
    model: str = "mlp"
    #: Logit columns: 1 is binary.
    columns: int = 1
    #: Positive rate (binary), or the priors of all classes.
    rate: float | tuple[float, ...] = 0.02
    batch: int = 256
    steps: int = 300
    lr: float = 3e-3
    optimizer: str = "adam"
    seed: int = 0
    every: int = 10
    declare_steps: bool = True
    declare_rate: bool = False
    target_metric: str | None = None
    #: Factor on the model's logits, inside the model.
    logit_scale: float = 1.0
    #: Changes a batch before it is used: (step, x, y) -> (x, y).
    tamper: Callable[[int, Tensor, Tensor], Batch] | None = None
    #: Called with (step, model, loss, optimizer) before each step.
    loop: Callable[[int, nn.Module, nn.Module, torch.optim.Optimizer], None] | None = None
    evaluate_every: int | None = None
    validation_rows: int = 8000
    #: Where a warmup wrapper is used: calls of its step hook.
    drive_schedule: bool = True
    #: Processes that train together, each on batches of its own.
    processes: int = 1
    #: Code of a rule whose prescriptions are applied to the running loss as soon as it is found.
    treat: str | None = None

    def but(self, **changes: Any) -> ClinicRun:
        """The same run with changes."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Outcome:
    """What a run led to."""

    diagnosis: Diagnosis
    #: Findings in the order in which they were opened.
    opened: tuple[Finding, ...]
    #: Final validation metrics, mean over classes.
    metrics: dict[str, float]
    #: (step, metrics) of each evaluation.
    curve: tuple[tuple[int, dict[str, float]], ...]
    #: The training loss at every step.
    losses: tuple[float, ...]
    #: Settings that were changed mid-run.
    treatments: tuple[TreatmentRecord, ...]
    #: What the run's log says afterwards: the findings of `diagnosis`, or the monitor is wrong.
    afterwards: tuple[Finding, ...]

    def codes(self, floor: Severity = "warning") -> list[str]:
        """Codes of every finding of the run, open or resolved, at or above a severity; graver first."""
        return list(dict.fromkeys(f.code for f in self.diagnosis.findings if at_least(f.severity, floor)))

    def first_step(self, code: str) -> int | None:
        """The step at which a rule first spoke."""
        return min((f.step for f in self.diagnosis.findings if f.code == code), default=None)


class _Scaled(nn.Module):
    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inner(x)


def train(run: ClinicRun, folder: Path | None = None, **doctor_options: Any) -> Outcome:
    """Train, watched, and evaluate; the log goes to the folder, where one is given.

    What the losses themselves warn of is not the clinic's subject.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if run.processes > 1:
            return _train_together(run, doctor_options)
        if folder is not None:
            return _train(run, folder, doctor_options)
        with tempfile.TemporaryDirectory() as passing:
            return _train(run, Path(passing), doctor_options)


def _train_together(run: ClinicRun, doctor_options: dict[str, Any]) -> Outcome:
    """Train in a process group; what the first of its processes saw."""
    context = torch.multiprocessing.get_context("fork")  # a run holds functions that no pickle takes
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=_train_as, args=(rank, run, doctor_options, Path(folder)))
            for rank in range(run.processes)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        assert all(process.exitcode == 0 for process in ranks)
        outcome: Outcome = pickle.loads((Path(folder) / "outcome").read_bytes())
    return outcome


def _train_as(rank: int, run: ClinicRun, doctor_options: dict[str, Any], folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    init = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=run.processes)
    outcome = _train(run, folder / "run", doctor_options)
    if rank == 0:
        (folder / "outcome").write_bytes(pickle.dumps(outcome))
    dist.barrier()
    dist.destroy_process_group()


def _train(run: ClinicRun, folder: Path, doctor_options: dict[str, Any]) -> Outcome:
    torch.manual_seed(run.seed)
    rank = dist.get_rank() if run.processes > 1 else 0
    generator = torch.Generator().manual_seed(run.seed + 77 + 1000 * rank)
    binary = run.columns == 1
    options = dict(run.family_options)
    law = FAMILIES[run.family](classes=2 if binary else run.columns, **options)
    priors = torch.tensor([1.0 - run.rate, run.rate] if isinstance(run.rate, float) else run.rate)
    model: nn.Module = model_for(law, run.model, run.columns)
    if run.logit_scale != 1.0:
        model = _Scaled(model, run.logit_scale)
    if run.processes > 1:
        model = nn.parallel.DistributedDataParallel(model)
    loss_fn = run.loss(run.columns)
    optimizer = _optimizer(run, model)
    held_out = law.draw(run.validation_rows, priors, torch.Generator().manual_seed(5), validation=True)
    wants_float = isinstance(loss_fn, nn.BCEWithLogitsLoss) or getattr(loss_fn, "kind", "") == "sigmoid_focal"

    opened: list[Finding] = []
    doctor = Doctor(
        folder,
        every=run.every,
        total_steps=run.steps if run.declare_steps else None,
        population_positive_rate=run.rate if run.declare_rate else None,
        target_metric=run.target_metric,
        on_finding=opened.append,
        **doctor_options,
    )
    curve: list[tuple[int, dict[str, float]]] = []
    losses: list[Tensor] = []
    treatments: list[TreatmentRecord] = []
    with doctor:
        doctor.watch(loss_fn)
        for step in range(run.steps):
            if run.drive_schedule and hasattr(loss_fn, "on_train_batch_start"):
                loss_fn.on_train_batch_start(step)
            if run.loop is not None:
                run.loop(step, model, loss_fn, optimizer)
            x, y = law.draw(run.batch, priors, generator)
            if run.tamper is not None:
                x, y = run.tamper(step, x, y)
            logits = model(x)
            if binary:
                logits = logits[:, 0]
            loss = loss_fn(logits, y.float() if wants_float else y)
            optimizer.zero_grad()
            if loss.requires_grad:
                loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            found = doctor.step()
            treatments += [t for f in found if f.code == run.treat and (t := _treat(doctor, f))]
            last = step == run.steps - 1
            if last or (run.evaluate_every and (step + 1) % run.evaluate_every == 0):
                scores = _scores(model, held_out[0])
                curve.append((step, _means(scores, held_out[1], loss_fn)))
                if run.evaluate_every and not last:
                    doctor.log_eval(scores, held_out[1], step=step)
    return Outcome(
        doctor.diagnosis,
        tuple(opened),
        curve[-1][1],
        tuple(curve),
        tuple(torch.stack(losses).tolist()),
        tuple(treatments),
        diagnose(log_path(folder, rank)).findings,
    )


def _treat(doctor: Doctor, finding: Finding) -> TreatmentRecord | None:
    """Apply what a finding prescribes, where it prescribes something that a running loss can change."""
    try:
        return doctor.treat(finding)
    except ValueError:
        return None


def _optimizer(run: ClinicRun, model: nn.Module) -> torch.optim.Optimizer:
    if run.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=run.lr, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=run.lr, weight_decay=1e-4)


def _scores(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        scores = model(x)
    return scores[:, 0] if scores.shape[1] == 1 else scores


def _means(scores: Tensor, targets: Tensor, loss_fn: nn.Module) -> dict[str, float]:
    if not torch.isfinite(scores).all():
        return {}
    with np.errstate(all="ignore"):
        values = evaluate(scores, targets, by_column=kind_of(loss_fn) not in SOFTMAX)
        return {name: float(np.nanmean(each)) for name, each in values.items()}
