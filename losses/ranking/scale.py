"""The spread of scores that a scale-free temperature is a multiple of."""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import looks_are_free
from ..quantiles import Interpolation, quantile

#: Quantile ranges tried in turn. The interquartile range is 0 when more than half of the scores are tied,
#: which is ordinary early in training; a wider range still sees the spread of the tail.
_RANGES = ((0.25, 0.75), (0.05, 0.95), (0.01, 0.99), (0.0, 1.0))

#: A range below this many units in the last place of the scores is rounding, not spread.
_ROUNDING_STEPS = 8


#: The levels of the quantiles that a spread is made from.
SPREAD_LEVELS = [level for pair in _RANGES for level in pair]


def dispersion(
    scores: Tensor,
    mask: Tensor | None,
    row_weight: Tensor | None = None,
    *,
    interpolation: Interpolation = "linear",
) -> Tensor:
    """The interquartile range of each class's scores, or the next wider quantile range that is not 0.

    Args:
        scores: `[M, C]`.
        mask: `[M, C]` bool; the entries that count. None for all.
        row_weight: `[M]` inverse inclusion probabilities of a capped pool, or None.
        interpolation: As in `torch.quantile`.

    Returns:
        `[C]`, no gradient; 0 where all scores are equal (to rounding) or none counts.
    """
    return spread(
        quantile(scores.detach(), SPREAD_LEVELS, mask, interpolation=interpolation, row_weight=row_weight)
    )


def spread(edges: Tensor) -> Tensor:
    """What `dispersion` is, from the quantiles `[Q, C]` at `SPREAD_LEVELS`."""
    step = _ROUNDING_STEPS * torch.finfo(edges.dtype).eps
    if looks_are_free(edges):
        middle = edges[1] - edges[0]
        if float(middle.amin()) > step * max(abs(float(edge)) for edge in torch.aminmax(edges[:2])):
            return middle
    low, high = edges[0::2], edges[1::2]
    noise = torch.maximum(low.abs(), high.abs()) * step
    width = torch.where(high - low > noise, high - low, 0.0)
    first = (width > 0).to(torch.int8).argmax(0, keepdim=True)
    return width.gather(0, first)[0]
