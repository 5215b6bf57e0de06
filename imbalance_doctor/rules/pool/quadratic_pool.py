"""IMB206: a pool of this size needs the near-linear kernels."""

from __future__ import annotations

from dataclasses import dataclass

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import RANKING, Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.pool import recent


@dataclass(frozen=True)
class QuadraticPool(Rule):
    """Every positive is compared with every row of a large pool.

    ## Symptom
    Positives times rows, over all classes, make a matrix of a GiB or more.

    ## Cause
    Rows that are many by nature (tokens of sequences, pixels, anchors), flattened into one batch.

    ## Remedy
    None is needed: the kernels of these losses never build the matrix. An implementation that does (the
    definition, typed in; another library) needs the memory that is printed, several times over with autograd.
    `max_pool_size` is not needed for memory, and costs positives (see IMB204).

    ## Evidence
    Pooled positives times pool size, summed over classes, at 4 bytes. Smooth-AP, loss and gradient, time of
    one core:

    | rows | positives | matrix of pairs | time |
    |---|---|---|---|
    | 4,096 | 5 % / 30 % | 0.003 / 0.02 GiB | 0.009 / 0.009 s |
    | 65,536 | 5 % / 30 % | 0.8 / 5 GiB | 0.02 / 0.02 s |
    | 262,144 | 5 % / 30 % | 13 / 77 GiB | 0.03 / 0.06 s |
    | 1,048,576 | 5 % / 30 % | 205 / 1,229 GiB | 0.1 / 0.2 s |

    So the quadratic cost is that of other implementations; 0.4 µs a row is an upper estimate for this one.

    ## Known problems
    The time depends on the machine, the spread of the scores over the temperature, and the device; the
    statistics of a record sort the pool and take longer than the loss.

    ## References
    docs/kernels.md of this project.
    """

    code = "IMB206"
    name = "quadratic-pool"
    severity = "info"
    kinds = RANKING
    requires = ("pool_size", "pool_pos_count")
    foreseeable = True

    symptom = (
        "{rows:,.0f} rows are compared with {positives:,.0f} positives: a matrix of all pairs would take "
        "{gib:.1f} GiB."
    )
    cause = "the pool holds many rows, as when sequences or images are flattened."
    remedy = (
        "none is needed; the kernel in use never builds the matrix and takes about {seconds:.1g} s on one "
        "core. Leave max_pool_size out."
    )

    gib: float = threshold(
        1.0,
        "Size of the matrix from which it is reported, in GiB: with autograd's copies, what a small GPU can "
        "spare.",
    )
    seconds: float = threshold(
        4e-7, "Seconds for loss and gradient of a row, at most, as measured on one core."
    )

    def examine(self, window: Window) -> Verdict:
        """Multiply rows and positives of the newest pool."""
        rows = recent(window, "pool_size", 1)[0]
        positives = recent(window, "pool_pos_count", 1)[0]
        total = positives.sum()
        gib = 4.0 * rows * total / 2**30
        if gib < self.gib:
            return []
        seconds = self.seconds * rows * len(positives)
        index = 0 if len(positives) == 1 else None
        return [Evidence({"rows": rows, "positives": total, "gib": gib, "seconds": seconds}, index)]
