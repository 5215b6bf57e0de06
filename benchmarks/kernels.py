"""The losses and their kernels against other libraries, `torch.sort` and the exact result."""

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import losses
from benchmarks.charts import scaling_chart
from benchmarks.harness import Step, Table, compare, extra_memory, mebibytes, milliseconds, peak
from losses.kernels import smooth_ap
from losses.quantiles import quantile

SUMMARY = "losses and pairwise kernels: time, memory, accuracy, scaling"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """A pool, and the loss that is trained on it."""

    rows: int
    rate: float = 0.05
    classes: int = 1
    tau: float = 0.05
    queue: int = 1
    loss: str = "SmoothAPLoss"
    options: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False

    def data(self) -> tuple[Tensor, Tensor]:
        """Logits and labels, always the same."""
        generator = torch.Generator().manual_seed(0)
        if self.classes > 1:
            y = torch.randint(0, self.classes, (self.rows,), generator=generator)
            return torch.randn(self.rows, self.classes, generator=generator), y
        y = (torch.rand(self.rows, generator=generator) < self.rate).long()
        y[0] = 1
        return torch.randn(self.rows, 1, generator=generator) + y[:, None], y

    def module(self, library: str) -> nn.Module:
        """The loss, from this project or from the reference."""
        source = importlib.import_module(library)
        common = {"temperature": self.tau, "queue_size": self.queue, "gather_distributed": False}
        module: nn.Module = getattr(source, self.loss)(self.classes, **self.options, **common)
        return module


OURS, REFERENCE = "losses", "imbalanced_losses"
PAIRWISE: Mapping[str, Any] = {"surrogate": "pairwise", "beta": 1.0}

# Work, and how many times faster than the reference it is to be.
AGAINST_REFERENCE = {
    "pool of 1,024, 5 %": (Case(1024), 1.0),
    "pool of 4,096, 5 %": (Case(4096), 1.0),
    "pool of 16,384, 5 %": (Case(2**14), 40.0),
    "pool of 65,536, 5 %": (Case(2**16, slow=True), 500.0),
    "100 classes, pool of 16,384": (Case(2**14, classes=100, slow=True), 10.0),
    "1,000 classes, batch 2,048, queue 1,024": (Case(2048, classes=1000, queue=1024, slow=True), 8.0),
    "pairwise partial AUC, β = 1, pool of 65,536": (
        Case(2**16, loss="PAUCAtBudgetLoss", options=PAIRWISE, tau=0.1, slow=True),
        200.0,
    ),
}

# The default call: batch 256, queue 1,024, settings of the constructors.
DEFAULT_CALL = {
    "SmoothAP": Case(256, queue=1024, tau=0.01),
    "RecallAtQuantile": Case(256, queue=1024, tau=0.01, loss="RecallAtQuantileLoss"),
    "PAUC, trapezoid": Case(256, queue=1024, tau=0.1, loss="PAUCAtBudgetLoss"),
    "PAUC, pairwise": Case(
        256, queue=1024, tau=0.1, loss="PAUCAtBudgetLoss", options={"surrogate": "pairwise"}
    ),
    "PAUC, pairwise, β = 1": Case(256, queue=1024, tau=0.1, loss="PAUCAtBudgetLoss", options=PAIRWISE),
}

MEMORY = {
    "pool of 65,536, 5 %": (Case(2**16), 20.0),
    "pool of 1,048,576, 0.5 %": (Case(2**20, rate=0.005), 100.0),
    "pool of 1,048,576, 5 %": (Case(2**20), 100.0),
}


def training_step(case: Case, library: str) -> Step:
    """Forward and backward of the loss on a batch, its queue filled."""
    x, y = case.data()
    module = case.module(library)
    for _ in range(2 + case.queue // case.rows):
        module(x.clone().requires_grad_(), y)

    def step() -> None:
        leaf = x.clone().requires_grad_()
        module(leaf, y).backward()

    return step


def kernel_step(rows: int, rate: float, tau: float) -> Step:
    """Forward and backward of the kernel alone on a binary pool."""
    x, y = Case(rows, rate).data()
    positive = (y == 1)[:, None]
    valid = torch.ones_like(positive)

    def step() -> None:
        leaf = x.clone().requires_grad_()
        smooth_ap(leaf, positive, valid, tau).sum().backward()

    return step


def measure_memory(case: str, library: str) -> None:
    """Called in a process of its own."""
    chosen = MEMORY[case][0]
    training_step(Case(4096), library)()
    x, y = chosen.data()
    module = chosen.module(library)
    leaf = x.requires_grad_()
    before = peak()
    module(leaf, y).backward()
    print(peak() - before)


def run(quick: bool, progress: Progress) -> Iterator[Table]:
    """All tables, each as soon as it is done."""
    yield against_reference(quick, progress)
    yield default_call(progress)
    yield against_sort(quick, progress)
    yield memory(quick, progress)
    yield thresholds(quick, progress)
    yield focal(progress)
    yield against_others(quick, progress)
    yield accuracy(quick, progress)
    if not quick:
        yield scaling(progress)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def against_reference(quick: bool, progress: Progress) -> Table:
    table = Table(
        "Forward and backward, against imbalanced-losses 0.6.0",
        ["work", "times faster", "at least", "ours", "theirs"],
        note="SmoothAP, unless said otherwise. "
        "The reference's queue cannot be empty: without one, both hold a single row.",
    )
    if not installed(REFERENCE):
        table.note = "Not installed: `pip install imbalanced-losses==0.6.0`."
        return table
    for name, (case, goal) in AGAINST_REFERENCE.items():
        if quick and case.slow:
            continue
        progress(name)
        ours, theirs = compare(training_step(case, OURS), training_step(case, REFERENCE), seconds=4.0)
        ratio = theirs / ours
        aim = table.judge(f"{name}, times faster than the reference", ratio, goal, least=True)
        table.rows.append([name, f"{ratio:.3g}", aim, milliseconds(ours), milliseconds(theirs)])
        if goal > 1:
            table.headlines.append(
                f"{name[0].upper()}{name[1:]}: **{ratio:.0f} times** faster than the reference."
            )
    return table


def default_call(progress: Progress) -> Table:
    rates = (0.01, 0.05, 0.2)
    table = Table(
        "The default call, against imbalanced-losses 0.6.0: times faster",
        ["loss", *(f"{rate:.0%} positive" for rate in rates), "at least"],
        note="Batch 256, queue 1,024, one class, the constructors' settings. "
        "A step is some hundred small operations, most of them around the kernel.",
    )
    if not installed(REFERENCE):
        table.note = "Not installed: `pip install imbalanced-losses==0.6.0`."
        return table
    least = math.inf
    for name, case in DEFAULT_CALL.items():
        progress(f"default call, {name}")
        cells = []
        for rate in rates:
            here = replace(case, rate=rate)
            ours, theirs = compare(
                training_step(here, OURS), training_step(here, REFERENCE), seconds=4.0, most=1000
            )
            least = min(least, theirs / ours)
            aim = table.judge(f"default call, {name}, {rate:.0%}", theirs / ours, 1.0, least=True)
            cells.append(f"{theirs / ours:.2f}")
        table.rows.append([name, *cells, aim])
    table.headlines.append(f"The default call (batch 256, queue 1,024): at least {least:.2f} times as fast.")
    return table


def against_sort(quick: bool, progress: Progress) -> Table:
    rows = 2**17 if quick else 2**20
    table = Table(
        f"Forward and backward over a pool of {rows:,}, against torch.sort of as many floats",
        ["positives", "τ", "share of the sort's time", "at most", "kernel", "sort"],
    )
    unsorted = torch.randn(rows)
    goal = None if quick else 0.25  # set for the million
    shares = []
    for rate in (0.005, 0.05):
        for tau in (0.01, 0.1, 0.5):
            progress(f"{rows:,} rows, {rate:.1%} positives, τ = {tau}")
            kernel, sort = compare(kernel_step(rows, rate, tau), unsorted.sort, seconds=4.0)
            shares.append(kernel / sort)
            aim = table.judge(f"{rows:,} rows, {rate:.1%}, τ = {tau}, share of a sort", kernel / sort, goal)
            cells = [f"{rate:.1%}", f"{tau}", f"{kernel / sort:.2f}", aim]
            table.rows.append([*cells, milliseconds(kernel), milliseconds(sort)])
    table.headlines.append(
        f"{rows:,} rows ranked, forward and backward, in **{min(shares):.2f} to {max(shares):.2f}** of the "
        "time of sorting them."
    )
    return table


def thresholds(quick: bool, progress: Progress) -> Table:
    table = Table(
        "Thresholds: quantile at 99.5 %", ["scores", "share of torch.quantile", "at most", "ours", "torch"]
    )
    values = torch.randn(2**20, 1)
    mask = torch.ones_like(values, dtype=torch.bool)
    progress("quantile of a million")
    plain, masked, theirs = compare(
        lambda: quantile(values, 0.995, interpolation="higher"),
        lambda: quantile(values, 0.995, mask, interpolation="higher"),
        lambda: torch.quantile(values, 0.995, dim=0, interpolation="higher"),
    )
    for name, ours in (("1,048,576", plain), ("1,048,576, with a mask", masked)):
        aim = table.judge(f"quantile of {name}, share of torch.quantile", ours / theirs, 0.1)
        table.rows.append([name, f"{ours / theirs:.3f}", aim, milliseconds(ours), milliseconds(theirs)])
    table.headlines.append(
        f"A threshold of a million scores: **{plain / theirs:.2f}** of `torch.quantile`'s time."
    )
    if not quick:
        progress("quantile of 20 million")
        many = torch.rand(20_000_000, 1)
        (ours,) = compare(lambda: quantile(many, 0.995, interpolation="higher"), least=3)
        table.rows.append(["20,000,000", "", "works", milliseconds(ours), "refuses"])
    return table


def memory(quick: bool, progress: Progress) -> Table:
    table = Table("Extra memory of one step, in MiB", ["work", "ours", "at most", "imbalanced-losses"])
    for name, (case, goal) in MEMORY.items():
        progress(f"memory, {name}")
        ours = extra_memory(__name__, name, OURS)
        fits = case.rows <= 2**16 and not quick and installed(REFERENCE)
        theirs = mebibytes(extra_memory(__name__, name, REFERENCE)) if fits else ""
        aim = table.judge(f"memory, {name}, MiB", math.inf if ours is None else ours, goal)
        table.rows.append([name, mebibytes(ours), aim, theirs])
    return table


def focal(progress: Progress) -> Table:
    progress("focal")
    x, y = torch.randn(16384, 1000), torch.randint(1, 1000, (16384,))
    module = losses.SoftmaxFocalLoss(gather_distributed=False)

    def step(function: Callable[[Tensor, Tensor], Tensor]) -> Step:
        def one() -> None:
            function(x.clone().requires_grad_(), y).backward()

        return one

    ours, theirs = compare(step(module), step(nn.functional.cross_entropy))
    table = Table("Focal", ["work", "share of F.cross_entropy", "at most", "ours", "torch"])
    aim = table.judge("softmax focal, share of F.cross_entropy", ours / theirs, 1.2)
    table.rows.append(
        ["16,384 × 1,000", f"{ours / theirs:.2f}", aim, milliseconds(ours), milliseconds(theirs)]
    )
    return table


def exact(x: Tensor, positive: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a binary pool by the definition, in float64."""
    leaf = x.detach().double()[:, 0].clone().requires_grad_()
    rows = positive[:, 0].nonzero()[:, 0]
    sigma = torch.sigmoid((leaf[None] - leaf[rows, None]) / tau)
    sigma = sigma.scatter(1, rows[:, None], 0.5)
    rank_pos = 0.5 + (sigma * positive[:, 0]).sum(1)
    rank = 0.5 + sigma.sum(1)
    loss = 1 - (rank_pos / rank).mean()
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def accuracy(quick: bool, progress: Progress) -> Table:
    rows = 2**12 if quick else 2**14
    table = Table(
        f"Accuracy against the definition in float64, {rows:,} rows, worst of τ = 0.01, 0.1, 1, 10",
        ["type", "error of the loss", "at most", "error of the gradient / its largest", "at most"],
    )
    x, y = Case(rows, rate=0.02).data()
    positive = (y == 1)[:, None]
    for dtype, goals in ((torch.float32, (1e-7, 2e-6)), (torch.float64, (1e-12, 1e-9))):
        progress(f"accuracy, {dtype}")
        errors = []
        for tau in (0.01, 0.1, 1.0, 10.0):
            loss, gradient = exact(x, positive, tau)
            leaf = x.to(dtype, copy=True).requires_grad_()
            ours = smooth_ap(leaf, positive, torch.ones_like(positive), tau)
            ours.sum().backward()
            assert leaf.grad is not None
            off = (leaf.grad[:, 0].double() - gradient).abs().max() / gradient.abs().max()
            errors.append((abs(float(ours.detach()) - float(loss)), float(off)))
        worst = [max(error[k] for error in errors) for k in (0, 1)]
        name = str(dtype)[6:]
        aims = [
            table.judge(f"{name}, error of the {what}", error, goal)
            for what, error, goal in zip(("loss", "gradient"), worst, goals, strict=True)
        ]
        table.rows.append([name, f"{worst[0]:.0e}", aims[0], f"{worst[1]:.0e}", aims[1]])
        table.headlines.append(f"The loss is that of the definition to **{worst[0]:.0e}** in {name}.")
    return table


def against_others(quick: bool, progress: Progress) -> Table:
    """Losses of other libraries with the same aim, where they are installed."""
    table = Table(
        "Forward and backward, against other libraries",
        ["library", "work", "times faster", "ours", "theirs"],
        note="LibAUC's APLoss estimates average precision from running means of the pairs' squared hinges; "
        "it is compared with SmoothAP on the same pool. pytorch-metric-learning's SmoothAP ranks a batch of "
        "embeddings for each of its rows: for our loss that is one class a row, on the matrix of "
        "similarities, and both return the same number.",
    )
    for library, how, makers in OTHERS:
        if not installed(library):
            table.rows.append([library, f"not installed: `{how}`", "", "", ""])
            continue
        for make in makers[:1] if quick else makers:
            name, mine, other = make()
            progress(f"{library}, {name}")
            ours, theirs = compare(mine, other)
            table.rows.append(
                [library, name, f"{theirs / ours:.3g}", milliseconds(ours), milliseconds(theirs)]
            )
    return table


def libauc(rows: int) -> tuple[str, Step, Step]:
    """SmoothAP against APLoss on one pool."""
    x, y = Case(rows).data()
    loss = importlib.import_module("libauc.losses").APLoss(rows)
    index = torch.arange(rows)

    def theirs() -> None:
        loss(x.clone().requires_grad_().sigmoid(), y[:, None], index).backward()

    return f"pool of {rows:,}, 5 %", training_step(Case(rows), OURS), theirs


def metric_learning(groups: int) -> tuple[str, Step, Step]:
    """Both losses on embeddings of so many groups of as many rows."""
    rows = groups**2
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(groups).repeat_interleave(groups)
    centres = torch.randn(groups, 32, generator=generator)
    embeddings = centres[group] + torch.randn(rows, 32, generator=generator)
    embeddings = nn.functional.normalize(embeddings)
    theirs = importlib.import_module("pytorch_metric_learning.losses").SmoothAPLoss(temperature=0.05)
    ours = losses.SmoothAPLoss(rows, queue_size=0, temperature=0.05, gather_distributed=False)
    same = (group[:, None] == group).long()

    def mine() -> Tensor:
        leaf = embeddings.clone().requires_grad_()
        loss: Tensor = ours(leaf @ leaf.t(), same)
        loss.backward()
        return loss.detach()

    def other() -> Tensor:
        loss: Tensor = theirs(embeddings.clone().requires_grad_(), group)
        loss.backward()
        return loss.detach()

    torch.testing.assert_close(mine(), other(), rtol=0, atol=1e-5)
    return f"{rows} embeddings in groups of {groups}", mine, other


# Module, how to install it without touching torch, and what to compare.
OTHERS: tuple[tuple[str, str, tuple[Callable[[], tuple[str, Step, Step]], ...]], ...] = (
    ("libauc", "pip install --no-deps libauc", (partial(libauc, 1024), partial(libauc, 2**14))),
    (
        "pytorch_metric_learning",
        "pip install -e '.[bench]'",
        (partial(metric_learning, 8), partial(metric_learning, 16)),
    ),
)


def scaling(progress: Progress) -> Table:
    """Time against rows; also draws docs/benchmarks.svg."""
    table = Table("Scaling, 5 % positives, τ = 0.05", ["rows", "ours", "imbalanced-losses", "torch.sort"])
    curves: dict[str, list[tuple[float, float]]] = {"ours": [], "imbalanced-losses": [], "torch.sort": []}
    for power in range(8, 22):
        rows = 2**power
        progress(f"scaling, {rows:,} rows")
        steps: dict[str, Step] = {
            "ours": training_step(Case(rows), OURS),
            "torch.sort": torch.randn(rows).sort,
        }
        if power <= 16 and installed(REFERENCE):
            steps["imbalanced-losses"] = training_step(Case(rows), REFERENCE)
        times = dict(zip(steps, compare(*steps.values(), seconds=1.0), strict=True))
        for name, taken in times.items():
            curves[name].append((rows, taken))
        cells = [milliseconds(times[name]) if name in times else "" for name in curves]
        table.rows.append([f"{rows:,}", *cells])
    scaling_chart(curves)
    table.figure = "![Time of a training step against the rows of the pool](benchmarks.svg)"
    return table
