"""Forwards that run again on a batch that the loss has seen.

Activation checkpointing computes a forward a second time, inside the backward. Sharpness-aware minimisation
(Foret et al., ICLR 2021) and optimizers with a closure, such as LBFGS, evaluate one batch at several points.
The batch is new once: what a loss remembers of it, and what it reports, must not depend on how often it was
computed.
"""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

#: Forwards that are remembered. A recomputation belongs to one of those that the running backward began
#: from: one for each loss of the batch, or view of it, and more than a handful have not been met.
_REMEMBERED = 8

#: Logits that are kept to tell one forward from another. Of a larger batch the memory would be felt.
_KEPT = 1 << 20

#: Nodes of the graph that are looked at for a weight; in most models it hangs on the first or second one.
_NODES = 32


class _OptimizerSteps:
    """Counts the steps of all optimizers of the process, from the first time that somebody asks."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self._listens = False

    @property
    def running(self) -> bool:
        """Whether a step is under way, so that a forward is that of its closure."""
        return self.begun > self.ended

    def same(self, seen: Seen) -> bool:
        """Whether no step has ended since a forward; a step with a closure may have begun."""
        return seen.step == self.begun or (self.running and not seen.inside and seen.step + 1 == self.begun)

    def listen(self) -> None:
        """Begin to count."""
        if not self._listens:
            self._listens = True
            register_optimizer_step_pre_hook(self._begin)
            register_optimizer_step_post_hook(self._end)

    def _begin(self, *_: Any) -> None:
        # One that raised in its step has no end of its own.
        self.begun, self.ended = self.begun + 1, self.begun

    def _end(self, *_: Any) -> None:
        self.ended = self.begun


_STEPS = _OptimizerSteps()


@dataclass(frozen=True)
class _Weight:
    """A weight as it was: which one, how often it had been written to, and the first of its values.

    Values, because what is written through ``.data`` is not counted.
    """

    identity: int
    version: int
    values: Tensor

    @staticmethod
    def of(leaf: Tensor) -> _Weight:
        return _Weight(id(leaf), leaf._version, _first(leaf).clone())

    def has_moved(self, leaf: Tensor | None) -> bool:
        """Whether it is the same weight, with other values."""
        if leaf is None or self.identity != id(leaf):
            return False
        return self.version != leaf._version or not torch.equal(self.values, _first(leaf))


def _first(weight: Tensor) -> Tensor:
    return weight.detach()[:1] if weight.dim() else weight.detach()


@dataclass
class Seen:
    """A training forward.

    Attributes:
        shape: That of the logits.
        logits: The logits, without their graph; None where they are too many to be kept.
        targets: The tensor that holds the labels, while it lives.
        place: Where in its memory the labels begin.
        version: How often it had been written to.
        weight: One weight that the logits come from.
        step: Optimizer steps that had begun.
        inside: Whether the last of these was under way.
        undo: What the forward changed in the memory of the loss; None where it changed nothing.
    """

    shape: torch.Size
    logits: Tensor | None
    targets: weakref.ref[Tensor]
    place: int
    version: int
    weight: _Weight | None
    step: int
    inside: bool
    undo: Any = None

    def labelled(self, targets: Tensor) -> bool:
        """Whether the labels are the very ones; an empty tensor is nobody's."""
        holder, place = _holder(targets), targets.data_ptr()
        return self.targets() is holder and self.version == holder._version and self.place == place != 0

    def has_moved(self, logits: Tensor) -> bool:
        """Whether the weights that the logits come from are others by now."""
        return self.weight is not None and self.weight.has_moved(_leaf_of(logits))

    def equals(self, logits: Tensor) -> bool:
        """Whether the logits are the same."""
        return self.logits is not None and torch.equal(self.logits, logits)


class Forwards:
    """The newest training forwards of one loss."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=_REMEMBERED)
        #: Whether the newest forward outside a backward had gradients on.
        self._graded = False
        #: Forwards with moved weights while no optimizer of the process has made a step.
        self._untold = 0

    def again(self, logits: Tensor, targets: Tensor) -> Seen | None:
        """The forward that the one which begins repeats; None where its batch is new, or nobody can tell.

        Two kinds are known. A forward inside a backward recomputes one that came before it, unless that one
        had its gradients off (then the recomputation is what counts). And a forward with the very labels of
        an earlier one repeats it where the weights have moved and no step of an optimizer has ended in
        between: that is a closure, or a step to the side that will be taken back.
        """
        if torch.compiler.is_compiling():
            return None
        if self.recomputes():
            return self._recomputed(logits)
        if not self._graded or not self._seen or in_backward():
            return None
        for seen in reversed(list(self._seen)):  # another thread may add one
            if not _STEPS.same(seen):
                return None
            if seen.labelled(targets) and seen.shape == logits.shape:
                if _STEPS.running:
                    return seen if seen.has_moved(logits) or seen.equals(logits) else None
                return seen if seen.has_moved(logits) and self._may_step_aside() else None
        return None

    def _may_step_aside(self) -> bool:
        """Whether weights that moved without an optimizer may move back.

        Before the first step of an optimizer it may also be a loop that does without one, and nobody can
        tell: one such forward is let pass, and no more.
        """
        if _STEPS.begun:
            return True
        self._untold += 1
        return self._untold == 1

    def recomputes(self) -> bool:
        """Whether the forward that begins computes an earlier one again, for its backward."""
        if torch.compiler.is_compiling():
            return False
        if in_backward():
            return self._graded
        self._graded = torch.is_grad_enabled()
        return False

    def remember(self, logits: Tensor, targets: Tensor, undo: Any) -> None:
        """A training forward on a new batch is over."""
        if torch.compiler.is_compiling():
            return
        _STEPS.listen()
        holder = _holder(targets)
        leaf = _leaf_of(logits)
        # What a step of an optimizer has made use of is not computed again.
        while self._seen and not _STEPS.same(self._seen[0]):
            self._seen.popleft()
        self._seen.append(
            Seen(
                logits.shape,
                logits.detach() if logits.numel() <= _KEPT else None,
                weakref.ref(holder),
                targets.data_ptr(),
                holder._version,
                None if leaf is None else _Weight.of(leaf),
                _STEPS.begun,
                _STEPS.running,
                undo,
            )
        )

    def undone(self, seen: Seen) -> list[Any]:
        """What has to be taken back to stand where that forward stood, the newest change first."""
        place = next(place for place, each in enumerate(self._seen) if each is seen)
        return [each.undo for each in reversed(list(self._seen)[place:]) if each.undo is not None]

    def forget(self) -> None:
        """Nothing that was seen can be taken back any more."""
        self._seen.clear()

    def _recomputed(self, logits: Tensor) -> Seen | None:
        alike = [seen for seen in reversed(list(self._seen)) if seen.shape == logits.shape]
        if len(alike) > 1:
            alike = [seen for seen in alike if seen.equals(logits)] or alike
        return alike[0] if alike else None

    def __deepcopy__(self, memo: dict[int, Any]) -> Forwards:
        # A copy of a loss has seen nothing: the graphs are those of the original.
        return Forwards()

    def __reduce__(self) -> tuple[type[Forwards], tuple[()]]:
        return Forwards, ()


def in_backward() -> bool:
    """Whether autograd is computing a backward on this thread."""
    return bool(torch._C._current_graph_task_id() >= 0)


def _holder(targets: Tensor) -> Tensor:
    """The tensor whose memory a view of labels shows: views are made anew for each call."""
    base = targets._base
    return targets if base is None else base


def _leaf_of(logits: Tensor) -> Tensor | None:
    """A weight of the graph of the logits, most often one of the last layer; None where none is near.

    A matrix where there is one: a ranking does not move a bias that all rows share.
    """
    if logits.grad_fn is None:
        return logits if logits.requires_grad else None
    nodes: list[Any] = [logits.grad_fn]
    vector = None
    for node in nodes:
        for following, _ in node.next_functions:
            leaf = getattr(following, "variable", None)
            if isinstance(leaf, Tensor):
                if leaf.dim() > 1:
                    return leaf
                vector = leaf
            elif following is not None and len(nodes) < _NODES:
                nodes.append(following)
    return vector
