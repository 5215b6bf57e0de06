"""The losses and their kernels against other libraries, `torch.sort` and the exact result."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
        options = {"surrogate": "pairwise", "beta": 1.0} if self.loss == "PAUCAtBudgetLoss" else {}
        options |= {"temperature": self.tau, "queue_size": self.queue, "gather_distributed": False}
        module: nn.Module = getattr(source, self.loss)(self.classes, **options)
        return module


OURS, REFERENCE = "losses", "imbalanced_losses"

AGAINST_REFERENCE = {
    "default call: batch 256, queue 1,024, 1 %": (Case(256, rate=0.01, queue=1024, tau=0.01), "never slower"),
    "default call: batch 256, queue 1,024, 5 %": (Case(256, queue=1024, tau=0.01), "never slower"),
    "default call: batch 256, queue 1,024, 20 %": (Case(256, rate=0.2, queue=1024, tau=0.01), "never slower"),
    "pool of 1,024, 5 %": (Case(1024), "never slower"),
    "pool of 4,096, 5 %": (Case(4096), ""),
    "pool of 16,384, 5 %": (Case(2**14), "40"),
    "pool of 65,536, 5 %": (Case(2**16, slow=True), "500"),
    "100 classes, pool of 16,384": (Case(2**14, classes=100, slow=True), "10"),
    "1,000 classes, batch 2,048, queue 1,024": (Case(2048, classes=1000, queue=1024, slow=True), "8"),
    "pairwise partial AUC, β = 1, pool of 65,536": (
        Case(2**16, loss="PAUCAtBudgetLoss", tau=0.1, slow=True),
        "200",
    ),
}

MEMORY = {
    "pool of 65,536, 5 %": (Case(2**16), "20"),
    "pool of 1,048,576, 0.5 %": (Case(2**20, rate=0.005), "100"),
    "pool of 1,048,576, 5 %": (Case(2**20), "100"),
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
    yield accuracy(quick, progress)
    yield against_sort(quick, progress)
    yield thresholds(quick, progress)
    yield focal(progress)
    yield against_reference(quick, progress)
    yield memory(quick, progress)
    others = against_others(progress)
    if others.rows:
        yield others
    if not quick:
        yield scaling(progress)


def against_reference(quick: bool, progress: Progress) -> Table:
    table = Table("Against imbalanced-losses 0.6.0", ["work", "times faster", "at least", "ours", "theirs"])
    if importlib.util.find_spec(REFERENCE) is None:
        progress("imbalanced-losses is not installed")
        return table
    for name, (case, goal) in AGAINST_REFERENCE.items():
        if quick and case.slow:
            continue
        progress(name)
        ours, theirs = compare(training_step(case, OURS), training_step(case, REFERENCE))
        row = [name, f"{theirs / ours:.3g}", goal, milliseconds(ours), milliseconds(theirs)]
        table.rows.append(row)
    return table


def against_sort(quick: bool, progress: Progress) -> Table:
    rows = 2**17 if quick else 2**20
    table = Table(
        f"Forward and backward over a pool of {rows:,}, against torch.sort of as many floats",
        ["positives", "τ", "share of the sort's time", "at most", "kernel", "sort"],
    )
    unsorted = torch.randn(rows)
    for rate in (0.005, 0.05):
        for tau in (0.01, 0.1, 0.5):
            progress(f"{rows:,} rows, {rate:.1%} positives, τ = {tau}")
            kernel, sort = compare(kernel_step(rows, rate, tau), unsorted.sort)
            row = [
                f"{rate:.1%}",
                f"{tau}",
                f"{kernel / sort:.2f}",
                "0.25",
                milliseconds(kernel),
                milliseconds(sort),
            ]
            table.rows.append(row)
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
        table.rows.append([name, f"{ours / theirs:.3f}", "0.1", milliseconds(ours), milliseconds(theirs)])
    if not quick:
        progress("quantile of 20 million")
        many = torch.rand(20_000_000, 1)
        (ours,) = compare(lambda: quantile(many, 0.995, interpolation="higher"), least=3)
        table.rows.append(["20,000,000", "", "works", milliseconds(ours), "refuses"])
    return table


def memory(quick: bool, progress: Progress) -> Table:
    table = Table("Extra memory of one step", ["work", "ours", "at most", "imbalanced-losses"])
    for name, (case, goal) in MEMORY.items():
        progress(f"memory, {name}")
        ours = extra_memory(__name__, name, OURS)
        fits = case.rows <= 2**16 and not quick
        theirs = mebibytes(extra_memory(__name__, name, REFERENCE)) if fits else ""
        table.rows.append([name, mebibytes(ours), f"{goal} MiB", theirs])
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
    table.rows.append(
        ["16,384 × 1,000", f"{ours / theirs:.2f}", "1.2", milliseconds(ours), milliseconds(theirs)]
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
    table = Table(
        "Accuracy against the definition in float64, 16,384 rows, worst of τ = 0.01, 0.1, 1, 10",
        ["type", "error of the loss", "at most", "error of the gradient / its largest", "at most"],
    )
    x, y = Case(2**12 if quick else 2**14, rate=0.02).data()
    positive = (y == 1)[:, None]
    for dtype, goals in ((torch.float32, ("1e-7", "2e-6")), (torch.float64, ("1e-12", "1e-9"))):
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
        table.rows.append([str(dtype)[6:], f"{worst[0]:.0e}", goals[0], f"{worst[1]:.0e}", goals[1]])
    return table


def against_others(progress: Progress) -> Table:
    """Libraries with a loss of the same aim, where they are installed."""
    table = Table("Against other libraries, 1,024 rows, 5 %", ["library", "times faster", "ours", "theirs"])
    x, y = Case(1024).data()
    ours = training_step(Case(1024), OURS)
    steps: dict[str, Step] = {}
    if importlib.util.find_spec("libauc") is not None:
        average_precision = importlib.import_module("libauc.losses").APLoss(len(y))
        index = torch.arange(len(y))

        def libauc() -> None:
            average_precision(x.clone().requires_grad_().sigmoid(), y[:, None], index).backward()

        steps["LibAUC APLoss"] = libauc
    if importlib.util.find_spec("pytorch_metric_learning") is not None:
        metric = importlib.import_module("pytorch_metric_learning.losses").SmoothAPLoss()
        labels = torch.arange(128).repeat_interleave(8)
        embeddings = torch.nn.functional.normalize(torch.randn(1024, 16))

        def metric_learning() -> None:
            metric(embeddings.clone().requires_grad_(), labels).backward()

        steps["pytorch-metric-learning SmoothAP"] = metric_learning
    for name, step in steps.items():
        progress(name)
        mine, theirs = compare(ours, step)
        table.rows.append([name, f"{theirs / mine:.3g}", milliseconds(mine), milliseconds(theirs)])
    return table


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
        if power <= 16 and importlib.util.find_spec(REFERENCE) is not None:
            steps["imbalanced-losses"] = training_step(Case(rows), REFERENCE)
        times = dict(zip(steps, compare(*steps.values(), seconds=1.0), strict=True))
        for name, taken in times.items():
            curves[name].append((rows, taken))
        cells = [milliseconds(times[name]) if name in times else "" for name in curves]
        table.rows.append([f"{rows:,}", *cells])
    scaling_chart(curves)
    return table
