"""IMB206: how large the matrix of pairs would be, and what Smooth-AP takes without writing it down."""

from __future__ import annotations

import time

import torch

from losses import SmoothAPLoss
from tests.clinic.clinic import ClinicRun
from tests.clinic.evidence.experiment import Cells, Experiment, Key
from tests.clinic.evidence.table import Table

ROWS = (4096, 65_536, 262_144, 1_048_576)
SHARES = (0.05, 0.3)
#: Bytes of a pair, and of a GiB.
FLOAT, GIB = 4, 2**30
#: The fastest of some: what else the machine does only ever adds to a time.
REPEATS = 5


def runs(seed: int) -> dict[Key, ClinicRun]:
    """Nothing is trained."""
    return {}


def gibibytes(rows: int, share: float) -> str:
    """The matrix of every positive against every row."""
    size = share * rows * rows * FLOAT / GIB
    return f"{size:,.0f}" if size >= 10.0 else f"{size:.1g}"


def seconds(rows: int, share: float) -> float:
    """Loss and gradient of one batch in one thread, by the time that it has the core."""
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(rows, generator=generator) < share).long()
    logits = (torch.randn(rows, generator=generator) + targets).requires_grad_()
    loss_fn = SmoothAPLoss(1, queue_size=0)
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        loss_fn(logits, targets).backward()
        times.append(time.process_time() - start)
    return min(times)


def table(cells: Cells) -> Table:
    """A row for each number of rows."""
    torch.set_num_threads(1)
    return Table(
        ("rows", "positives", "matrix of pairs", "time"),
        [
            (
                f"{rows:,}",
                " / ".join(f"{share:.0%}".replace("%", " %") for share in SHARES),
                " / ".join(gibibytes(rows, share) for share in SHARES) + " GiB",
                " / ".join(f"{seconds(rows, share):.1g}" for share in SHARES) + " s",
            )
            for rows in ROWS
        ],
    )


EXPERIMENT = Experiment("memory that is not needed, and time that is", runs, table, seeds=1)
