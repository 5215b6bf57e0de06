"""The gradient that arrives at the logits, split by what the rows are."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

#: Which entries of the logits are positive, and which count at all (None for all), in the logits' shape or
#: with the classes last.
Labels: TypeAlias = tuple[Tensor, Tensor | None]


def gradient_norms(gradient: Tensor, positive: Tensor, counted: Tensor | None) -> dict[str, Tensor]:
    """Euclidean norms of the gradient over a class's positives and over its negatives.

    Args:
        gradient: `[N]`, `[N, 1]`, `(N, C)` or `(N, C, ...)`.
        positive: Bool, of the gradient's shape or `[N, C]` with classes last.
        counted: Bool, likewise; None where all entries count.

    Returns:
        ``pos_grad_norm`` and ``neg_grad_norm``, `[C]`.
    """
    squares = _classes_last(gradient.detach()).float().square()
    positive = _classes_last(positive).reshape(squares.shape)
    negative = ~positive
    if counted is not None:
        counted = _classes_last(counted).reshape(squares.shape)
        positive, negative = positive & counted, negative & counted
    pos, neg = (torch.where(kind, squares, 0.0).sum(0).sqrt() for kind in (positive, negative))
    return {"pos_grad_norm": pos, "neg_grad_norm": neg}


def _classes_last(x: Tensor) -> Tensor:
    """`[M, C]`, a row for each place that has a logit of every class."""
    if x.dim() < 2:
        return x.reshape(-1, 1)
    return x if x.dim() == 2 else x.movedim(1, -1).reshape(-1, x.shape[1])
