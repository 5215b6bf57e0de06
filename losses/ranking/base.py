"""What the ranking losses share: reading a batch, gathering, the queue, the cap, reduction, diagnostics."""

from __future__ import annotations

import contextlib
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

from .._checks import check_plain_autograd, check_tensors, check_weight, looks_are_free, require, warn
from ..diagnostics.gradients import Labels
from ..diagnostics.listening import Detail, Stats
from ..diagnostics.scores import ranking_stats
from ..distributed import Ranks, RowGatherer, group_size, meeting, should_gather
from ..forwards.repeats import Seen
from ..functional import reduce_classes
from ..settings import (
    GATHER_DISTRIBUTED,
    TEMPERATURE,
    Configurable,
    Setting,
    Settings,
    integer,
    one_of,
    optional,
)
from . import checkpoints
from .labels import IGNORED, encode_targets, membership
from .pool import Pool, Rows, cap, merge, wide_dtype
from .queue import MemoryQueue
from .scale import dispersion

Result: TypeAlias = (
    Tensor | tuple[Tensor, Stats] | tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Stats]
)


@dataclass(frozen=True)
class Terms:
    """What one loss made of one pool.

    Attributes:
        loss: `[C]`, in the graph; anything where invalid.
        valid: `[C]` bool.
        tau: `[C]`, in logits.
        thresholds: `[K, C]` scores that positives are compared with, where the loss has any.
        slopes: `[M, C]` slope of each positive, without sign or τ, where the kernel was asked for it.
    """

    loss: Tensor
    valid: Tensor
    tau: Tensor
    thresholds: Tensor | None = None
    slopes: Tensor | None = None


def _hold_queue(loss: RankingLoss, _: str, rows: int) -> None:
    """A queue of so many rows, the newest of those that the loss has."""
    if hasattr(loss, "queue"):
        loss._forwards.forget()
        loss.queue.resize(rows)
    else:
        loss.queue = MemoryQueue(rows, loss.num_classes)


class RankingLoss(Configurable):
    """Base of the ranking losses. A subclass says how a pool becomes one loss for each class."""

    _SETTINGS: ClassVar[Settings] = {
        "num_classes": Setting(integer(least=1)),
        "queue_size": Setting(integer(least=0), changes=True, hold=_hold_queue),
        "temperature": TEMPERATURE,
        "reduction": Setting(one_of("mean", "sum", "none")),
        "ignore_index": Setting(integer()),
        "update_queue_in_eval": Setting(one_of(True, False)),
        "gather_distributed": GATHER_DISTRIBUTED,
        "max_pool_size": Setting(optional(integer(least=2)), changes=True),
        "tau_scale": Setting(one_of(None, "iqr"), changes=True),
    }

    num_classes: int
    temperature: float
    reduction: str
    ignore_index: int
    update_queue_in_eval: bool
    gather_distributed: bool | None
    max_pool_size: int | None
    tau_scale: str | None
    queue: MemoryQueue

    def __init__(self, given: Mapping[str, object], process_group: dist.ProcessGroup | None) -> None:
        super().__init__(given)
        self._ranks = Ranks(process_group)
        self._queue_frozen = False
        self._cap_warned = False
        self._gatherer = RowGatherer()

    @property
    def process_group(self) -> dist.ProcessGroup | None:
        """The ranks that take part; None for all."""
        return self._ranks.group

    @property
    def queue_size(self) -> int:
        """Rows that the memory queue holds."""
        return self.queue.size

    # ---------------------------------------------------------------------------------------- queue

    def reset_queue(self) -> None:
        """Empty the queue, for instance after a jump in the scores."""
        self._forwards.forget()
        self.queue.reset()

    @contextlib.contextmanager
    def freeze_queue(self) -> Iterator[None]:
        """Forwards inside rank against the queue but do not feed it.

        Recomputed forwards, the second pass of SAM and closures need it only if they use another tensor of
        labels than the first forward; with the same tensor the batch is recognised.
        """
        before, self._queue_frozen = self._queue_frozen, True
        try:
            yield
        finally:
            self._queue_frozen = before

    def _as_it_was(self, repeated: Seen | None) -> MemoryQueue:
        """The queue, as it was when the forward that is repeated ranked its batch."""
        return self.queue if repeated is None else self.queue.before(self._forwards.undone(repeated))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RankingLoss:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.queue.follow(fn)
        return self

    def get_extra_state(self) -> Tensor:
        """The memory queue, for ``state_dict``: one tensor of bytes."""
        return checkpoints.packed(self.queue.state())

    def set_extra_state(self, state: Any) -> None:
        """Continue with the queue of a checkpoint, or with an empty one where it was changed since.

        Raises:
            ValueError: The queue has rows of another number of classes.
        """
        try:
            fields = checkpoints.unpacked(state)
        except ValueError as error:
            self.reset_queue()
            warn(
                f"{type(self).__name__}: the memory queue of this checkpoint cannot be read ({error}), so "
                "the queue starts empty. It is not part of the model: leave it out of averages of checkpoints"
            )
            return
        self._restore(fields)

    def _restore(self, fields: Mapping[str, Tensor]) -> None:
        self._forwards.forget()
        self.queue.restore(fields)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        older = checkpoints.older_names(prefix)
        rest = {key: value for key, value in state_dict.items() if key not in older}
        super()._load_from_state_dict(rest, prefix, *args)
        error_msgs: list[str] = args[-1]
        try:
            fields = checkpoints.older(state_dict, prefix, self.num_classes, self.ignore_index)
            if fields is not None:
                self._restore(fields)
        except ValueError as error:
            error_msgs.append(f"{prefix}queue: {error}")

    # -------------------------------------------------------------------------------------- forward

    @abstractmethod
    def _terms(self, pool: Pool, watched: bool) -> Terms:
        """The loss of each class, from the pool, and the slopes of a kernel if the forward is watched."""

    @abstractmethod
    def _slopes(self, pool: Pool, terms: Terms) -> tuple[Tensor, Tensor]:
        """`[M, C]` slope of each positive, without sign or τ, and the `[C]` largest that is possible."""

    @abstractmethod
    def _own_stats(self, wanted: Detail, pool: Pool, terms: Terms) -> Stats:
        """The statistics that only this loss has."""

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        iid_mask: Tensor | None = None,
        return_per_class: bool = False,
        return_diagnostics: bool = False,
        *,
        sample_weight: Tensor | None = None,
    ) -> Result:
        """The loss of a batch, ranked in the pool of the batch and the queue.

        Args:
            logits: `[N, C]`, or `[N]` when ``num_classes == 1``.
            targets: `[N]` or `[N, 1]` class ids (0/1 when ``num_classes == 1``), or multi-label `[N, C]` of
                0/1. Rows, or entries of `[N, C]`, equal to ``ignore_index`` do not count.
            iid_mask: `[N]` bool or 0/1; rows that are fair draws of the population. All, by default.
            return_per_class: Also return the `[C]` losses (nan where invalid) and the `[C]` bool of validity.
            return_diagnostics: Also return the statistics of this forward.
            sample_weight: `[N]`, finite, ≥ 0; the weight of each row as a positive.

        Returns:
            The loss; then, as asked for, per-class losses and validity, and the statistics. nan if a logit
            that counts is not finite.

        Raises:
            ValueError: If a shape, a label or a weight is not as above.
            RuntimeError: If ``gather_distributed=True`` and there is no process group.
        """
        check_tensors(logits=logits, targets=targets)
        check_plain_autograd(type(self).__name__, logits)
        repeated = self._forwards.again(logits, targets) if self.training else None
        request = self._requested(return_diagnostics, repeated is not None)
        given, logits = logits, self._with_gradients(request, logits, lambda: self._labels(logits, targets))
        with _full_precision(logits.device.type):
            queue = self._as_it_was(repeated)
            gathers = should_gather(self.gather_distributed, logits, self.process_group)
            live = self._read(logits, targets, iid_mask, sample_weight, gathers, queue)
            whole = merge(live, queue.rows() if self.training else None)
            broken = None if whole.complete else _broken(live)
            pool = self._capped(whole, queue.step)
            terms = self._terms(pool, request.describes)
            reduced = _spoiled(reduce_classes(terms.loss, terms.valid, self.reduction), live.scores, broken)
            per_class = None
            if return_per_class:
                per_class = self._per_class(terms, live, broken)

            def describe() -> Stats:
                # Without a graph: a forward that is computed again, for which nobody listens, saves the same.
                shown = self._per_class(terms, live, broken) if per_class is None else per_class
                stats = self._stats(request.detail, whole, pool, terms, reduced, shown, broken, queue)
                if gathers:
                    stats["ranks_apart"] = queue.step.new_tensor(self._gatherer.apart)
                return stats

            stats = self._collect(request, reduced, describe)
            if repeated is None and self._feeds_queue(gathers):
                unless = None if broken is None else broken > 0
                undo = self.queue.feed(live, unless=unless, complete=whole.complete)
                self._forwards.remember(given, targets, undo)
        self._tell(request, stats)
        if return_per_class:
            assert per_class is not None
            shown = (reduced, per_class, terms.valid)
            return (*shown, stats) if return_diagnostics else shown
        return (reduced, stats) if return_diagnostics else reduced

    @staticmethod
    def _per_class(terms: Terms, live: Rows, broken: Tensor | None) -> Tensor:
        """`[C]` losses, nan where invalid."""
        return _spoiled(reduce_classes(terms.loss, terms.valid, "none"), live.scores, broken)

    def _labels(self, logits: Tensor, targets: Tensor) -> Labels:
        """Which of this rank's entries are positive, and which count, `[N, C]`."""
        _, codes = self.encode(logits, targets)
        labels = membership(codes, self.num_classes)
        return labels == 1, labels != IGNORED

    def _feeds_queue(self, gathers: bool) -> bool:
        wanted = self.training or self.update_queue_in_eval
        if not wanted or not torch.is_grad_enabled() or self._queue_frozen:
            return False
        # Ranks that gather share the rows of their queues, and one rank's own would set them apart.
        return gathers or self.gather_distributed is False or group_size(self.process_group) == 1

    def _read(
        self,
        logits: Tensor,
        targets: Tensor,
        iid_mask: Tensor | None,
        sample_weight: Tensor | None,
        gathers: bool,
        queue: MemoryQueue,
    ) -> Rows:
        """The batch, checked, and gathered over ranks where they take part."""
        logits, codes = self.encode(logits, targets)
        rows = logits.shape[0]
        iid, weight = _row_mask(iid_mask, rows), _row_weight(sample_weight, logits)
        if not gathers:
            return Rows(logits, membership(codes, self.num_classes), iid, weight)
        own = Rows(logits, codes, iid, weight)
        with meeting(type(self).__name__):
            live, codes = self._gatherer.gather(own, codes, self._digest(queue), self.process_group)
        return replace(live, labels=membership(codes, self.num_classes))

    def _digest(self, queue: MemoryQueue) -> Tensor:
        """0-dim int64 that is the same on ranks that compute the same loss."""
        settings = self.config()
        del settings["gather_distributed"]  # None on one rank and True on another come to the same
        return queue.digest() * 1_000_033 + zlib.crc32(repr((self.kind, settings)).encode())

    def encode(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Check a batch; logits as `[N, C]`, targets as `losses.ranking.labels.encode_targets` has them.

        Raises:
            TypeError: If one of the two is no tensor.
            ValueError: If a shape or a label is not as `forward` takes it.
        """
        check_tensors(logits=logits, targets=targets)
        if logits.dim() == 1 and self.num_classes == 1:
            logits = logits[:, None]
        if logits.dim() != 2 or logits.shape[1] != self.num_classes:
            hint = "flatten them to a row for each prediction: logits.movedim(1, -1).flatten(0, -2)"
            if logits.dim() <= 2:
                hint = f"build the loss with num_classes={logits.shape[1] if logits.dim() == 2 else 1}"
            raise ValueError(
                f"expected logits to have shape [N, {self.num_classes}]"
                + (" or [N]" if self.num_classes == 1 else "")
                + f" for num_classes={self.num_classes}, got {list(logits.shape)}: {hint}"
            )
        if not logits.is_floating_point():
            raise ValueError(
                f"expected logits to be floating point, got {logits.dtype}: pass the model's logits, not its "
                "decisions"
            )
        return logits, encode_targets(targets, logits.shape[0], self.num_classes, self.ignore_index)

    def _capped(self, pool: Pool, step: Tensor) -> Pool:
        if self.max_pool_size is None or pool.scores.shape[0] <= self.max_pool_size:
            return pool
        if not (self._cap_warned or torch.compiler.is_compiling()):
            self._warn_of_cap(pool, self.max_pool_size)
        return cap(pool, self.max_pool_size, step)

    def _warn_of_cap(self, pool: Pool, size: int) -> None:
        # One look at the device for each forward until the cap first bites, none after.
        rows = int(pool.valid.any(1).sum())
        if rows > size:
            self._cap_warned = True
            warn(
                f"{type(self).__name__}: a pool of {rows} rows is sampled down to max_pool_size={size} rows, "
                "weighted by their inverse sampling probability: estimates stay consistent but vary more. "
                "Leave max_pool_size out if the whole pool fits"
            )

    def _tau(self, pool: Pool) -> Tensor:
        """`[C]` temperature in logits."""
        if torch.compiler.is_compiling():
            # A filled tensor would be specialised to each value of the temperature.
            tau = pool.scores.new_ones(self.num_classes) * self.temperature
        else:
            tau = pool.scores.new_full((self.num_classes,), self.temperature)
        if self.tau_scale != "iqr":
            return tau
        scale = dispersion(pool.scores, pool.counted, pool.row_weight)
        # Scores that are all equal have no scale; their ranking is the same at every temperature.
        return tau * torch.where(scale > 0, scale, 1.0)

    def _stats(
        self,
        wanted: Detail,
        whole: Pool,
        pool: Pool,
        terms: Terms,
        reduced: Tensor,
        per_class: Tensor,
        broken: Tensor | None,
        queue: MemoryQueue,
    ) -> Stats:
        """The statistics of a pool, and of the live rows that it had before any cap."""
        slopes, largest = self._slopes(pool, terms)
        stats = ranking_stats(
            wanted,
            whole,
            pool,
            loss=reduced.detach(),
            per_class=per_class.detach(),
            valid=terms.valid,
            tau=terms.tau,
            temperature=self.temperature,
            slopes=slopes,
            largest_slope=largest,
            nonfinite=torch.zeros_like(queue.step) if broken is None else broken,
            queue_fill=queue.fill(),
            queue_age=queue.age(),
        )
        return stats | self._own_stats(wanted, pool, terms)


def _full_precision(device: str) -> contextlib.AbstractContextManager[object]:
    """Autocast off, where it is on: ranks and thresholds need all the bits the logits have."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def _broken(live: Rows) -> Tensor | None:
    """0-dim, how many logits that count are not finite; None where a look finds none."""
    count = ((live.labels != IGNORED) & ~live.scores.detach().isfinite()).sum()
    return None if looks_are_free(count) and not int(count) else count


class _Spoiled(torch.autograd.Function):
    """A loss that is nan where something is broken, and so is then the gradient of every logit.

    Masks may have cut the path from the loss to some logits, or to all; this one is not cut.
    """

    @staticmethod
    def forward(loss: Tensor, scores: Tensor, broken: Tensor) -> Tensor:
        return loss.masked_fill(broken > 0, torch.nan)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        _, scores, broken = inputs
        ctx.shape = scores.shape
        ctx.save_for_backward(scores.new_zeros(()).masked_fill(broken > 0, torch.nan))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (spoiler,) = ctx.saved_tensors
        return grad + spoiler, spoiler.expand(ctx.shape), None


def _spoiled(loss: Tensor, scores: Tensor, broken: Tensor | None) -> Tensor:
    """A nan that counts makes the loss and every gradient nan, as gradient scalers expect.

    Also the zero that stands for no valid class.
    """
    if broken is None:
        return loss
    spoiled: Tensor = _Spoiled.apply(loss, scores, broken)  # type: ignore[no-untyped-call]
    return spoiled


def _row_mask(iid_mask: Tensor | None, rows: int) -> Tensor | None:
    if iid_mask is None:
        return None
    if tuple(iid_mask.shape) != (rows,) or iid_mask.is_floating_point():
        raise ValueError(
            f"expected iid_mask to be bool or 0/1 of shape [{rows}], got {iid_mask.dtype} of shape "
            f"{list(iid_mask.shape)}: give one entry for each row, and convert floats with iid_mask.bool()"
        )
    if iid_mask.dtype is torch.bool:
        return iid_mask
    mask = iid_mask.long()
    require(
        ((mask == 0) | (mask == 1)).all(),
        lambda: (
            f"expected iid_mask to be bool or 0/1, got values from {mask.min()} to {mask.max()}: pass a "
            "mask that is True for fair draws, such as iid_mask == 1"
        ),
    )
    return mask.bool()


def _row_weight(sample_weight: Tensor | None, logits: Tensor) -> Tensor | None:
    if sample_weight is None:
        return None
    if tuple(sample_weight.shape) != (logits.shape[0],):
        raise ValueError(
            f"expected sample_weight to have shape [{logits.shape[0]}], got {list(sample_weight.shape)}: "
            "give one weight for each row"
        )
    check_weight(sample_weight)
    return sample_weight.detach().to(wide_dtype(logits.dtype))
