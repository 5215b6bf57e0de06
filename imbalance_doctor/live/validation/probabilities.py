"""Probabilities given to an evaluation, which expects logits: how they are told, and turned into logits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_doctor.history import Window
from imbalance_doctor.losses import kinds
from imbalance_doctor.rules.measures.scores import share_below

#: Share of the training's scores that no reading of the evaluation's as logits explains. A few come with a
#: shift between the two, or with a model that is at its start.
IMPOSSIBLE = 0.1

#: Chance that logits spread as in training are, all of them, where probabilities must be: so small that of
#: a million evaluations one is misread, and reached with 4 rows where 97 % of the logits are below 0.
CHANCE = 1e-6

#: How far a row of probabilities may be from a sum of 1: those of bfloat16 are rounded by 0.4 %.
SUM = 0.01


def are_probabilities(logits: NDArray[Any], exclusive: bool) -> bool:
    """Whether all scores ``[N, C]`` lie where probabilities do; of exclusive classes, whether rows sum to 1.

    Scores that are nan speak neither for it nor against it.
    """
    unknown = np.isnan(logits)
    if unknown.all() or not (((logits >= 0) & (logits <= 1)) | unknown).all():
        return False
    sums = logits[~unknown.any(axis=1)].sum(axis=1, dtype=np.float64)
    return not exclusive or bool((np.abs(sums - 1.0) <= SUM).all())


def unlike_training(logits: NDArray[Any], exclusive: bool, windows: Iterable[Window]) -> float | None:
    """The share of the training's scores that would be impossible, were these probabilities logits.

    Of logits between 0 and 1 none is below 0; of rows of logits that sum to 1, log-odds lie within 2. A model
    whose last layer is a sigmoid, a softmax or a ReLU trains on such logits: nothing is impossible then.

    Returns:
        The share; None where it is too small to tell, or where no loss of as many columns has a record.
    """
    shares = [_impossible(window, logits.shape[1], exclusive) for window in windows]
    least = min((share for share in shares if share is not None), default=0.0)
    told = least >= IMPOSSIBLE and (1.0 - least) ** len(logits) < CHANCE
    return least if told else None


def _impossible(window: Window, columns: int, exclusive: bool) -> float | None:
    quantiles = window.series("live_score_quantiles").values
    if not len(quantiles):
        return None
    newest = quantiles[-1]
    softmax = window.kind in kinds.SOFTMAX or (window.kind == kinds.OTHER and exclusive)
    if softmax and columns == 1 and len(newest) == 2:  # the probability of the second of two classes
        newest = newest[1:]
    if len(newest) != columns:
        return None
    if not (softmax and exclusive):
        return float(np.nan_to_num(share_below(newest, np.zeros(columns))).mean())
    equal = np.full(columns, -np.log(columns - 1.0))  # log-odds of classes that have the same logit
    outside = share_below(newest, equal - 1.0) + 1.0 - share_below(newest, equal + 1.0)
    return float(np.nan_to_num(outside).mean())


def as_logits(probabilities: NDArray[Any], exclusive: bool) -> NDArray[Any]:
    """The logits of probabilities; of exclusive classes up to a number that a softmax does not see.

    0 becomes -inf, as a masked class has it, and 1 the logit of half a rounding step below 1, which is above
    that of every other probability of this precision.
    """
    wide = np.float64 if probabilities.dtype.itemsize > 4 else np.float32
    p = probabilities.astype(wide)
    with np.errstate(divide="ignore", invalid="ignore"):  # what pads rows that do not count may be anything
        log_p: NDArray[Any] = np.log(p)
        if exclusive:
            return log_p
        return log_p - np.log1p(-p, out=np.full_like(p, np.log(np.finfo(wide).eps / 4)), where=p < 1)
