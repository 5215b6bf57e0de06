"""What watching costs: time in the training loop, size of the log, time to read it, memory of a long run."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice, permutations
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.harness import Table, resident
from imbalance_doctor import Doctor, diagnose, load_run
from losses import PAUCAtBudgetLoss, SigmoidFocalLoss, SmoothAPLoss

SUMMARY = "the monitor: overhead in the loop, log size, reading time, a million steps"

Progress = Callable[[str], None]

FEATURES = 32
BATCH = 256
#: Steps of one arm before the other has its turn: short enough that a busy moment of the machine hits both.
BLOCK = 100


@dataclass(frozen=True)
class Job:
    """A training job: its loss, its model's width and depth, its classes."""

    loss: Callable[[], nn.Module]
    width: int = 64
    depth: int = 1
    classes: int = 1
    rate: float = 0.05
    #: Largest share of the step that watching may take, and the step that this is said of.
    most: float | None = None
    said_of: str = ""

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Batches of a Gaussian law in which a model has something to learn, the same for every arm."""
        generator = torch.Generator().manual_seed(0)
        made = []
        for _ in range(64):
            x = torch.randn(BATCH, FEATURES, generator=generator)
            if self.classes > 1:
                y = torch.randint(self.classes, (BATCH,), generator=generator)
                x[torch.arange(BATCH), y % FEATURES] += 2.5
            else:
                y = (torch.rand(BATCH, generator=generator) < self.rate).long()
                x[:, 0] += 2.5 * y
            made.append((x, y))
        return made

    def model(self) -> nn.Module:
        """An MLP."""
        layers: list[nn.Module] = [nn.Linear(FEATURES, self.width), nn.ReLU()]
        for _ in range(self.depth - 1):
            layers += [nn.Linear(self.width, self.width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(self.width, self.classes))


JOBS = {
    "BCE, small MLP": Job(nn.BCEWithLogitsLoss, width=128, most=0.03, said_of="0.5 ms"),
    "BCE, wide MLP": Job(nn.BCEWithLogitsLoss, width=512, depth=3, most=0.01, said_of="10 ms"),
    "cross-entropy, 10 classes": Job(nn.CrossEntropyLoss, width=128, classes=10, most=0.03, said_of="0.5 ms"),
    "focal": Job(SigmoidFocalLoss, width=128),
    "SmoothAP, queue 1,024": Job(lambda: SmoothAPLoss(1, queue_size=1024)),
    "partial AUC, pairwise, queue 4,096": Job(
        lambda: PAUCAtBudgetLoss(1, beta=0.02, surrogate="pairwise", queue_size=4096)
    ),
    "SmoothAP, 10 classes": Job(lambda: SmoothAPLoss(10, queue_size=1024), classes=10),
}


#: Jobs of small steps are trained for longer, as such runs are: 20,000 steps of 0.5 ms last ten seconds. The
#: monitor looks closely at the first 200 steps, so that a run of one second pays more; it is shown as well.
LONG = ("BCE, small MLP", "cross-entropy, 10 classes", "SmoothAP, queue 1,024")
LONG_STEPS = 20_000

#: Runs whose times are added up: of a single one, two unwatched arms differ by 1 to 2 %.
RUNS = 3


class Learner:
    """A model and its optimizer."""

    def __init__(self, job: Job) -> None:
        torch.manual_seed(0)
        self.model = job.model()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)


class Arm:
    """The steps of a training run with a loss of their own, in blocks; watched or not.

    Arms that are compared train the same model in turns: where its tensors lie in memory, which makes one of
    two equal runs faster by 1 to 2 %, is then the same for all.
    """

    def __init__(
        self,
        job: Job,
        data: list[tuple[Tensor, Tensor]],
        steps: int,
        run_dir: Path | None,
        learner: Learner | None = None,
    ) -> None:
        learner = learner or Learner(job)
        self.model, self.optimizer = learner.model, learner.optimizer
        self.loss = job.loss()
        labels = isinstance(self.loss, (nn.BCEWithLogitsLoss, SigmoidFocalLoss))
        self.stream = cycle([(x, y[:, None].float() if labels else y) for x, y in data])
        self.seconds, self.doctor = 0.0, None
        if run_dir is not None:
            start = time.perf_counter()
            self.doctor = Doctor(run_dir, total_steps=steps, on_finding="log")
            self.doctor.watch(self.loss)
            self.seconds += time.perf_counter() - start

    def run(self, steps: int) -> None:
        """Train on; the time counts."""
        start = time.perf_counter()
        for x, y in islice(self.stream, steps):
            loss = self.loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            if self.doctor is not None:
                self.doctor.step()
        self.seconds += time.perf_counter() - start

    def close(self) -> None:
        """End the monitoring; the time counts."""
        start = time.perf_counter()
        if self.doctor is not None:
            self.doctor.close()
        self.seconds += time.perf_counter() - start


def run(quick: bool, progress: Progress) -> Iterator[Table]:
    if not quick:
        yield overhead(LONG_STEPS, progress, RUNS, only=LONG)
    yield overhead(500 if quick else 2_000, progress, 1 if quick else RUNS)
    yield logs(quick, progress)
    if not quick:
        yield soak(1_000_000, progress)


def overhead(steps: int, progress: Progress, runs: int, only: tuple[str, ...] = tuple(JOBS)) -> Table:
    """Three arms in turns: unwatched, watched at the defaults, unwatched again."""
    table = Table(
        f"Overhead of a Doctor at its defaults: mean over whole runs of {steps:,} steps, imports left out",
        ("training step", "takes", "overhead", "noise (unwatched against unwatched)", "at most"),
    )
    Doctor(None).close()  # the rules are imported with the first doctor
    for name in only:
        job = JOBS[name]
        seconds = [0.0, 0.0, 0.0]
        for number in range(runs):
            progress(f"overhead: {name}, {steps:,} steps, run {number + 1} of {runs}")
            seconds = [a + b for a, b in zip(seconds, _arms(job, steps), strict=True)]
        first, watched, second = seconds
        plain = (first + second) / 2
        share, takes = watched / plain - 1, f"{1e3 * plain / steps / runs:.2g} ms"
        most = job.most if name not in LONG or steps >= LONG_STEPS else None
        table.judge(f"overhead over {steps:,} steps, {name}", share, most)
        table.rows.append(
            (
                name,
                takes,
                f"{share:.1%}",
                f"{abs(first - second) / plain:.1%}",
                f"{most:.0%} of {job.said_of}" if most else "",
            )
        )
        if name in LONG:
            table.headlines.append(
                f"Watching {steps:,} steps of {takes} ({name}) costs **{share:.1%}** of their time."
            )
    return table


def _arms(job: Job, steps: int) -> list[float]:
    """Seconds of one run of each arm."""
    with tempfile.TemporaryDirectory() as folder:
        data, learner = job.batches(), Learner(job)
        arms = [Arm(job, data, steps, place, learner) for place in (None, Path(folder), None)]
        for arm in arms[::2]:
            arm.run(BLOCK)  # what a first call costs belongs to no arm; the doctor's belongs to it
            arm.seconds = 0.0
        for _, order in zip(range(steps // BLOCK), cycle(permutations(arms)), strict=False):
            for arm in order:
                arm.run(BLOCK)
        for arm in arms:
            arm.close()
    return [arm.seconds for arm in arms]


def logs(quick: bool, progress: Progress) -> Table:
    """Real runs, watched, and what is read back from them."""
    table = Table(
        "The log: its size, and the time to read and diagnose it",
        ("run", "records", "log", "read into pandas and diagnosed in", "at most"),
    )
    for classes, steps, most in (
        (10, 10_000 if quick else 100_000, (20.0, 5.0)),
        (1_000, 2_000 if quick else 20_000, None),
    ):
        progress(f"log: {classes:,} classes, {steps:,} steps")
        job = Job(lambda classes=classes: SmoothAPLoss(classes, queue_size=256), width=16, classes=classes)
        with tempfile.TemporaryDirectory() as folder:
            arm = Arm(job, job.batches(), steps, Path(folder))
            arm.run(steps)
            arm.close()
            size = sum(file.stat().st_size for file in Path(folder).iterdir())
            start = time.perf_counter()
            run_ = load_run(folder)
            rows = len(run_.stats)
            diagnose(run_)
            seconds = time.perf_counter() - start
        what = f"{classes:,} classes, {steps:,} steps"
        if most is not None:
            table.judge(f"MB of log, {what}", size / 1e6, most[0])
            table.judge(f"seconds to read, {what}", seconds, most[1])
            table.headlines.append(
                f"The log of {what} is **{size / 1e6:.1f} MB**; to read it into pandas and diagnose it takes "
                f"**{seconds / arm.seconds:.1%}** of the time that it was trained in."
            )
        table.rows.append(
            (
                what,
                f"{len(run_.steps()):,} ({rows:,} rows)",
                f"{size / 1e6:.1f} MB",
                f"{seconds:.1f} s, {seconds / arm.seconds:.1%} of the training",
                "" if most is None else f"{most[0]:.0f} MB, {most[1]:.0f} s",
            )
        )
    return table


def soak(steps: int, progress: Progress) -> Table:
    """One long run of a small model; memory as it goes."""
    table = Table(
        f"Memory over a run of {steps:,} steps",
        ("steps", "memory of the process", "log"),
    )
    job = Job(nn.BCEWithLogitsLoss, width=1)
    with tempfile.TemporaryDirectory() as folder:
        arm = Arm(job, job.batches(), steps, Path(folder))
        done = 0
        for share in (0.01, 0.1, 0.25, 0.5, 0.75, 1.0):
            arm.run(int(share * steps) - done)
            done = int(share * steps)
            progress(f"soak: {done:,} steps")
            size = sum(file.stat().st_size for file in Path(folder).iterdir())
            table.rows.append((f"{done:,}", f"{resident():.0f} MiB", f"{size / 1e6:.1f} MB"))
        arm.close()
    table.headlines.append(
        f"The process has {table.rows[1][1]} after a tenth of {steps:,} steps, {table.rows[-1][1]} after all."
    )
    return table
