"""Validation metrics per class, from scores and targets: what the rules compare the training loss with.

One sort per class, exact under ties, the definitions of scikit-learn (the tests compare with it); no metric
depends on the order of the rows. They are here, and not taken from a library, because the monitor needs them
on machines that have only its core dependencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.records import Array, as_array
from imbalance_doctor.statistics import Stat


def _metric(name: str, unit: str, meaning: str, *, panel: str = "validation") -> Stat:
    return Stat(name, "class", unit, meaning, panel=panel)


_SHARE = "share, 0-1"

#: What `evaluate` returns, by name, per class. Those that describe the data and not the model have no panel.
METRICS: Mapping[str, Stat] = {
    metric.name: metric
    for metric in (
        _metric(
            "average_precision",
            _SHARE,
            "Average precision: area under the precision-recall curve, as a step function.",
        ),
        _metric("auroc", _SHARE, "Area under the ROC curve."),
        _metric(
            "recall_at_budget",
            _SHARE,
            "Share of positives among the top-scored rows, as many as the budget allows.",
        ),
        _metric("partial_auc", _SHARE, "Mean recall over false positive rates from 0 to the budget."),
        _metric(
            "calibration_error",
            "probability",
            "Expected calibration error over 15 bins of equal count; ties share a bin.",
        ),
        _metric(
            "mean_probability",
            "probability",
            "Mean predicted probability of the class; its distance from `positive_rate` is the bias.",
        ),
        _metric("recall_at_default", _SHARE, "Recall of the default decision (p ≥ 0.5, or argmax)."),
        _metric(
            "precision_at_default",
            _SHARE,
            "Precision of the default decision; nan where nothing is predicted positive.",
        ),
        _metric("accuracy_at_default", _SHARE, "Accuracy of the default decision."),
        _metric(
            "positive_rate",
            _SHARE,
            "Share of positives in the evaluation data: the average precision of chance.",
        ),
        _metric("positives", "rows", "Positives in the evaluation data.", panel=""),
        _metric("rows", "rows", "Rows in the evaluation data.", panel=""),
    )
}

#: What an evaluation says besides.
IGNORED_ROWS = "ignored_rows"

#: All that an evaluation may hold, by name.
CATALOGUE: Mapping[str, Stat] = {
    **METRICS,
    IGNORED_ROWS: _metric(
        IGNORED_ROWS,
        "rows",
        "Rows of a class whose id a watched loss ignores: no metric counts them. 0 for the other classes.",
        panel="",
    ),
}

#: Share of rows (recall) or of negatives (partial AUC) that may be flagged, unless the user says so:
#: 1 % is what a review team of an ordinary fraud or screening programme can look at.
DEFAULT_BUDGET = 0.01

#: Bins of the calibration error: 15 is the number of Guo et al., "On Calibration of Modern Neural
#: Networks", ICML 2017. Of equal count, because with rare positives bins of equal width hold nothing.
CALIBRATION_BINS = 15


#: The target of a row that does not count, as torch's losses have it.
IGNORED = -100

#: Numbers that are held in float64 at once.
BLOCK = 1_000_000


#: What a sheet leaves out, by kind: targets that no class has, targets that are nan, scores that are nan.
STRANGE, UNLABELLED, UNSCORED = "strange", "unlabelled", "unscored"


@dataclass(frozen=True)
class Column:
    """One class of the evaluation data, ``[N]`` each."""

    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    probability: NDArray[np.float64]
    predicted: NDArray[np.bool_]


@dataclass(frozen=True)
class Exclusive:
    """Of classes that exclude each other, row by row, ``[N]`` each.

    Attributes:
        log_total: logsumexp of the logits.
        log_rivals: The same without the largest of them.
        size: How large the logits are that these sums are made of: times `eps`, their error.
        eps: Relative error of a logit, as it was given.
        decision: argmax of the logits.
        by_column: Whether a class ranks the rows by its logit, as a loss that compares the rows of a column
            has trained it to, and not by its probability.
    """

    log_total: NDArray[np.float64]
    log_rivals: NDArray[np.float64]
    size: NDArray[np.float64]
    eps: float
    decision: NDArray[np.int64]
    by_column: bool

    def log_odds(
        self, logits: NDArray[np.float64], chosen: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Those of a class against all others, and how far two that are tied can lie apart.

        They are in the order of the class's probability, without its ties at 1. A logit alone is not
        comparable between rows: a softmax is blind to what is added to all of a row.
        """
        with np.errstate(invalid="ignore"):
            log_p = np.where(chosen, -np.inf, logits - self.log_total)  # at most log 1/2 where not chosen
            odds = log_p - np.log1p(-np.exp(np.minimum(log_p, -np.log(2.0))))
            odds = np.where(chosen, logits - self.log_rivals, odds)
            # The logits' own rounding, and that of the arithmetic here. Two rows may err in opposite
            # directions, and logits that are logarithms of probabilities have been rounded twice.
            error = self.eps * (np.abs(logits) + self.size) + np.finfo(np.float64).eps * (1.0 + np.abs(odds))
        return odds, 4.0 * np.where(np.isfinite(error), error, 0.0)


@dataclass(frozen=True)
class ScoredRows:
    """Evaluation data in one form, class by class: with a thousand classes nothing of ``[N, C]`` is copied.

    Attributes:
        logits: ``[N, C]``.
        labels: ``[N, C]``, from 0 to 1 where they count; or, of exclusive classes, the ids ``[N, 1]``.
        exclusive: What there is of exclusive classes; None under a sigmoid.
        ignored: A label that does not count, where one column has it and another may not.
        left_out: What else does not count, in words, by kind: `STRANGE`, `UNLABELLED`, `UNSCORED`.
    """

    logits: NDArray[Any]
    labels: NDArray[Any]
    exclusive: Exclusive | None = None
    ignored: int = IGNORED
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """C."""
        return int(self.logits.shape[1])

    def column(self, c: int) -> Column:
        """What there is of one class."""
        logits = self.logits[:, c].astype(np.float64)
        if self.exclusive is None:
            labels = self.labels[:, c]
            counted = _counted(labels, self.ignored) & _scored(logits)
            if not counted.all():
                logits, labels = logits[counted], labels[counted]
            return Column(logits, labels >= 0.5, _sigmoid(logits), logits >= 0)
        chosen, positive = self.exclusive.decision == c, self.labels[:, 0] == c
        odds, tolerance = self.exclusive.log_odds(logits, chosen)
        order = np.lexsort((tolerance, odds))  # the same for every order of the rows
        odds = _tied(odds[order], tolerance[order])
        scores = logits[order] if self.exclusive.by_column else odds
        return Column(scores, positive[order], _sigmoid(odds), chosen[order])


def _tied(values: NDArray[np.float64], tolerance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values in order; those that differ by rounding alone are made equal, the smallest of them.

    Neighbours within the tolerance of each other are tied. Where many values lie close, such neighbours form
    chains that are wider than any tie: these are cut every two tolerances.
    """
    places = np.arange(len(values))
    new = np.ones(len(values), np.bool_)
    with np.errstate(invalid="ignore", divide="ignore"):  # infinities are equal as they are
        new[1:] = ~(np.diff(values) <= np.maximum(tolerance[1:], tolerance[:-1]))
        starts = np.flatnonzero(new)
        chain = np.cumsum(new) - 1
        widest = np.maximum.reduceat(tolerance, starts) if len(values) else tolerance
        piece = np.floor((values - values[starts][chain]) / (2.0 * widest[chain]))
    new[1:] |= np.diff(np.nan_to_num(piece)) != 0
    tied: NDArray[np.float64] = values[np.maximum.accumulate(np.where(new, places, 0))]
    return tied


def _counted(labels: NDArray[Any], ignored: int) -> NDArray[np.bool_]:
    """Labels that count: those between 0 and 1, and not nan."""
    counted: NDArray[np.bool_] = (labels >= 0) & (labels <= 1) & (labels != ignored)
    return counted


def _scored(logits: NDArray[Any]) -> NDArray[np.bool_]:
    """Logits that are scores: not nan, and no overflow; -inf is a mask."""
    scored: NDArray[np.bool_] = logits < np.inf
    return scored


def sheet(scores: Any, targets: Any, *, by_column: bool = False, ignore_index: int = IGNORED) -> ScoredRows:
    """Bring logits and targets of any of the three tasks into one form.

    Rows and entries without a score (nan, an overflow) do not count, nor do targets that are no class's:
    labels below 0 or above 1 and class ids that the logits have no column for, such as 255 for "void" and -1
    for "unlabelled". A label between 0 and 1 is positive from 0.5 on, as it is in training.

    Args:
        scores: Logits: ``[N]`` or ``[N, 1]`` for binary, ``[N, C]``, ``(N, C, ...)`` or ``(N, ..., C)``
            otherwise.
        targets: ``[N]`` or ``[N, 1]`` class ids (0/1 for binary), or ``[N, C]`` of 0/1 for multi-label; or
            ``(N, ...)`` and ``(N, C, ...)``.
        by_column: See `Exclusive`.
        ignore_index: Targets with this value do not count, nor do those of -100.

    Raises:
        ValueError: The shapes do not fit, or no target counts.
    """
    return scored_rows(*flat(scores, targets), by_column=by_column, ignore_index=ignore_index)


def scored_rows(
    logits: NDArray[Any], labels: NDArray[Any], *, by_column: bool, ignore_index: int
) -> ScoredRows:
    """The rows of what `flat` returns; arguments as in `Doctor.log_eval`."""
    classes = logits.shape[1]
    if classes == 1 or labels.shape[1] == classes:
        counted = _counted(labels, ignore_index)
        left_out = _left_out(labels, counted, ignore_index, "other than 0 and 1")
        unscored = int((counted & ~_scored(logits)).sum())
        return ScoredRows(logits, labels, None, ignore_index, left_out | _unscored(unscored, "scores"))
    with np.errstate(invalid="ignore"):  # nan is no class
        ids = labels[:, 0].astype(np.int64)
    counted = (ids == labels[:, 0]) & (ids >= 0) & (ids < classes) & (ids != ignore_index)
    left_out = _left_out(labels[:, 0], counted, ignore_index, f"outside 0 to {classes - 1}")
    if not counted.all():
        logits, ids = logits[counted], ids[counted]
    blocks = np.array_split(logits, max(1, logits.size // BLOCK))
    total, rivals, size = (np.concatenate(part) for part in zip(*map(_log_sums, blocks), strict=True))
    scored = np.isfinite(total)
    if not scored.all():
        logits, ids, total, rivals, size = (each[scored] for each in (logits, ids, total, rivals, size))
        left_out |= _unscored(int((~scored).sum()), "rows of scores")
    # What half the precision holds are floats of 32 bits here, exactly.
    eps = float(np.finfo(np.float64 if logits.dtype.itemsize > 4 else np.float32).eps)
    exclusive = Exclusive(total, rivals, size, eps, logits.argmax(axis=1), by_column)
    return ScoredRows(logits, ids[:, None], exclusive, ignore_index, left_out)


def _left_out(labels: NDArray[Any], counted: NDArray[np.bool_], ignored: int, which: str) -> dict[str, str]:
    """What is left out besides the ignored target, in words, by kind.

    Raises:
        ValueError: Nothing counts.
    """
    if not counted.any():
        rows = f"{len(labels)} rows, all with the target {_some(labels)}" if len(labels) else "none"
        raise ValueError(f"expected at least one row that counts, got {rows}")
    others = labels[~counted & (labels != ignored) & (labels != IGNORED)]
    strange = others[others == others]
    found = {}
    if len(strange):
        found[STRANGE] = f"{len(strange):,} of {labels.size:,} targets are {which} ({_some(strange)})"
    if len(strange) < len(others):
        found[UNLABELLED] = f"{len(others) - len(strange):,} of {labels.size:,} targets are nan"
    return found


def _some(values: NDArray[Any]) -> str:
    """The first three different values, in words."""
    found = np.unique(values)
    return ", ".join([*(f"{value:g}" for value in found[:3]), *["..."] * (len(found) > 3)])


def _unscored(count: int, what: str) -> dict[str, str]:
    return {UNSCORED: f"{count:,} {what} are not finite"} if count else {}


def _log_sums(logits: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Logsumexp of each row, that without its largest logit, and how large the logits are that both sum."""
    others = logits.astype(np.float64)
    rows, best = np.arange(len(others)), others.argmax(axis=1)
    highest = others[rows, best]
    others[rows, best] = -np.inf
    with np.errstate(invalid="ignore", divide="ignore"):
        second = others.max(axis=1)
        share = np.exp(others - second[:, None])
        sums = share.sum(axis=1)
        rivals = second + np.log(sums)
        masked = np.isneginf(second)  # all but one class
        rivals[masked] = -np.inf
        np.copyto(others, 0.0, where=np.isneginf(others))
        size = (share * np.abs(others)).sum(axis=1) / sums
        return np.logaddexp(highest, rivals), rivals, np.abs(highest) + np.where(masked, 0.0, size)


def flat(scores: Any, targets: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits ``[N, C]`` and targets ``[N, 1]`` or ``[N, C]``: a row for each place of a sequence or an image.

    Raises:
        ValueError: The shapes do not fit.
    """
    logits, labels = as_numpy(scores), as_numpy(targets)
    shapes = f"got scores {list(logits.shape)} and targets {list(labels.shape)}"
    if logits.ndim > 2:
        places = (len(logits), *logits.shape[2:])
        if labels.shape == logits.shape[:-1] != places:  # classes last, as models of tokens have them
            logits, places = np.moveaxis(logits, -1, 1), labels.shape
        if labels.shape not in (places, logits.shape):
            raise ValueError(f"expected targets {list(places)} or of the scores' shape, {shapes}")
        classes = logits.shape[1]
        labels = labels.reshape(-1, 1) if labels.shape == places else _classes_last(labels, classes)
        logits = _classes_last(logits, classes)
    elif logits.ndim and labels.ndim in (1, 2):
        logits, labels = (x[:, None] if x.ndim == 1 else x for x in (logits, labels))
    if logits.ndim != 2 or len(labels) != len(logits) or labels.shape[1] not in (1, logits.shape[1]):
        raise ValueError(f"expected scores [N] or [N, C] and targets [N], [N, 1] or [N, C], {shapes}")
    return logits, labels


def _classes_last(values: NDArray[Any], classes: int) -> NDArray[Any]:
    return np.moveaxis(values, 1, -1).reshape(-1, classes)


def evaluate(
    scores: Any,
    targets: Any,
    *,
    budget: float = DEFAULT_BUDGET,
    by_column: bool = False,
    ignore_index: int = IGNORED,
) -> dict[str, Array]:
    """All of `METRICS`, each ``[C]``; nan where a class lacks positives or negatives.

    Args:
        scores: Logits, see `sheet`.
        targets: Targets, see `sheet`.
        budget: Share that may be flagged, for ``recall_at_budget`` and ``partial_auc``; in (0, 1].
        by_column: Rank the rows of exclusive classes by the class's logit, and not by its probability.
        ignore_index: Targets with this value do not count, nor do those of -100.

    Raises:
        ValueError: The shapes do not fit, no target counts, or `budget` is out of range.
    """
    return measured(sheet(scores, targets, by_column=by_column, ignore_index=ignore_index), budget)


def measured(data: ScoredRows, budget: float) -> dict[str, Array]:
    """All of `METRICS` of a sheet, as `evaluate` returns them.

    Raises:
        ValueError: `budget` is out of range.
    """
    if not 0 < budget <= 1:
        raise ValueError(f"expected budget to lie in (0, 1], got {budget}")
    columns = [_one_class(data.column(c), budget) for c in range(data.classes)]
    return {name: as_array([column[name] for column in columns]) for name in METRICS}


def _one_class(data: Column, budget: float) -> dict[str, float]:
    scores, positive, probability, predicted = data.scores, data.positive, data.probability, data.predicted
    rows, positives = len(scores), int(positive.sum())
    hits = int((predicted & positive).sum())
    result = dict.fromkeys(METRICS, np.nan)
    if not rows:  # a label that nobody has given, or a model that has no score for anybody
        return result | {"positives": 0.0, "rows": 0.0}
    result.update(
        positive_rate=positives / rows,
        positives=positives,
        rows=rows,
        accuracy_at_default=float((predicted == positive).mean()),
        precision_at_default=hits / predicted.sum() if predicted.any() else np.nan,
        recall_at_default=hits / positives if positives else np.nan,
    )
    scores = _without_infinities(scores)
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


def _without_infinities(scores: NDArray[Any]) -> NDArray[Any]:
    """The same order and ties, where classes were masked with -inf."""
    finite = np.isfinite(scores)
    if finite.all():
        return scores
    low, high = (scores[finite].min(), scores[finite].max()) if finite.any() else (0.0, 0.0)
    clipped: NDArray[Any] = np.clip(scores, low - 1, high + 1)
    return clipped


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
    """Over bins of equal count; tied rows are in one bin, that of the first of them."""
    order = np.argsort(probability, kind="stable")
    probability, rows = probability[order], len(order)
    starts = np.flatnonzero(np.append(True, np.diff(probability) != 0))
    ends = np.cumsum([len(part) for part in np.array_split(order, min(CALIBRATION_BINS, rows))])
    edges = np.append(starts, rows)[np.append(0, np.searchsorted(starts, ends))]
    excess = np.append(0.0, np.cumsum(probability - positive[order]))
    return float(np.abs(np.diff(excess[edges])).sum() / rows)


def as_numpy(values: Any) -> NDArray[Any]:
    """An array of what may be a tensor, wherever it lives; bfloat16 has no NumPy dtype."""
    if hasattr(values, "detach"):
        values = values.detach()
        values = (values.float() if values.is_floating_point() else values).cpu().numpy()
    return np.asarray(values)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # nan stays nan
        return np.exp(-np.logaddexp(0.0, -x))
