"""The validation rows of all ranks, brought to rank 0: the one communication of the monitor.

It cannot leave a rank waiting for another one:

- Every rank enters, at the end of each validation, whatever it holds and whatever has failed in it before.
- Which collectives there are follows from the world size and from what the first of them tells all ranks
  alike, so each rank enters the same ones in the same order. With nothing to send, a rank sends nothing.
- What can fail on one rank alone, reading and joining its batches, is done before the first collective. In
  between, rows are sent as views in small pieces, which need next to no memory on the host or on the GPU.

What is left is a communication that fails itself. Then every rank that waits is told by its backend, as it
would be in the training's own next collective.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from imbalance_doctor.losses import distributed

#: Scores and targets, [N, C] and [N, 1] or [N, C].
Pair: TypeAlias = tuple[NDArray[Any], NDArray[Any]]

#: Bytes that rank 0 takes in at once. Under NCCL they pass through its GPU, whose memory is the training's.
AT_ONCE = 64 * 2**20

#: Backends that have a gather. The choice follows from the name, and not from trying, so that it is the same
#: on all ranks.
GATHERING = ("gloo", "nccl", "mpi", "ucc", "xccl")


def of_all_ranks(own: Pair | None, stride: int) -> list[Pair]:
    """The rows to evaluate on this rank: on rank 0 those of all ranks, on the others their own.

    A loss that does not gather is examined by each rank, and needs validation there too. That of its own rows
    will do: the model is the same on all ranks, and what is judged by it are the rank's own training rows.

    Args:
        own: The rows of this rank; None where it has none.
        stride: Of so many of its rows one was kept; of the other ranks' no more are taken.

    Raises:
        Exception: The communication fails.
    """
    ranks = distributed.group_size()
    if ranks == 1:
        return [] if own is None else [own]
    told: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(told, (stride, 0 if own is None else sum(x.nbytes for x in own)))
    # From here on, what differs between ranks is the content of messages and not their number.
    shared = max(stride for stride, _ in told)
    messages = math.ceil(max(size for _, size in told) * ranks / AT_ONCE)
    if not messages:
        return []
    pieces: list[list[NDArray[Any]]] = [np.array_split(x[:: shared // stride], messages) for x in own or ()]
    arrived: list[list[Pair]] = [[] for _ in told]
    for message in range(messages):
        piece = None if own is None else tuple(part[message] for part in pieces)
        for rank, theirs in enumerate(_to_rank_0(piece)):
            if theirs is not None:
                arrived[rank].append(theirs)
    if torch.distributed.get_rank() == 0:
        return [pair for theirs in arrived for pair in theirs]
    return [] if own is None else [own]


def _to_rank_0(piece: Any) -> list[Any]:
    """What each rank sends, on rank 0; nothing on the others."""
    distributed = torch.distributed
    first = distributed.get_rank() == 0
    pieces: list[Any] = [None] * distributed.get_world_size()
    if any(name in distributed.get_backend_config() for name in GATHERING):
        distributed.gather_object(piece, pieces if first else None, dst=0)
    else:
        distributed.all_gather_object(pieces, piece)
    return pieces if first else []
