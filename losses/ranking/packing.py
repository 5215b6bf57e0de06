"""State as one tensor of bytes, which is what every reader of a ``state_dict`` leaves alone.

A state dict is averaged by weight averaging, broadcast by wrappers, and written by formats that hold nothing
but tensors. Floats in it are taken for weights, and anything that is no tensor ends some of these. Bytes
travel untouched, and a checksum tells where they did not.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: Torch's name for what a module saves besides parameters and buffers.
EXTRA_STATE = "_extra_state"

#: The header's length is a multiple of this, so that a counter with one more digit does not change the shape
#: of the state: readers compare shapes.
_BLOCK = 1024

_TYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int8,
        torch.int64,
        torch.bool,
    )
}


def pack(values: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> Tensor:
    """uint8 `[K]` on the CPU, which `unpack` takes apart; `values` are what JSON holds."""
    tensors = tensors or {}
    flat = {name: tensor.detach().cpu().reshape(-1) for name, tensor in tensors.items()}
    parts = [tensor.view(torch.uint8) if tensor.numel() else tensor.byte() for tensor in flat.values()]
    body = torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8, device="cpu")
    fields = {
        name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        for name, tensor in tensors.items()
    }
    header = {"values": dict(values), "fields": fields}
    text = json.dumps({"checksum": _checksum(header, body), **header}) + "\n"
    padded = text.rjust(-(-len(text) // _BLOCK) * _BLOCK).encode("ascii")
    return torch.cat([torch.frombuffer(bytearray(padded), dtype=torch.uint8), body])


def unpack(packed: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The values and tensors that `pack` was given; tensors on the CPU.

    Raises:
        ValueError: These are not the bytes that `pack` made.
    """
    if packed.dtype != torch.uint8 or packed.dim() != 1:
        raise ValueError(f"expected a vector of bytes, got {packed.dtype} of shape {list(packed.shape)}")
    packed = packed.detach().cpu().contiguous()
    text, newline, _ = packed.numpy().tobytes().partition(b"\n")
    body = packed[len(text) + 1 :]
    try:
        header = json.loads(text)
        checksum = header.pop("checksum")
        sizes = {
            name: _TYPES[kind].itemsize * math.prod(shape) for name, (kind, shape) in header["fields"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("expected the bytes of a saved state, got bytes of something else") from None
    if not newline or sum(sizes.values()) != len(body) or checksum != _checksum(header, body):
        raise ValueError("expected the bytes of a saved state, got bytes that were changed after saving")
    tensors, start = {}, 0
    for name, (kind, shape) in header["fields"].items():
        part = body[start : start + sizes[name]].clone()
        tensors[name] = (part.view(_TYPES[kind]) if part.numel() else part.to(_TYPES[kind])).reshape(shape)
        start += sizes[name]
    return header["values"], tensors


def _checksum(header: Mapping[str, Any], body: Tensor) -> int:
    return zlib.crc32(body.numpy().tobytes(), zlib.crc32(json.dumps(header).encode()))
