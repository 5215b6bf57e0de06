"""``imbalance-doctor demo``: two planted faults, diagnosed while the model trains, treated, and cured.

Each fault is trained twice from the same seed: once left alone, once with what is prescribed applied at
the step where it was prescribed. Everything printed is computed in these runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from torch import nn

from imbalance_doctor.demo.rare_digits import Split, rare_digits
from imbalance_doctor.findings import Finding
from imbalance_doctor.live.doctor import Doctor
from imbalance_doctor.losses import LossWarmupWrapper, PAUCAtBudgetLoss, RecallAtQuantileLoss
from imbalance_doctor.render.files import write_whole
from imbalance_doctor.render.page.html import as_page
from imbalance_doctor.render.terminal import finding_view
from imbalance_doctor.texts import clean

POSITIVE_RATE = 0.005
DIGIT = 6
SEED = 1
STEPS, QUICK_STEPS = 2_000, 1_600
#: Ranking losses need a model that ranks a little to start from.
WARMUP_STEPS = 200


@dataclass(frozen=True)
class Scenario:
    """A planted fault: the loss that carries it, what it should be called, and the metric it costs."""

    name: str
    story: str
    make_loss: Callable[[], PAUCAtBudgetLoss | RecallAtQuantileLoss]
    batch: int
    #: Weight of the ranking loss after the warmup; the rest stays with cross-entropy.
    main_weight: float
    expected_code: str
    metric: str
    metric_words: str


SCENARIOS = (
    Scenario(
        "pauc",
        "Partial AUC between 0.1 % and 0.5 % false alarms, from a queue of 64 rows: in a pool that "
        "small, no negative falls into a band that narrow.",
        lambda: PAUCAtBudgetLoss(
            1,
            alpha=0.001,
            beta=0.005,
            surrogate="pairwise",
            quantile_interpolation="linear",
            queue_size=64,
        ),
        128,
        1.0,
        "IMB401",
        "partial_auc",
        "partial AUC to 0.5 % FPR",
    ),
    Scenario(
        "recall",
        "Recall in the top 1 %, with a temperature of 0.001 for logits that spread over several units.",
        lambda: RecallAtQuantileLoss(1, quantile=0.01, queue_size=4096, temperature=0.001),
        256,
        # Its gradient reaches positives only: without cross-entropy beside it the negatives drift up too.
        0.5,
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
    metrics: dict[str, float] = field(default_factory=dict)


def run_demo(out: Path, *, quick: bool) -> int:
    """Run every scenario; 0 if each fault was named in the first half and its cure paid.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    console = Console()
    steps = QUICK_STEPS if quick else STEPS
    console.print(
        f"[bold]imbalance-doctor demo[/bold]: scikit-learn's handwritten digits, the {DIGIT} against the "
        f"rest, {POSITIVE_RATE:.1%} positives. Two faults, each trained for {steps:,} steps untreated, then "
        "treated.\n"
    )
    data = rare_digits(
        digit=DIGIT, positive_rate=POSITIVE_RATE, training_rows=40_000, validation_rows=20_000, seed=SEED
    )
    pairs = []
    with _one_thread():
        for scenario in SCENARIOS:
            console.rule(f"[bold]{scenario.name}[/bold]", align="left")
            console.print(scenario.story)
            sick, treated = (
                _train(scenario, data, steps, out / f"{scenario.name}-{state}", treat=treat, console=console)
                for state, treat in (("sick", False), ("treated", True))
            )
            pairs.append((scenario, sick, treated))
    console.rule("[bold]before and after[/bold]", align="left")
    console.print(_summary(pairs))
    broken = [_broken_promise(scenario, sick, treated, steps) for scenario, sick, treated in pairs]
    for problem in filter(None, broken):
        console.print(f"[red]{problem}[/red]")
    place = clean(str(out))
    for line in (
        f"Open {place}/pauc-sick/report.html in a browser, and {place}/pauc-treated/report.html beside it.",
        f"Next:  imbalance-doctor report {place}/pauc-sick",
        f"       imbalance-doctor explain {SCENARIOS[0].expected_code}",
        f"       tensorboard --logdir {place}",
    ):
        console.print(Text(line), soft_wrap=True)
    return 1 if any(broken) else 0


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """A network this small gains nothing from threads, and loses much where the processor is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    scenario: Scenario, data: tuple[Split, Split], steps: int, run_dir: Path, *, treat: bool, console: Console
) -> Outcome:
    """One training run: an ordinary loop, with the four lines that a doctor takes."""
    training, validation = data
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    ranking = scenario.make_loss()
    loss_fn = LossWarmupWrapper(
        nn.BCEWithLogitsLoss(),
        ranking,
        warmup_steps=WARMUP_STEPS,
        temp_start=ranking.temperature,
        temp_end=ranking.temperature,
        final_main_weight=scenario.main_weight,
    )
    outcome = Outcome(run_dir)
    _clear(run_dir)
    batches = torch.Generator().manual_seed(SEED)
    progress = _progress(console)
    title = f"{scenario.name}, {'treated' if treat else 'untreated'}"
    doctor = Doctor(
        run_dir,
        total_steps=steps,
        population_positive_rate=POSITIVE_RATE,
        class_names=["other", f"digit {DIGIT}"],
        on_finding=outcome.findings.append,
        tensorboard=True,
    )
    with doctor, progress:
        doctor.watch(loss_fn, name=scenario.name)
        for step in progress.track(range(steps), description=title):
            loss_fn.on_train_batch_start(step)
            rows = torch.randint(len(training.images), (scenario.batch,), generator=batches)
            loss = loss_fn(model(training.images[rows]), training.labels[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            for finding in doctor.step():
                if not treat:
                    progress.console.print(finding_view(finding))
                elif _worth_treating(finding) and (change := doctor.treat(finding)) is not None:
                    progress.console.print(Text(f"treated: {change}"))
            if (step + 1) % (steps // 10) == 0:
                with torch.no_grad():
                    doctor.log_eval(model(validation.images), validation.labels)
    outcome.metrics = {name: float(values[0]) for name, values in doctor.run.evaluations[-1].metrics.items()}
    write_whole(run_dir / "report.html", as_page(doctor.diagnosis, doctor.run))
    return outcome


def _clear(run_dir: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    for pattern in ("diagnostics-rank*.jsonl", "events.out.tfevents*", "report.html"):
        for file in run_dir.glob(pattern):
            file.unlink()


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
    for name in ("run", "found untreated", "validation"):
        table.add_column(name)
    for name in ("untreated", "treated"):
        table.add_column(name, justify="right")
    for scenario, sick, treated in pairs:
        first = _first(sick, scenario.expected_code)
        found = f"{first.code} at step {first.step}" if first else "not found"
        rows = {scenario.metric: scenario.metric_words, "average_precision": "average precision"}
        for row, (metric, words) in enumerate(rows.items()):
            table.add_row(
                *((scenario.name, found) if row == 0 else ("", "")),
                words,
                f"{sick.metrics[metric]:.3f}",
                f"[bold]{treated.metrics[metric]:.3f}[/bold]",
            )
    return table


def _worth_treating(finding: Finding) -> bool:
    """Causes, not consequences, and nothing that needs no action."""
    return finding.prescription is not None and finding.severity != "info" and not finding.explained_by


def _first(outcome: Outcome, code: str) -> Finding | None:
    return next((finding for finding in outcome.findings if finding.code == code), None)


def _broken_promise(scenario: Scenario, sick: Outcome, treated: Outcome, steps: int) -> str | None:
    """What this scenario was to show and did not, or None."""
    first = _first(sick, scenario.expected_code)
    if first is None or first.step >= steps / 2:
        return f"{scenario.name}: {scenario.expected_code} was not found in the first half of the run"
    if treated.metrics[scenario.metric] <= sick.metrics[scenario.metric]:
        return f"{scenario.name}: the treated run is not better in {scenario.metric_words}"
    return None
