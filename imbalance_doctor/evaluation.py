"""Validation in batches: collected as it comes, evaluated once at the end."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from imbalance_doctor.guard import Guard
from imbalance_doctor.metrics import flat
from imbalance_doctor.records import Array

Log = Callable[[Any, Any], None]


class Evaluation:
    """Scores and targets of one pass over the validation data; made by `Doctor.evaluation`.

    Average precision, AUROC and recall at a budget belong to all rows together: a mean over batches is
    another number. The scores are therefore kept, as float32 on the host, until `close`.

    Args:
        log: What to do with all scores and targets.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._scores: list[Array] = []
        self._targets: list[Any] = []
        self._keeping = Guard("an evaluation in batches", "this evaluation is left out")

    def update(self, scores: Any, targets: Any) -> None:
        """Add a batch.

        Args:
            scores: Logits, as in `log_eval`.
            targets: Targets, as in `log_eval`.
        """
        self._keeping(self._keep, scores, targets)

    def close(self) -> None:
        """Evaluate and record what was added; a second call does nothing."""
        scores, targets = self._scores, self._targets
        self._scores, self._targets = [], []
        if scores and self._keeping.failure is None:
            joined = self._keeping(lambda: (np.concatenate(scores), np.concatenate(targets)))
            if joined is not None:
                scores.clear()
                self._log(*joined)

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _keep(self, scores: Any, targets: Any) -> None:
        logits, labels = flat(scores, targets)
        self._scores.append(logits.astype(np.float32))
        self._targets.append(np.array(labels))
