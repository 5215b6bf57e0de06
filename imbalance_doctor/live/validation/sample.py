"""Validation in batches: collected as it comes, evaluated once at the end."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.guard import Guard
from imbalance_doctor.records import Array
from imbalance_doctor.scores.metrics import flat

Log = Callable[[Any, Any], None]

#: Scores that one evaluation keeps: 200 MB as float32. That is ImageNet's validation data whole (50,000 rows
#: of 1,000 classes), and of a segmentation with 20 classes 2.5 million pixels: more rows than any of the
#: metrics needs, whose errors go with the number of positives.
KEPT = 50_000_000


class Sample:
    """Scores and targets in the order in which they come, as float32 on the host, up to `KEPT` scores.

    When there are more, every second row stays and every second one that follows is taken, then every
    fourth, and so on: a sample that is as even over the data as the order of the rows, and always the same.

    Args:
        ranks: Processes that keep an equal share of them each.
    """

    def __init__(self, ranks: int = 1) -> None:
        self._limit = KEPT // ranks
        #: Of so many rows that came, the first one is kept.
        self.stride = 1
        self._batches: list[tuple[Array, NDArray[Any]]] = []
        self._came = self._scores = 0

    def add(self, scores: Any, targets: Any) -> None:
        """Add a batch.

        Args:
            scores: Logits, as in `Doctor.log_eval`.
            targets: Targets, as in `Doctor.log_eval`.

        Raises:
            ValueError: The shapes do not fit.
        """
        logits, labels = flat(scores, targets)
        taken = slice(-self._came % self.stride, None, self.stride)
        self._came += len(logits)
        self._keep(logits[taken].astype(np.float32), labels[taken].copy())
        while self._scores > self._limit and sum(len(kept) for kept, _ in self._batches) > 1:
            self._thin()

    def joined(self) -> tuple[Array, NDArray[Any]] | None:
        """All rows that are kept, ``[N, C]`` and targets, or None; the next ones begin anew.

        Raises:
            ValueError: The batches differ in their number of classes.
        """
        batches = self._batches
        self._batches, self._came, self._scores, self.stride = [], 0, 0, 1
        if not batches:
            return None
        scores, targets = zip(*batches, strict=True)
        return np.concatenate(scores), np.concatenate(targets)

    def _keep(self, scores: Array, targets: NDArray[Any]) -> None:
        if len(scores) or self.stride == 1:  # small batches have no row in a wide stride
            self._batches.append((scores, targets))
            self._scores += scores.size

    def _thin(self) -> None:
        """Keep every second of the kept rows, counted over all batches."""
        self.stride *= 2
        batches, self._batches, self._scores, before = self._batches, [], 0, 0
        for scores, targets in batches:
            half = slice(before % 2, None, 2)
            before += len(scores)
            self._keep(scores[half].copy(), targets[half].copy())  # a view would hold all of them


class Evaluation:
    """Scores and targets of one pass over the validation data; made by `Doctor.evaluation`.

    Average precision, AUROC and recall at a budget belong to all rows together: a mean over batches is
    another number. The scores are therefore kept, as float32 on the host, until `close`. Of more than 50
    million scores (200 MB) every second row in the order of their coming is evaluated, of more than 100
    million every fourth, and so on; the metric ``rows`` has their number. Where rows of different kinds take
    turns, as in pairs, shuffle data of that size.

    Args:
        log: What to do with all scores and targets.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._rows = Sample()
        self._keeping = Guard("an evaluation in batches", "this evaluation is left out")

    def update(self, scores: Any, targets: Any) -> None:
        """Add a batch.

        Args:
            scores: Logits, as in `log_eval`.
            targets: Targets, as in `log_eval`.
        """
        self._keeping(self._rows.add, scores, targets)

    def close(self) -> None:
        """Evaluate and record what was added; a second call does nothing."""
        joined = self._keeping(self._rows.joined)
        self._rows = Sample()  # after a failure too: nobody needs them any more
        if joined is not None:
            self._log(*joined)

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
