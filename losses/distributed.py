"""Gathering over ranks with gradients that stay exact under DistributedDataParallel.

DDP averages parameter gradients over W ranks. A loss computed from gathered rows is the same on every
rank, and each rank's backward reaches only the rows it contributed: the average of W such parts is 1/W of
the gradient on the whole batch. Whoever gathers must therefore hand back W times its own part, which is
what everything here does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .ranking.pool import Rows


class Ranks:
    """The ranks that a loss belongs to. A copy of the loss belongs to the same ones."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks:
        # Process groups cannot be copied, and a second one would be another group.
        return self


def group_size(group: dist.ProcessGroup | None = None) -> int:
    """Ranks in `group` (default: all), or 1 when no process group has been initialised."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size(group)


def should_gather(
    gather_distributed: bool | None, logits: Tensor, group: dist.ProcessGroup | None = None
) -> bool:
    """Whether this forward gathers. Asked at each forward, never remembered.

    Args:
        gather_distributed: None gathers when there is more than one rank and a gradient is wanted, so that
            a validation on one rank waits for nobody. True gathers always and requires an initialised process
            group, False never gathers.
        logits: Those of this rank; a gradient is wanted where grad mode is on and they require one.
        group: The process group, or None for the default one.

    Raises:
        RuntimeError: If a process group is required and none is initialised.
    """
    if gather_distributed is False:
        return False
    if gather_distributed is True and not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "expected an initialised process group for gather_distributed=True, got none: call "
            "torch.distributed.init_process_group() before the first forward, or pass None to gather only "
            "when there is one"
        )
    wanted = gather_distributed is True or (torch.is_grad_enabled() and logits.requires_grad)
    return wanted and group_size(group) > 1


#: What backends say where a rank did not come, or came for another collective: gloo, NCCL, UCC and MPI.
_ABSENT = ("timed out", "timeout", "connection", "broken pipe", "op.preamble.length", "remote process")


@contextlib.contextmanager
def meeting(who: str) -> Iterator[None]:
    """Around a collective: where other ranks do not come, say who waited for them, and what to do.

    Args:
        who: The loss or function that calls it.

    Raises:
        RuntimeError: The collective failed for want of another rank; other errors pass as they are.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in _ABSENT):
            raise
        raise RuntimeError(
            f"expected every rank to call {who} at this point, but another rank did not ({error}). Call it "
            "on every rank, equally often and with logits that require a gradient; to call it on some ranks "
            "only, use torch.no_grad() or gather_distributed=False"
        ) from error


def all_gather_no_grad(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Concatenate `x` `[N_rank, ...]` of every rank along the first dimension, in rank order, detached.

    Ranks may differ in N. All ranks must call it.
    """
    world = group_size(group)
    if world == 1:
        return x.detach()
    with meeting("all_gather_no_grad"):
        sizes = _gather_sizes(x.shape[0], x.device, world, group)
        return torch.cat(_gather_padded(x.detach(), sizes, group))


def all_gather_with_grad(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Like `all_gather_no_grad`, with the exact gradient.

    The backward sums over ranks the gradients that reach this rank's rows, whatever each rank computed
    from them. Averaged by DDP, parameter gradients are those of the mean of the ranks' losses; where every
    rank computes the same loss, those of a single process on the whole batch.
    All ranks must call it, forward and backward.
    """
    if group_size(group) == 1:
        return x
    gathered: Tensor = _AllGather.apply(x, group)  # type: ignore[no-untyped-call]
    return gathered


class _AllGather(torch.autograd.Function):
    """All-gather; its adjoint is the sum over ranks of each rank's slice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        with meeting("all_gather_with_grad"):
            sizes = _gather_sizes(x.shape[0], x.device, group_size(group), group)
            gathered = torch.cat(_gather_padded(x, sizes, group))
        rank = dist.get_rank(group)
        ctx.group, ctx.start, ctx.rows = group, sum(sizes[:rank]), sizes[rank]
        return gathered

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.contiguous().clone()
        with meeting("the backward of all_gather_with_grad"):
            dist.all_reduce(total, group=ctx.group)
        return total[ctx.start : ctx.start + ctx.rows], None


def _gather_sizes(rows: int, device: torch.device, world: int, group: dist.ProcessGroup | None) -> list[int]:
    sizes = torch.empty(world, dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(sizes, torch.full((1,), rows, device=device), group=group)
    return [int(size) for size in sizes.tolist()]


def _gather_padded(x: Tensor, sizes: list[int], group: dist.ProcessGroup | None) -> list[Tensor]:
    most = max(sizes)
    padded = x.new_zeros(most, *x.shape[1:])
    padded[: x.shape[0]] = x
    gathered = x.new_empty(len(sizes) * most, *x.shape[1:])
    dist.all_gather_into_tensor(gathered, padded, group=group)
    parts = gathered.tensor_split(len(sizes)) if most else [gathered] * len(sizes)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]


class _OwnSlice(torch.autograd.Function):
    """Stands for the gathered logits in the graph: the gradient of the own slice, times the world size.

    No communication is needed in the backward, because every rank computes the same loss from the same rows.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, gathered: Tensor, start: int, world: int) -> Tensor:
        ctx.start, ctx.rows, ctx.world = start, own.shape[0], world
        return gathered.view_as(gathered)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad[ctx.start : ctx.start + ctx.rows] * ctx.world, None, None, None


class RowGatherer:
    """Gathers rows of logits, labels, iid marks and weights with one collective a forward.

    All fields of a row travel as bytes of one tensor, so uneven batches need their sizes known. A header in
    the same tensor carries them, and rows are padded to a capacity that all ranks remember. Only when a
    batch outgrows it (in the first forward, and at each new largest batch) a second collective follows.
    """

    #: Bytes of the header: this rank's number of rows, and the digest of its state.
    _HEADER = 16

    def __init__(self) -> None:
        self._capacity = 0
        #: Ranks whose digest differed from this rank's in the newest gather.
        self.apart = 0

    def gather(
        self, rows: Rows, codes: Tensor, digest: Tensor, group: dist.ProcessGroup | None
    ) -> tuple[Rows, Tensor]:
        """The rows and encoded targets of all ranks, in rank order; logits with their gradient.

        `rows.labels` is not sent: `codes` is what labels are made from, and smaller. `digest`, a 0-dim int64,
        stands for what should be the same on all ranks.
        """
        world, rank = group_size(group), dist.get_rank(group)
        fields = [rows.scores.detach(), codes, rows.filled_iid(), rows.filled_weight()]
        packed = torch.cat([_as_bytes(field) for field in fields], dim=1)
        sizes, digests, gathered = self._exchange(packed, digest, world, group)
        self.apart = sum(other != digests[rank] for other in digests)
        scores, codes, iid, weight = _split_bytes(gathered, fields)
        if rows.scores.requires_grad:
            scores = _OwnSlice.apply(rows.scores, scores, sum(sizes[:rank]), world)  # type: ignore[no-untyped-call]
        return Rows(scores, rows.labels, iid, weight), codes

    def _exchange(
        self, packed: Tensor, digest: Tensor, world: int, group: dist.ProcessGroup | None
    ) -> tuple[list[int], list[int], Tensor]:
        """How many rows each rank sent, the ranks' digests, and the bytes of all rows."""
        own, width = packed.shape
        header = torch.stack([torch.full_like(digest, own), digest]).to(packed.device)
        while True:
            room = self._HEADER + self._capacity * width
            message = packed.new_zeros(room)
            message[: self._HEADER] = header.view(torch.uint8)
            sent = min(own, self._capacity)
            message[self._HEADER : self._HEADER + sent * width] = packed[:sent].flatten()
            received = packed.new_empty(world * room)
            dist.all_gather_into_tensor(received, message, group=group)
            blocks = received.view(world, room)
            headers = blocks[:, : self._HEADER].contiguous().view(torch.int64)
            sizes, digests = headers.t().tolist()
            if max(sizes) <= self._capacity:
                bodies = blocks[:, self._HEADER :].reshape(world, self._capacity, width)
                return sizes, digests, torch.cat([bodies[rank, :size] for rank, size in enumerate(sizes)])
            self._capacity = max(sizes)


def _as_bytes(field: Tensor) -> Tensor:
    """`[N, k]` bytes of a field of N rows."""
    flat = field.reshape(field.shape[0], field.shape[1:].numel())
    return flat.contiguous().view(torch.uint8)


def _split_bytes(packed: Tensor, like: list[Tensor]) -> list[Tensor]:
    """The fields of rows of bytes, typed and shaped like the given ones."""
    fields, start = [], 0
    for field in like:
        inner = field.shape[1:]
        width = field.element_size() * inner.numel()
        part = packed[:, start : start + width].contiguous().view(field.dtype)
        fields.append(part.reshape(packed.shape[0], *inner))
        start += width
    return fields


def sum_over_ranks(values: Tensor, group: dist.ProcessGroup | None, who: str) -> Tensor:
    """The sum of a small detached tensor over all ranks: one collective, for the loss `who`."""
    total = values.detach().clone()
    with meeting(who):
        dist.all_reduce(total, group=group)
    return total


def mean_over_ranks(
    total: Tensor, divisor: Tensor | None, gathers: bool, group: dist.ProcessGroup | None, who: str
) -> Tensor:
    """Total / divisor of all ranks' rows, from this rank's 0-dim sums; a 0 divisor counts as 1.

    `who` is the loss that computes it.

    The value is that of the whole batch. The gradient is that of this rank's part times W, so that DDP's
    average is the gradient on the whole batch. Without a divisor it is the sum.
    """
    if not gathers:
        return total if divisor is None else total / torch.where(divisor == 0, 1.0, divisor)
    count = torch.ones_like(total) if divisor is None else divisor
    sums = sum_over_ranks(torch.stack([total.double(), count.double()]), group, who)
    scale = torch.where((sums[1] == 0) | (divisor is None), 1.0, sums[1])
    own = total * (group_size(group) / scale).to(total.dtype)
    return own + ((sums[0] / scale).to(total.dtype) - own).detach()
