"""What an evaluation says: its metrics, as the watched losses train the scores, and what is odd in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from imbalance_doctor.history import Window
from imbalance_doctor.live.listening.watcher import Watcher
from imbalance_doctor.live.validation.probabilities import are_probabilities, as_logits, unlike_training
from imbalance_doctor.losses import kinds
from imbalance_doctor.records import Array, LossInfo, as_array
from imbalance_doctor.scores.metrics import (
    DEFAULT_BUDGET,
    IGNORED,
    IGNORED_ROWS,
    UNLABELLED,
    flat,
    measured,
    scored_rows,
)


@dataclass(frozen=True)
class Remark:
    """Something odd in an evaluation.

    Attributes:
        kind: Of this kind one remark is enough.
        text: A clause.
        aloud: Whether to warn of it.
    """

    kind: str
    text: str
    aloud: bool = True


def validated(
    scores: Any,
    targets: Any,
    budget: float | None,
    watchers: Iterable[Watcher],
    windows: Iterable[Window],
) -> tuple[dict[str, Array], list[Remark]]:
    """Evaluate scores.

    Args:
        scores: As in `Doctor.log_eval`.
        targets: As in `Doctor.log_eval`.
        budget: As in `Doctor.log_eval`.
        watchers: The watched losses.
        windows: What was recorded of them.

    Returns:
        The metrics by name, ``[C]`` each, and what is odd.

    Raises:
        ValueError: The shapes do not fit, or there is no row.
    """
    watched = list(watchers)
    losses = [watcher.info for watcher in watched]
    ignored = int(_setting(losses, (int,), "ignore_index", default=IGNORED))
    logits, labels = flat(scores, targets)
    exclusive = logits.shape[1] > 1 == labels.shape[1]
    remarks: list[Remark] = []
    counted = ((labels != ignored) & (labels != IGNORED)).any(axis=1)
    if are_probabilities(logits if counted.all() else logits[counted], exclusive):
        expected = any(isinstance(watcher.module, nn.BCELoss) for watcher in watched)
        unlike = unlike_training(logits, exclusive, windows)
        if expected or unlike:
            logits = as_logits(logits, exclusive)
        if unlike and not expected:
            remarks.append(_probabilities(unlike))
    data = scored_rows(logits, labels, by_column=_ranks_columns(losses), ignore_index=ignored)
    remarks += [
        Remark(kind, f"in log_eval, {text}; they do not count", aloud=kind != UNLABELLED)
        for kind, text in data.left_out.items()
    ]
    if budget is None:
        budget = float(_setting(losses, (int, float), "quantile", "beta", default=DEFAULT_BUDGET))
    metrics = measured(data, budget)
    if exclusive and 0 <= ignored < data.classes:
        left_out = int((labels == ignored).sum())
        metrics[IGNORED_ROWS] = as_array([left_out * (c == ignored) for c in range(data.classes)])
    return metrics, remarks


def _probabilities(unlike: float) -> Remark:
    return Remark(
        "probabilities",
        "the scores given to log_eval are evaluated as probabilities: all of them could be "
        f"probabilities, but {100 * unlike:.0f} % of the logits in training could not. Give log_eval "
        "logits, the output of the model before its sigmoid or softmax",
    )


def _ranks_columns(losses: Iterable[LossInfo]) -> bool:
    """Whether a class's logits are comparable between rows: not if a softmax alone has trained them.

    A loss of a kind that we do not know, over exclusive classes, is most likely a softmax's too.
    """
    return not {loss.kind for loss in losses} <= kinds.SOFTMAX | {kinds.OTHER}


def _setting(losses: Sequence[LossInfo], types: tuple[type, ...], *names: str, default: float) -> Any:
    """The first of these settings that a watched loss has, or the main loss of a wrapper."""
    for loss in losses:
        for name in names:
            value = loss.setting(name)
            if isinstance(value, types):
                return value
    return default
