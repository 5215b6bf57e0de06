"""The memory queue in a ``state_dict``: how it is written, and how older checkpoints hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .labels import IGNORED, membership
from .packing import pack, unpack
from .queue import BLANK

_FIELDS = (*BLANK, "head", "step")
#: Where buffers of a queue lay: in earlier checkpoints of this package, and in those of imbalanced-losses
#: 0.6.
_BUFFERS = "queue."
_PEER = {
    "_queue._q_logits": "logits",
    "_queue._q_targets": "targets",
    "_queue._q_ptr": "head",
    "_queue._q_iid": "iid",
    "_queue._q_weight": "weight",
}


def packed(fields: Mapping[str, Tensor]) -> Tensor:
    """The fields of a queue as one tensor of bytes."""
    return pack({"version": 1}, fields)


def unpacked(state: Any) -> dict[str, Tensor]:
    """The fields of a queue from what `packed` made.

    Raises:
        ValueError: It is something else, or was changed.
    """
    if not isinstance(state, Tensor):
        raise ValueError(f"expected a tensor of bytes, got {type(state).__name__}")
    _, fields = unpack(state)
    if set(fields) != set(_FIELDS):
        raise ValueError(f"expected the fields {', '.join(_FIELDS)}, got {', '.join(fields) or 'none'}")
    return fields


def older_names(prefix: str) -> set[str]:
    """The keys under which older checkpoints hold a queue."""
    return {prefix + _BUFFERS + name for name in _FIELDS} | {prefix + name for name in _PEER}


def older(
    state_dict: Mapping[str, Any], prefix: str, num_classes: int, ignore_index: int
) -> dict[str, Tensor] | None:
    """The fields of a queue from a checkpoint that holds it as buffers; None where it holds none.

    Raises:
        ValueError: Some of the buffers are missing.
    """
    ours = {name: state_dict.get(prefix + _BUFFERS + name) for name in _FIELDS}
    peers = {name: state_dict.get(prefix + key) for key, name in _PEER.items()}
    if any(value is not None for value in ours.values()):
        return _complete(ours)
    if peers["logits"] is None:
        return None
    scores = peers["logits"]
    # Marks and weights came to that package later than its queue.
    peers["iid"] = scores.new_ones(len(scores), dtype=torch.bool) if peers["iid"] is None else peers["iid"]
    peers["weight"] = scores.new_ones(len(scores)) if peers["weight"] is None else peers["weight"]
    return _of_peer(_complete(peers), num_classes, ignore_index)


def _complete(found: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    missing = [name for name, value in found.items() if value is None]
    if missing:
        raise ValueError(f"expected all buffers of a memory queue, got one without {', '.join(missing)}")
    return {name: value for name, value in found.items() if value is not None}


def _of_peer(found: Mapping[str, Tensor], num_classes: int, ignore_index: int) -> dict[str, Tensor]:
    """The ring of imbalanced-losses: an empty slot has an ignored target, and no row has an age."""
    targets = found["targets"].long()
    held = targets != ignore_index
    return {
        "scores": found["logits"],
        "labels": membership(torch.where(held, targets, IGNORED), num_classes),
        "iid": found["iid"].bool(),
        "weight": found["weight"],
        "born": torch.where(held, 0, -1),
        "head": found["head"].reshape(()).long(),
        "step": torch.ones((), dtype=torch.int64, device=targets.device),
    }
