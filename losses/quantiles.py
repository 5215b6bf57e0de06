"""Per-class quantiles over masked rows, for pools of any size and any floating type.

`torch.quantile` sorts, refuses more than 2^24 elements, and knows neither masks nor weights. This one takes
both, finds the order statistics of large pools without sorting, and uses the very same positions:
q · (n − 1), computed in the type of the values.

Selection is by digits: the bits of a float, read as an integer, are ordered like the float once the negative
half is mirrored. A histogram of the highest 16 bits says which of them the wanted row has; only the
rows that share them go on to the next 16. It is exact, ties and outliers cost nothing extra.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from ._checks import looks_are_free

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.floating[Any]]"

Interpolation = Literal["linear", "lower", "higher", "nearest", "midpoint"]

_ROUNDING: dict[str, Callable[[Floats], Floats]] = {
    "lower": np.floor,
    "higher": np.ceil,
    "nearest": np.rint,
}

DIGIT_BITS = 16
DIGITS = 2**DIGIT_BITS

# Below, sorting 80 ns a row is cheaper than histograms of 65,536 digits.
SELECT_ROWS = 2**15

# Entries of the pool handled at a time, and classes whose histograms (512 KiB each) are held at once.
BLOCK_ENTRIES = 2**19
GROUP_CLASSES = 32


def quantile(
    values: Tensor,
    q: float | Sequence[float],
    mask: Tensor | None = None,
    *,
    interpolation: Interpolation = "linear",
    row_weight: Tensor | None = None,
) -> Tensor:
    """Quantiles of each column of `values` `[M, C]` over the rows of `mask` `[M, C]`; no gradient.

    Returns `[C]` for a single `q` and `[Q, C]` for a sequence; half precision returns float32.
    A column with an empty mask, or with a nan among its masked rows, is nan.

    `row_weight` (`[M]` or `[M, C]`, ≥ 0) gives weighted order statistics: row k of the sorted rows sits at
    the middle of its share of the cumulated weight, and q runs from the first middle to the last. Equal
    weights give the unweighted result to the bit; rows of weight 0 do not count.
    """
    if interpolation not in get_args(Interpolation):
        raise ValueError(
            f"expected interpolation to be one of {get_args(Interpolation)}, got {interpolation!r}"
        )
    single = isinstance(q, int | float)
    levels = [float(q)] if isinstance(q, int | float) else [float(level) for level in q]
    if not all(0.0 <= level <= 1.0 for level in levels):
        raise ValueError(f"expected q to lie in [0, 1], got {q}")
    if torch.compiler.is_compiling():
        result: Tensor = _opaque_quantile(values.detach(), levels, mask, interpolation, row_weight)
    else:
        result = _quantile(values.detach(), levels, mask, interpolation, row_weight)
    return result[0] if single else result


def _quantile(
    values: Tensor, q: list[float], mask: Tensor | None, interpolation: str, row_weight: Tensor | None
) -> Tensor:
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    if (
        row_weight is None
        and values.shape[1] == 1
        and values.shape[0] < SELECT_ROWS
        and looks_are_free(values)
    ):
        return _of_one_column(values[:, 0], q, None if mask is None else mask[:, 0], interpolation)
    levels = _levels(tuple(q), values.device)
    columns = values.t()
    if row_weight is not None:
        weight = row_weight if row_weight.dim() == 2 else row_weight[:, None]
        kept = (weight > 0).expand_as(values)
        mask = kept if mask is None else mask & kept
        return _weighted(columns, levels, mask.t(), interpolation, weight.expand_as(values).t().double())
    return _unweighted(columns, levels, None if mask is None else mask.t(), interpolation)


def _levels(q: tuple[float, ...], device: torch.device) -> Tensor:
    if torch.compiler.is_compiling():  # a graph keeps its constants, and warns of a cache
        return torch.tensor(q, dtype=torch.float64, device=device)
    return _kept_levels(q, device)


@lru_cache(maxsize=64)
def _kept_levels(q: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(q, dtype=torch.float64, device=device)


def _unweighted(columns: Tensor, levels: Tensor, mask: Tensor | None, interpolation: str) -> Tensor:
    if columns.shape[1] >= SELECT_ROWS:
        groups = [slice(c, c + GROUP_CLASSES) for c in range(0, columns.shape[0], GROUP_CLASSES)]
        pools = (_Pool(columns[group], None if mask is None else mask[group]) for group in groups)
        return torch.cat([_selected(pool, levels, interpolation) for pool in pools], 1)
    if columns.shape[1] == 0:
        return columns.new_full((len(levels), columns.shape[0]), torch.nan)
    if mask is None:
        count = torch.full((columns.shape[0],), columns.shape[1], device=columns.device)
        undefined = columns.amax(1).isnan()
    else:
        count = mask.sum(1)
        undefined = (columns.isnan() & mask).any(1) | (count == 0)
        columns = torch.where(mask, columns, torch.inf)
    position = _position(levels, (count - 1).clamp_min_(0), columns.dtype, columns.shape[1])
    ordered = _sorted(columns)
    return _interpolated(ordered, position, interpolation).masked_fill_(undefined, torch.nan)


def _sorted(values: Tensor) -> Tensor:
    """Values in order along the last dimension; nan last.

    NumPy sorts short rows with vector instructions, ten times faster than torch on the CPU.
    """
    if looks_are_free(values):
        table = values.clone(memory_format=torch.contiguous_format)
        table.numpy().sort(axis=-1)
        return table
    return values.sort(-1).values


def _of_one_column(values: Tensor, q: list[float], mask: Tensor | None, interpolation: str) -> Tensor:
    """The same for a single short column `[M]` on the CPU, where each call to torch would be felt."""
    rows = values.numpy()
    rows = np.sort(rows if mask is None else rows[mask.numpy()])
    if not len(rows) or math.isnan(rows[-1]):
        return values.new_full((len(q), 1), torch.nan)
    quantiles = of_sorted(rows[None], np.array([len(rows)]), tuple(q), interpolation)
    return torch.from_numpy(quantiles).t()


def of_sorted(
    ordered: Floats, count: NDArray[np.integer[Any]], q: tuple[float, ...], interpolation: str = "linear"
) -> Floats:
    """Quantiles `[..., Q]` of the first `count` `[...]` of sorted rows `[..., M]`, M > 0; nan where none."""
    levels = _numpy_levels(q, ordered.dtype)
    place = levels * np.maximum(count - 1, 0).astype(ordered.dtype)[..., None]
    if interpolation in _ROUNDING:
        place = _ROUNDING[interpolation](place)
    below = np.floor(place)
    lower, upper = (np.take_along_axis(ordered, end.astype(np.intp), -1) for end in (below, np.ceil(place)))
    weight = place - below if interpolation != "midpoint" else np.full_like(place, 0.5)
    # The lerp of torch is exact at both ends, and never beyond them.
    result = torch.lerp(*map(torch.from_numpy, (lower, upper, weight))).numpy()
    result[count == 0] = np.nan
    return result


@lru_cache(maxsize=64)
def _numpy_levels(q: tuple[float, ...], dtype: np.dtype[Any]) -> Floats:
    return np.array(q, dtype)


def _selected(pool: _Pool, levels: Tensor, interpolation: str) -> Tensor:
    position = _position(levels, (pool.count - 1).clamp_min(0), pool.columns.dtype, pool.rows)
    result = _interpolated(pool, position, interpolation)
    return result.masked_fill_(pool.has_nan() | (pool.count == 0), torch.nan)


def _weighted(columns: Tensor, levels: Tensor, mask: Tensor, interpolation: str, weight: Tensor) -> Tensor:
    count = mask.sum(1)
    undefined = (columns.isnan() & mask).any(1) | (count == 0)
    if columns.shape[1] == 0:
        return columns.new_full((len(levels), columns.shape[0]), torch.nan)
    ordered, order = torch.where(mask, columns, torch.inf).sort(1)
    weight = torch.where(mask, weight, 0.0)
    # Divided by the largest weight, equal weights are exactly 1 and every sum below is exact.
    largest = weight.amax(1, keepdim=True).clamp_min_(torch.finfo(torch.float64).tiny)
    weight = (weight / largest).gather(1, order)
    position = _weighted_position(levels, weight, (count - 1).clamp_min_(0), columns.dtype)
    return _interpolated(ordered, position, interpolation).masked_fill_(undefined, torch.nan)


def _position(levels: Tensor, last: Tensor, dtype: torch.dtype, rows: int) -> Tensor:
    """Places q · last, `[Q, C]`, never beyond the last; whole and below `rows` unless weights are mixed.

    Rounded to the type of the values, as `torch.quantile` does, where that type holds `last` exactly.
    """
    if dtype == torch.float64:
        return levels[:, None] * last.double()
    rounded = (levels.to(dtype)[:, None] * last.to(dtype)).double()
    if rows < 2**24 and not last.is_floating_point():
        return rounded
    held = (last < 2**24) & (last.to(dtype).double() == last)
    return torch.where(held, rounded, levels[:, None] * last.double())


def _weighted_position(levels: Tensor, weight: Tensor, last: Tensor, dtype: torch.dtype) -> Tensor:
    """Fractional place `[Q, C]` of each level among rows with such weights `[C, M]`, in sorted order."""
    middle = weight.cumsum(1) - 0.5 * weight
    middle = middle - middle[:, :1]
    target = _position(levels, middle.gather(1, last[:, None])[:, 0], dtype, weight.shape[1])
    row = torch.searchsorted(middle, target.t().contiguous(), right=True).sub_(1).clamp_min_(0)
    row = torch.minimum(row, last[:, None])
    following = torch.minimum(row + 1, last[:, None])
    here, there = middle.gather(1, row), middle.gather(1, following)
    fraction = ((target.t() - here) / (there - here)).clamp_(0.0, 1.0)
    # The last row has none following it.
    return (row + torch.where(there > here, fraction, 0.0)).t()


def _interpolated(source: Tensor | _Selects, position: Tensor, interpolation: str) -> Tensor:
    """Values at fractional places `[Q, C]` of a sorted table `[C, M]`, or of what selects by rank."""
    if interpolation == "lower":
        position = position.floor()
    elif interpolation == "higher":
        position = position.ceil()
    elif interpolation == "nearest":
        position = position.round()
    below = position.floor()
    if interpolation not in ("linear", "midpoint"):
        return _order_statistics(source, below.long())
    ranks = torch.cat((below, position.ceil())).long()
    lower, upper = _order_statistics(source, ranks).chunk(2)
    fraction = position - below if interpolation == "linear" else torch.full_like(position, 0.5)
    return torch.lerp(lower, upper, fraction.to(lower.dtype))


def _order_statistics(source: Tensor | _Selects, ranks: Tensor) -> Tensor:
    if isinstance(source, Tensor):
        return source.gather(1, ranks.t()).t()
    return source.select(ranks)


class _Selects(Protocol):
    def select(self, ranks: Tensor) -> Tensor:
        """The values of given ranks `[R, C]`, from 0 up."""


class SortedParts:
    """Parts of a table that has been sorted once, whose quantiles need no sort of their own.

    Attributes:
        ordered: `[C, M]`, each class in order.
        inside: `[B, C, M]` bool, which of them are in each of B parts.
        upto: `[B, C, M]`, how many of the part there are up to each place.
        count: `[B, C]`.
    """

    def __init__(self, ordered: Tensor, inside: Tensor) -> None:
        self.ordered, self.inside = ordered, inside
        self.upto = inside.cumsum(2, dtype=torch.int32)
        self.count = self.upto[:, :, -1]

    def quantiles(self, q: tuple[float, ...]) -> Tensor:
        """Linear quantiles of each part, `[B, C, Q]`; nan where it is empty."""
        count = self.count.reshape(-1)
        levels = _levels(q, count.device)
        position = _position(levels, (count - 1).clamp_min_(0), self.ordered.dtype, self.ordered.shape[1])
        values = _interpolated(self, position, "linear").masked_fill(count == 0, torch.nan)
        return values.t().reshape(*self.count.shape, len(q))

    def select(self, ranks: Tensor) -> Tensor:
        """The values of given ranks `[R, B · C]` within the parts."""
        parts, classes, rows = self.upto.shape
        wanted = (ranks.t() + 1).int().contiguous()
        place = torch.searchsorted(self.upto.view(-1, rows), wanted).clamp_max_(rows - 1)
        table = self.ordered.expand(parts, classes, rows)
        return table.gather(2, place.view(parts, classes, -1)).view(parts * classes, -1).t()


class _Pool:
    """A table of floats, read as integers of the same order."""

    def __init__(self, columns: Tensor, mask: Tensor | None) -> None:
        self.columns, self.mask = columns, mask
        self.classes, self.rows = columns.shape
        self.bits = columns.element_size() * 8
        # Highest digit of each row; one past the last for a row that does not count.
        self.digit = torch.empty(self.classes, self.rows, dtype=torch.int32, device=columns.device)
        self.histogram = self._histogram()
        self.count = self.histogram.sum(1)

    def has_nan(self) -> Tensor:
        """Classes with a nan among the rows that count, `[C]`."""
        # Infinities and nans have the digits from that of infinity on, at both ends.
        first = int(ordered_key(self.columns.new_tensor([torch.inf])) >> (self.bits - DIGIT_BITS))
        odd = DIGITS // 2 - first
        if not (self.histogram[:, :odd].any() or self.histogram[:, -odd:].any()):
            return torch.zeros_like(self.count, dtype=torch.bool)
        nan = self.columns.isnan()
        return (nan if self.mask is None else nan & self.mask).any(1)

    def _histogram(self) -> Tensor:
        """How often each highest digit occurs, `[C, DIGITS]`."""
        offset = torch.arange(self.classes, device=self.columns.device)[:, None] * (DIGITS + 1)
        counts = torch.zeros(self.classes * (DIGITS + 1), dtype=torch.int64, device=self.columns.device)
        step = max(1, BLOCK_ENTRIES // self.classes)
        for start in range(0, self.rows, step):
            block = slice(start, start + step)
            digit = ordered_key(self.columns[:, block]) >> (self.bits - DIGIT_BITS)
            digit += DIGITS // 2
            if self.mask is not None:
                digit.masked_fill_(~self.mask[:, block], DIGITS)
            self.digit[:, block] = digit
            place = digit if self.classes == 1 else digit + offset
            counts += torch.bincount(place.reshape(-1), minlength=len(counts))
        return counts.view(self.classes, -1)[:, :DIGITS]

    def candidates(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Class and key of the rows whose highest digit is the one chosen for their class `[C]`."""
        classes, rows = (self.digit == chosen[:, None].int()).nonzero(as_tuple=True)
        return classes, ordered_key(self.columns[classes, rows])

    def select(self, ranks: Tensor) -> Tensor:
        """The values of given ranks `[R, C]`, from 0 up, without sorting."""
        return _select(self, ranks)


def _select(pool: _Pool, ranks: Tensor) -> Tensor:
    cumulated = pool.histogram.cumsum(1)
    selected = []
    known: Tensor | None = None
    for rank in ranks:
        chosen, rest = _digit_of_rank(cumulated, rank)
        # Neighbouring ranks nearly always share their digit, and then their candidates.
        if known is None or not torch.equal(chosen, known):
            known = chosen
            classes, keys = pool.candidates(chosen)
        selected.append(_finish(classes, keys, chosen - DIGITS // 2, rest, pool))
    return ordered_float(torch.stack(selected))


def _finish(classes: Tensor, keys: Tensor, prefix: Tensor, rank: Tensor, pool: _Pool) -> Tensor:
    """The key of a rank `[C]` among candidates that agree in their highest digit, digit by digit."""
    for shift in range(pool.bits - 2 * DIGIT_BITS, -1, -DIGIT_BITS):
        digit = (keys >> shift) & (DIGITS - 1)
        counts = torch.bincount(classes * DIGITS + digit, minlength=pool.classes * DIGITS)
        chosen, rank = _digit_of_rank(counts.view(pool.classes, DIGITS).cumsum(1), rank)
        kept = (digit == chosen[classes]).nonzero()[:, 0]
        classes, keys = classes[kept], keys[kept]
        prefix = prefix * DIGITS + chosen
    return prefix.to(torch.int32 if pool.bits == 32 else torch.int64)


def _digit_of_rank(cumulated: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """Digit of the entry of each rank `[C]`, and its rank among the entries with that digit."""
    digit = torch.searchsorted(cumulated, rank[:, None], right=True).clamp_max_(DIGITS - 1)
    before = torch.where(digit > 0, cumulated.gather(1, (digit - 1).clamp_min(0)), 0)
    return digit[:, 0], rank - before[:, 0]


def ordered_key(values: Tensor) -> Tensor:
    """Integers in the order of the floats: their bits, with all but the sign flipped in the negative half."""
    integer = torch.int32 if values.element_size() == 4 else torch.int64
    bits = values.contiguous().view(integer)
    return bits ^ ((bits >> (8 * values.element_size() - 1)) & torch.iinfo(integer).max)


def ordered_float(keys: Tensor) -> Tensor:
    """The inverse of `ordered_key`."""
    bits = keys ^ ((keys >> (8 * keys.element_size() - 1)) & torch.iinfo(keys.dtype).max)
    return bits.view(torch.float32 if keys.element_size() == 4 else torch.float64)


@torch.library.custom_op(
    "imbalance_doctor::quantile",
    mutates_args=(),
    schema="(Tensor values, float[] q, Tensor? mask, str interpolation, Tensor? row_weight) -> Tensor",
)
def _opaque_quantile(
    values: Tensor, q: list[float], mask: Tensor | None, interpolation: str, row_weight: Tensor | None
) -> Tensor:
    return _quantile(values, q, mask, interpolation, row_weight).contiguous()


@_opaque_quantile.register_fake
def _(
    values: Tensor, q: list[float], mask: Tensor | None, interpolation: str, row_weight: Tensor | None
) -> Tensor:
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    return values.new_empty(len(q), values.shape[1], dtype=dtype)
