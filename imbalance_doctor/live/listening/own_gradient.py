"""The gradient of one loss at its logits, whatever else uses them.

It is heard where it passes: at those nodes of the loss's graph that hand it on to the logits. The logits
themselves are the user's, and nothing is changed or hung on them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

#: Nodes of a loss's graph that are looked at: a loop over a thousand classes has some four for each. A look
#: takes a microsecond.
MOST_NODES = 4096


def hear_own_gradient(
    loss: Tensor, logits: Tensor, hear: Callable[[Tensor], None], guard: Callable[..., Any]
) -> None:
    """Be told once of the gradient of `loss` at the logits, in the first backward that reaches all of it.

    Nobody is told where the loss does not depend on the logits, or where its graph is too large to search.

    Args:
        loss: What a loss returned.
        logits: Those that it was called with.
        hear: Given the gradient, which is not to be written to.
        guard: Calls with their arguments what runs in the backward.
    """
    if loss.grad_fn is None or not logits.requires_grad:
        return
    uses = _uses(loss.grad_fn, logits)
    heard = _Sum(len(uses), logits.shape, hear)
    for node, places in uses.items():
        heard.listen(node, places, guard)


def _uses(root: Node, logits: Tensor) -> dict[Node, list[int]]:
    """Nodes that hand a gradient to the logits, each with the places of its results that are theirs."""
    edge = get_gradient_edge(logits)
    # Each thread numbers its nodes as it makes them: what is older than the logits does not depend on them.
    born = edge.node._sequence_nr()
    since = -1 if logits.is_leaf or root._sequence_nr() < born else born
    found: dict[Node, list[int]] = {}
    waiting, seen = [root], {root}
    while waiting:
        node = waiting.pop()
        for place, (following, output) in enumerate(node.next_functions):
            if following is None:
                continue
            if following is edge.node:
                if output == edge.output_nr:
                    found.setdefault(node, []).append(place)
            elif following not in seen and following._sequence_nr() > since:
                if len(seen) == MOST_NODES:
                    return {}
                seen.add(following)
                waiting.append(following)
    return found


class _Sum:
    """Adds up the parts of a gradient as a backward comes by, and tells the sum when none is left out."""

    def __init__(self, parts: int, shape: torch.Size, hear: Callable[[Tensor], None]) -> None:
        self._shape, self._hear = shape, hear
        self._missing = set(range(parts))
        #: What ends the listening at each node.
        self._handles: list[Any] = []
        self._sum: Tensor | None = None

    def listen(self, node: Node, places: list[int], guard: Callable[..., Any]) -> None:
        """Hear the next part of the gradient where it leaves this node."""
        add = partial(guard, self._add, len(self._handles), places)
        self._handles.append(node.register_hook(add))

    def _add(self, part: int, places: list[int], results: tuple[Any, ...], _: Any) -> None:
        if part not in self._missing:
            return
        for place in places:
            gradient = results[place]
            if gradient is not None:
                # Autograd sums over what was broadcast only after this.
                gradient = gradient.detach().sum_to_size(self._shape)
                self._sum = gradient if self._sum is None else self._sum + gradient
        self._missing.discard(part)
        self._handles[part].remove()
        if not self._missing and self._sum is not None:
            gradient, self._sum = self._sum, None
            self._hear(gradient)
