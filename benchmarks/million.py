"""A full training set of a million rows, ranked in one loss call at every step."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.charts import curve_chart
from benchmarks.harness import Table, extra_memory, mebibytes, peak
from losses import SmoothAPLoss

SUMMARY = "a training loop whose every step ranks a million rows"

Progress: TypeAlias = Callable[[str], None]

FEATURES, RATE, BATCH = 16, 0.005, 1024
MODELS = {"linear model": 0, "16 hidden units": 16}

NOTE = """\
A third of the positives stand out in one direction. The others lean only a little in a second one, in which
2 % of the negatives lean further. After a warmup both runs start from the same weights, with Adam and a rate
that falls to zero: one goes on with cross-entropy on batches of {batch:,}, the other takes steps on all
rows at once, each with one call of `SmoothAPLoss(1, queue_size=0, temperature=0.1, tau_scale="iqr")`. AP is
that of other rows of the same law.

A model that can only trade one direction for the other is where it pays to optimise the ranking itself:
cross-entropy fits the bulk. One that has room for both has nothing to trade, and is served better by
cross-entropy, which takes hundreds of steps in the time of one."""


def law(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features `[rows, FEATURES]` and labels `[rows]`."""
    generator = torch.Generator().manual_seed(seed)
    positive = torch.rand(rows, generator=generator) < RATE
    x = torch.randn(rows, FEATURES, generator=generator)
    kind = torch.rand(rows, generator=generator)
    clear = positive & (kind < 0.35)
    faint = positive & ~clear
    decoy = ~positive & (kind < 0.02)
    x[:, 0] += 3.5 * clear
    x[:, 1] += 1.2 * faint + 2.5 * decoy
    x[:, 2] += 1.0 * faint + 2.0 * decoy
    return x, positive.long()


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Mean over the positives of the share of positives among the rows down to each."""
    hit = positive[scores.argsort(descending=True)]
    precision = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
    return float((precision * hit).sum() / hit.sum())


def network(hidden: int) -> nn.Module:
    torch.manual_seed(0)
    if not hidden:
        return nn.Linear(FEATURES, 1)
    return nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, 1))


@dataclass
class Run:
    """One training run of a given length in time; measuring AP does not count."""

    model: nn.Module
    rate: float
    seconds: float
    test: tuple[Tensor, Tensor]
    steps: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)

    def train(self, loss: Callable[[nn.Module], Tensor], points: int = 25) -> None:
        """Take steps until the time is over, and note AP at about so many points."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.rate)
        spent = 0.0
        while spent < self.seconds:
            if spent >= len(self.curve) * self.seconds / points:
                self.curve.append((spent, self.score()))
            start = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = self.rate * (1 - spent / self.seconds)
            optimizer.zero_grad()
            loss(self.model).backward()
            optimizer.step()
            self.steps += 1
            spent += time.perf_counter() - start
        self.curve.append((spent, self.score()))

    @torch.no_grad()
    def score(self) -> float:
        """AP on the test rows."""
        x, y = self.test
        return average_precision(self.model(x)[:, 0], y)


def smooth_ap() -> SmoothAPLoss:
    return SmoothAPLoss(1, queue_size=0, temperature=0.1, tau_scale="iqr")


def compared(hidden: int, rows: int, seconds: float) -> tuple[Run, Run]:
    """The run on batches with cross-entropy, and the one that ranks all rows at every step."""
    (x, y), test = law(rows, 0), law(rows // 4, 1)

    def on_a_batch(model: nn.Module) -> Tensor:
        rows_ = torch.randint(len(x), (BATCH,))
        return binary_cross_entropy_with_logits(model(x[rows_])[:, 0], y[rows_].float())

    warmup = Run(network(hidden), 2e-3, seconds / 6, test)
    warmup.train(on_a_batch, points=1)
    batches = Run(warmup.model, 2e-3, seconds, test)
    whole = Run(copy.deepcopy(warmup.model), 2e-2, seconds, test)
    batches.train(on_a_batch)
    loss = smooth_ap()

    def on_all_rows(model: nn.Module) -> Tensor:
        return loss(model(x), y)

    whole.train(on_all_rows)
    return batches, whole


def share_of_step(hidden: int, rows: int) -> float:
    """Share of a full step's time that the forward and the backward of the loss take."""
    x, y = law(rows, 0)
    model, loss = network(hidden), smooth_ap()
    shares = []
    for _ in range(5):
        start = time.perf_counter()
        out = model(x)
        leaf = out.detach().requires_grad_()
        before = time.perf_counter()
        loss(leaf, y).backward()
        after = time.perf_counter()
        out.backward(leaf.grad)
        shares.append((after - before) / (time.perf_counter() - start))
    return sorted(shares)[len(shares) // 2]


def measure_memory(case: str, library: str) -> None:
    """Called in a process of its own: what the step adds to the peak of one with the data and the model."""
    hidden, rows = map(int, case.split())
    x, y = law(rows, 0)
    model, loss = network(hidden), smooth_ap()
    loss(model(x[:4096]), y[:4096]).backward()
    before = peak()
    out = model(x)[:, 0]
    (loss(out, y) if library == "SmoothAP" else binary_cross_entropy_with_logits(out, y.float())).backward()
    print(peak() - before)


def run(quick: bool, progress: Progress) -> Iterator[Table]:
    rows, seconds = (2**17, 4.0) if quick else (2**20, 30.0)
    table = Table(
        f"{rows:,} rows in every step, {RATE:.1%} positive, {seconds:.0f} s for each run",
        [
            "model",
            "AP before",
            "AP, cross-entropy on batches",
            "AP, all rows ranked at once",
            "steps",
            "the loss's share of a full step",
            "memory of a full step",
            "the same with cross-entropy",
        ],
        note=NOTE.format(batch=BATCH),
    )
    curves = {}
    for name, hidden in MODELS.items():
        progress(f"{rows:,} rows, {name}")
        batches, whole = compared(hidden, rows, seconds)
        curves[f"{name}: batches, cross-entropy"] = batches.curve
        curves[f"{name}: all rows, SmoothAP"] = whole.curve
        memory = [mebibytes(extra_memory(__name__, f"{hidden} {rows}", loss)) for loss in ("SmoothAP", "BCE")]
        table.rows.append(
            [
                name,
                f"{whole.curve[0][1]:.3f}",
                f"{batches.curve[-1][1]:.3f}",
                f"{whole.curve[-1][1]:.3f}",
                f"{batches.steps:,} and {whole.steps:,}",
                f"{share_of_step(hidden, rows):.0%}",
                *memory,
            ]
        )
        if not hidden:
            gain = whole.curve[-1][1] / batches.curve[-1][1]
            table.headlines.append(
                f"A linear model trained on **{rows:,} rows ranked in every step** ends at "
                f"**{gain:.1f} times the AP** of cross-entropy on batches in the same time, on data made to "
                "need it (see below)."
            )
    if not quick:
        curve_chart(
            "million.svg", curves, "Average precision over training time", "seconds", "average precision"
        )
        table.figure = "![Average precision over training time](million.svg)"
    yield table
