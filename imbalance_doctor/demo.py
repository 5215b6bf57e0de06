"""``imbalance-doctor demo``: two planted faults, diagnosed while the model trains, treated, and cured.

Each fault is trained twice from the same seed: once left alone, once with the first prescription applied
at the step where it was made. Everything printed is computed in these runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn

from imbalance_doctor.doctor import Doctor
from imbalance_doctor.findings import Finding
from imbalance_doctor.rare_digits import Split, rare_digits
from imbalance_doctor.render.html import as_page
from imbalance_doctor.render.terminal import finding_view
from losses import LossWarmupWrapper, PAUCAtBudgetLoss, RecallAtQuantileLoss

POSITIVE_RATE = 0.005
DIGIT = 6
BATCH = 256
SEED = 1
STEPS, QUICK_STEPS = 2_000, 1_000
#: Both losses push positives only, so they start from a model that ranks a little and keep
#: cross-entropy beside them; alone they let the negatives drift up (FAILURE MODE IMB509).
WARMUP_STEPS = 150
MAIN_WEIGHT = 0.5


@dataclass(frozen=True)
class Scenario:
    """A planted fault: the loss that carries it, what it should be called, and the metric it costs."""

    name: str
    story: str
    make_loss: Callable[[], nn.Module]
    expected_code: str
    metric: str
    metric_words: str


SCENARIOS = (
    Scenario(
        "pauc",
        "Partial AUC at a budget of 0.5 % false alarms, from a queue of 64 rows.",
        lambda: PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64),
        "IMB401",
        "partial_auc",
        "partial AUC up to 0.5 % FPR",
    ),
    Scenario(
        "recall",
        "Recall in the top 1 %, with a temperature of 0.005 against logits that spread over several units.",
        lambda: RecallAtQuantileLoss(num_classes=1, quantile=0.01, queue_size=4096, temperature=0.005),
        "IMB202",
        "recall_at_budget",
        "recall in the top 1 %",
    ),
)


@dataclass
class Outcome:
    """What one training run came to."""

    run_dir: Path
    findings: list[Finding] = field(default_factory=list)
    treated: list[Finding] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


def run_demo(out: Path, *, quick: bool) -> int:
    """Run every scenario; 0 if each fault was named in the first quarter and its cure paid.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    console = Console()
    steps = QUICK_STEPS if quick else STEPS
    console.print(
        f"[bold]imbalance-doctor demo[/bold]: scikit-learn's handwritten digits, the {DIGIT} against the rest, "
        f"{POSITIVE_RATE:.1%} positives. Two faults, each trained for {steps:,} steps untreated, then treated.\n"
    )
    data = rare_digits(
        digit=DIGIT, positive_rate=POSITIVE_RATE, training_rows=40_000, validation_rows=20_000, seed=SEED
    )
    pairs = []
    for scenario in SCENARIOS:
        console.rule(f"[bold]{scenario.name}[/bold]", align="left")
        console.print(scenario.story)
        sick = _train(scenario, data, steps, out / f"{scenario.name}-sick", treat=False, console=console)
        treated = _train(scenario, data, steps, out / f"{scenario.name}-treated", treat=True, console=console)
        pairs.append((scenario, sick, treated))
    console.rule("[bold]before and after[/bold]", align="left")
    console.print(_summary(pairs))
    kept = [_kept_promise(scenario, sick, treated, steps) for scenario, sick, treated in pairs]
    for problem in filter(None, kept):
        console.print(f"[red]{problem}[/red]")
    console.print(
        f"Reports: {out}/*/report.html    TensorBoard: tensorboard --logdir {out}\n"
        f"Next: imbalance-doctor report {out}/pauc-sick    imbalance-doctor explain {SCENARIOS[0].expected_code}"
    )
    return 1 if any(kept) else 0


def _train(
    scenario: Scenario, data: tuple[Split, Split], steps: int, run_dir: Path, *, treat: bool, console: Console
) -> Outcome:
    """One training run: an ordinary loop, with the four lines that a doctor takes."""
    training, validation = data
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss_fn = LossWarmupWrapper(
        nn.BCEWithLogitsLoss(),
        scenario.make_loss(),
        warmup_steps=WARMUP_STEPS,
        temp_start=_temperature(scenario),
        temp_end=_temperature(scenario),
        final_main_weight=MAIN_WEIGHT,
    )
    outcome = Outcome(run_dir)
    batches = torch.Generator().manual_seed(SEED)
    progress = _progress(console)
    title = f"{scenario.name}, {'treated' if treat else 'untreated'}"
    doctor = Doctor(
        run_dir,
        total_steps=steps,
        population_positive_rate=POSITIVE_RATE,
        class_names=["other", f"digit {DIGIT}"],
        on_finding="log",
        tensorboard=True,
    )
    with doctor, progress:
        doctor.watch(loss_fn, name=scenario.name)
        for step in progress.track(range(steps), description=title):
            loss_fn.on_train_batch_start(step)
            rows = torch.randint(len(training.images), (BATCH,), generator=batches)
            loss = loss_fn(model(training.images[rows]), training.labels[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            for finding in doctor.step():
                outcome.findings.append(finding)
                if not treat:
                    progress.console.print(finding_view(finding))
                elif finding.prescription is not None:
                    change = doctor.treat(finding)
                    outcome.treated.append(finding)
                    progress.console.print(
                        f"step {step}: treated {finding.code} {finding.name}: "
                        f"{change.parameter} {change.before} → {change.after}"
                    )
            if (step + 1) % (steps // 10) == 0:
                with torch.no_grad():
                    doctor.log_eval(model(validation.images), validation.labels)
    outcome.metrics = {name: float(values[0]) for name, values in doctor.run.evaluations[-1].metrics.items()}
    (run_dir / "report.html").write_text(as_page(doctor.diagnosis, doctor.run), encoding="utf-8")
    return outcome


def _temperature(scenario: Scenario) -> float:
    """The scenario's own temperature, so that the wrapper's schedule leaves it alone."""
    return float(getattr(scenario.make_loss(), "temperature"))  # noqa: B009 - nn.Module's attributes are untyped


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _summary(pairs: list[tuple[Scenario, Outcome, Outcome]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("planted fault", "found", "at step", "validation metric"):
        table.add_column(name)
    for name in ("untreated", "treated"):
        table.add_column(name, justify="right")
    for scenario, sick, treated in pairs:
        first = _first(sick, scenario.expected_code)
        for metric, words in (
            (scenario.metric, scenario.metric_words),
            ("average_precision", "average precision"),
        ):
            table.add_row(
                scenario.name if metric == scenario.metric else "",
                (f"{first.code} {first.name}" if first else "not found") if metric == scenario.metric else "",
                (str(first.step) if first else "") if metric == scenario.metric else "",
                words,
                f"{sick.metrics[metric]:.3f}",
                f"[bold]{treated.metrics[metric]:.3f}[/bold]",
            )
    return table


def _first(outcome: Outcome, code: str) -> Finding | None:
    return next((finding for finding in outcome.findings if finding.code == code), None)


def _kept_promise(scenario: Scenario, sick: Outcome, treated: Outcome, steps: int) -> str | None:
    """What this scenario was to show and did not, or None."""
    first = _first(sick, scenario.expected_code)
    if first is None or first.step >= steps / 4:
        return f"{scenario.name}: {scenario.expected_code} was not found in the first quarter of the run"
    if treated.metrics[scenario.metric] <= sick.metrics[scenario.metric]:
        return f"{scenario.name}: the treated run has no better {scenario.metric_words}"
    return None
