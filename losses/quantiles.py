"""Per-class quantiles over masked rows, for pools of any size and any floating type.

`torch.quantile` refuses more than 2^24 elements and knows neither masks nor weights. This one takes
both, and picks the very same order statistics: position q · (n − 1), computed in the type of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Interpolation = Literal["linear", "lower", "higher", "nearest", "midpoint"]


def quantile(
    values: Tensor,
    q: float | Sequence[float],
    mask: Tensor | None = None,
    *,
    interpolation: Interpolation = "linear",
    row_weight: Tensor | None = None,
) -> Tensor:
    """Quantiles of each column of `values` `[M, C]` over the rows of `mask` `[M, C]`.

    Returns `[C]` for a single `q` and `[Q, C]` for a sequence; half precision returns float32.
    A column with an empty mask, or with a nan among its masked rows, is nan.

    `row_weight` (`[M]` or `[M, C]`, ≥ 0) gives weighted order statistics: row k of the sorted rows sits at
    the middle of its share of the cumulated weight, and q runs from the first middle to the last. Equal
    weights give the unweighted result to the bit; rows of weight 0 do not count.
    """
    if interpolation not in get_args(Interpolation):
        raise ValueError(f"interpolation must be one of {get_args(Interpolation)}, got {interpolation!r}")
    levels = (q,) if isinstance(q, int | float) else tuple(q)
    if not all(0.0 <= level <= 1.0 for level in levels):
        raise ValueError(f"q must lie in [0, 1], got {q}")
    values = values.detach()
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    weight = None
    if row_weight is not None:
        row_weight = row_weight if row_weight.dim() == 2 else row_weight[:, None]
        mask = mask & (row_weight > 0)
        weight = row_weight.double().expand_as(values)
    level = torch.tensor(levels, dtype=torch.float64, device=values.device)
    result = _from_sorted(values, level, mask, interpolation, weight)
    return result[0] if isinstance(q, int | float) else result


def _from_sorted(
    values: Tensor, levels: Tensor, mask: Tensor, interpolation: Interpolation, weight: Tensor | None
) -> Tensor:
    count = mask.sum(0)
    undefined = (count == 0) | (values.isnan() & mask).any(0)
    ordered, order = torch.where(mask, values, torch.inf).sort(0)
    if weight is None:
        position = _position(levels, (count - 1).clamp_min(0), values.dtype)
    else:
        position = _weighted_position(levels, weight, mask, order, count, values.dtype)
    if interpolation == "lower":
        position = position.floor()
    elif interpolation == "higher":
        position = position.ceil()
    elif interpolation == "nearest":
        position = position.round()
    below = position.floor()
    result = ordered.gather(0, below.long())
    if interpolation in ("linear", "midpoint"):
        above = ordered.gather(0, position.ceil().long())
        fraction = position - below if interpolation == "linear" else torch.full_like(position, 0.5)
        result = torch.lerp(result, above, fraction.to(result.dtype))
    return torch.where(undefined, torch.nan, result)


def _position(levels: Tensor, last: Tensor, dtype: torch.dtype) -> Tensor:
    """The position q · (n − 1), in the type of the values like `torch.quantile` while it can count rows."""
    exact = levels.double()[:, None] * last.double()
    if dtype == torch.float64:
        return exact
    rounded = (levels.to(dtype)[:, None] * last.to(dtype)).double()
    return torch.where(last < 2**24, rounded, exact)


def _weighted_position(
    levels: Tensor, weight: Tensor, mask: Tensor, order: Tensor, count: Tensor, dtype: torch.dtype
) -> Tensor:
    """Fractional index, among the sorted rows, of each level under the weights."""
    weight = torch.where(mask, weight, 0.0)
    # Divided by the largest weight, equal weights are exactly 1 and every sum below is an integer.
    weight = (weight / weight.amax(0).clamp_min(torch.finfo(torch.float64).tiny)).gather(0, order)
    middle = weight.cumsum(0) - 0.5 * weight
    last_row = (count - 1).clamp_min(0)
    first = middle[0]
    last = middle.gather(0, last_row[None])[0]
    target = first + _position(levels, last - first, dtype)
    columns = middle.t().contiguous()
    row = torch.searchsorted(columns, target.t().contiguous(), right=True).t() - 1
    row = torch.minimum(row.clamp_min(0), last_row)
    next_row = torch.minimum(row + 1, last_row)
    here, there = middle.gather(0, row), middle.gather(0, next_row)
    fraction = (target - here) / (there - here).clamp_min(torch.finfo(torch.float64).tiny)
    return row + fraction.clamp(0.0, 1.0)
