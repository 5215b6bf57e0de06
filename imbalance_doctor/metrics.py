"""Validation metrics per class, from scores and targets: what the rules compare the training loss with.

One sort per class, exact under ties, the definitions of scikit-learn (the tests compare with it).
They are here, and not taken from a library, because the monitor needs them on machines that have only
its core dependencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.records import Array, as_array

#: Names and meanings of what `evaluate` returns, per class.
METRICS: dict[str, str] = {
    "average_precision": "Average precision: area under the precision-recall curve, as a step function.",
    "auroc": "Area under the ROC curve.",
    "recall_at_budget": "Share of positives among the top-scored rows, as many as the budget allows.",
    "partial_auc": "Mean recall over false positive rates from 0 to the budget.",
    "calibration_error": "Expected calibration error over 15 bins of equal count.",
    "mean_probability": "Mean predicted probability of the class; with `positive_rate` it shows the bias.",
    "recall_at_default": "Recall of the default decision (p ≥ 0.5, or argmax).",
    "precision_at_default": "Precision of the default decision; nan where nothing is predicted positive.",
    "accuracy_at_default": "Accuracy of the default decision.",
    "positive_rate": "Share of positives in the evaluation data: the average precision of chance.",
    "positives": "Positives in the evaluation data.",
    "rows": "Rows in the evaluation data.",
}

#: Share of rows (recall) or of negatives (partial AUC) that may be flagged, unless the user says so:
#: 1 % is what a review team of an ordinary fraud or screening programme can look at.
DEFAULT_BUDGET = 0.01

#: Bins of the calibration error: 15 is the number of Guo et al., "On Calibration of Modern Neural
#: Networks", ICML 2017. Of equal count, because with rare positives bins of equal width hold nothing.
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Sheet:
    """Evaluation data in one form: scores, labels, probabilities and decisions, each ``[N, C]``."""

    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    probability: NDArray[np.float64]
    predicted: NDArray[np.bool_]


def sheet(scores: Any, targets: Any) -> Sheet:
    """Bring logits and targets of any of the three tasks into one form.

    Args:
        scores: Logits: ``[N]`` or ``[N, 1]`` for binary, ``[N, C]`` otherwise.
        targets: ``[N]`` or ``[N, 1]`` class ids (0/1 for binary), or ``[N, C]`` of 0/1 for multi-label.

    Raises:
        ValueError: The shapes do not fit, or there is no row.
    """
    logits = _matrix(scores, "scores").astype(np.float64)
    labels = _matrix(targets, "targets")
    rows, classes = logits.shape
    if len(labels) != rows or labels.shape[1] not in (1, classes) or rows == 0:
        raise ValueError(
            f"expected scores [N] or [N, C] and targets [N], [N, 1] or [N, C] with at least one row; "
            f"got scores {list(logits.shape)} and targets {list(labels.shape)}"
        )
    if not np.isin(labels, (0, 1)).all() and (classes == 1 or labels.shape[1] == classes):
        raise ValueError("expected targets of 0 and 1 for one logit a label; got other values")
    if classes == 1 or labels.shape[1] == classes:
        positive = labels.astype(bool)
        probability = _sigmoid(logits)
        return Sheet(logits, positive, probability, logits >= 0)
    ids = labels[:, 0].astype(np.int64)
    if ((ids != labels[:, 0]) | (ids < 0) | (ids >= classes)).any():
        raise ValueError(f"expected class ids from 0 to {classes - 1}; got {labels.min()} to {labels.max()}")
    with np.errstate(invalid="ignore"):
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    one_hot = np.arange(classes)
    return Sheet(
        logits,
        ids[:, None] == one_hot,
        shifted / shifted.sum(axis=1, keepdims=True),
        logits.argmax(axis=1)[:, None] == one_hot,
    )


def evaluate(scores: Any, targets: Any, *, budget: float = DEFAULT_BUDGET) -> dict[str, Array]:
    """All of `METRICS`, each ``[C]``; nan where a class lacks positives or negatives.

    Args:
        scores: Logits, see `sheet`.
        targets: Targets, see `sheet`.
        budget: Share that may be flagged, for ``recall_at_budget`` and ``partial_auc``; in (0, 1].

    Raises:
        ValueError: The shapes do not fit, or `budget` is out of range.
    """
    if not 0 < budget <= 1:
        raise ValueError(f"expected a budget in (0, 1], got {budget}")
    data = sheet(scores, targets)
    columns = [_one_class(data, c, budget) for c in range(data.scores.shape[1])]
    return {name: as_array([column[name] for column in columns]) for name in METRICS}


def _one_class(data: Sheet, c: int, budget: float) -> dict[str, float]:
    scores, positive = data.scores[:, c], data.positive[:, c]
    predicted, probability = data.predicted[:, c], data.probability[:, c]
    rows, positives = len(scores), int(positive.sum())
    hits = int((predicted & positive).sum())
    result = dict.fromkeys(METRICS, np.nan)
    result.update(
        positive_rate=positives / rows,
        positives=positives,
        rows=rows,
        accuracy_at_default=float((predicted == positive).mean()),
        precision_at_default=hits / predicted.sum() if predicted.any() else np.nan,
        recall_at_default=hits / positives if positives else np.nan,
    )
    if not np.isfinite(scores).all():
        return result
    result.update(
        calibration_error=_calibration_error(probability, positive),
        mean_probability=float(probability.mean()),
    )
    if 0 < positives < rows:
        tpr, fpr, flagged = _curve(scores, positive)
        precision = tpr[1:] * positives / flagged[1:]
        result.update(
            average_precision=float((np.diff(tpr) * precision).sum()),
            auroc=_area_up_to(fpr, tpr, 1.0),
            recall_at_budget=float(np.interp(budget * rows, flagged, tpr)),
            partial_auc=_area_up_to(fpr, tpr, budget) / budget,
        )
    return result


def _curve(
    scores: NDArray[Any], positive: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Recall, false positive rate and rows flagged at each distinct threshold, from none to all."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(positive[order], dtype=np.float64)
    # Tied scores cannot be told apart: a threshold takes all of them or none.
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found, flagged = np.append(0.0, found[ends]), np.append(0.0, ends + 1.0)
    return found / found[-1], (flagged - found) / (flagged[-1] - found[-1]), flagged


def _area_up_to(x: NDArray[Any], y: NDArray[Any], limit: float) -> float:
    inside = x <= limit
    xs = np.append(x[inside], limit)
    ys = np.append(y[inside], np.interp(limit, x, y))
    return float((np.diff(xs) * (ys[1:] + ys[:-1]) / 2).sum())


def _calibration_error(probability: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    order = np.argsort(probability, kind="stable")
    gaps = [
        len(part) * abs(probability[part].mean() - positive[part].mean())
        for part in np.array_split(order, min(CALIBRATION_BINS, len(order)))
    ]
    return float(sum(gaps) / len(order))


def as_numpy(values: Any) -> NDArray[Any]:
    """An array of what may be a tensor, wherever it lives; bfloat16 has no NumPy dtype."""
    if hasattr(values, "detach"):
        values = values.detach()
        values = (values.float() if values.is_floating_point() else values).cpu().numpy()
    return np.asarray(values)


def _matrix(values: Any, name: str) -> NDArray[Any]:
    array = as_numpy(values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"expected {name} of one or two dimensions, got {array.ndim}")
    return array


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # nan stays nan
        return np.exp(-np.logaddexp(0.0, -x))
