"""What the losses report, and the hooks that receive it.

Every statistic that a loss emits is listed in `CATALOGUE`, and a test fails a loss that emits another name.

A loss computes statistics only when somebody asks: through ``return_diagnostics=True`` or through a
hook registered with `Diagnosable.register_diagnostics_hook`. A hook may say, before each forward, how
much it wants (`Detail`), so that a forward nobody listens to costs nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .._checks import in_transform, warn
from ..catalogue import CATALOGUE as CATALOGUE
from ..catalogue import HISTOGRAM_BINS as HISTOGRAM_BINS
from ..catalogue import QUANTILE_LEVELS as QUANTILE_LEVELS
from ..catalogue import STATS as STATS
from ..catalogue import Detail as Detail
from ..catalogue import Stat as Stat
from ..forwards.compiling import breaks, outside_the_graph
from ..forwards.grad_mode import without_grad
from ..forwards.repeats import Forwards
from ..interrupts import from_outside
from ..ranking.packing import EXTRA_STATE
from .gradients import Labels, gradient_norms

Stats: TypeAlias = dict[str, Tensor]
ConfigValue: TypeAlias = bool | int | float | str | list[float] | dict[str, Any] | None
T = TypeVar("T")
DiagnosticsHook: TypeAlias = Callable[["Diagnosable", Stats], None]


@dataclass(frozen=True)
class Request:
    """What is wanted from one forward.

    Attributes:
        detail: The highest level that anybody wants.
        hooks: Who is told.
        gradients: Who is told of the gradient, once a backward has computed it.
        returned: Whether the caller wants the statistics too.
        strict: Whether a failure to compute them is an error; otherwise it is a warning.
    """

    detail: Detail
    hooks: tuple[DiagnosticsHook, ...]
    gradients: tuple[DiagnosticsHook, ...]
    returned: bool
    strict: bool

    @property
    def describes(self) -> bool:
        """Whether more than the loss is wanted."""
        return self.detail > Detail.LOSS


#: Statistics that may share memory with what a forward returns.
_SHARED = frozenset(stat.name for stat in CATALOGUE if stat.shared)

#: What is wanted where nobody listens, by whether the caller wants the statistics.
_UNHEARD = {
    returned: Request(Detail.HISTOGRAMS if returned else Detail.NOTHING, (), (), returned, strict=returned)
    for returned in (False, True)
}


@dataclass(frozen=True)
class Listener:
    """A hook, what it is asked before each forward, and whether a failure to compute reaches the caller."""

    hook: DiagnosticsHook
    wants: Callable[[], Detail | bool | None] | None
    strict: bool
    gradients: DiagnosticsHook | None = None
    #: Asked in compiled code, whether it can be called there; None where it always can.
    breaks: Callable[[], bool] | None = None
    _requests: dict[Detail, Request] = field(default_factory=dict, compare=False, repr=False)

    def request(self) -> Request:
        """What this listener wants from the forward that begins."""
        answer: Detail | bool | None = Detail.HISTOGRAMS
        if self.wants is not None:
            answer = outside_the_graph(self.wants) if torch.compiler.is_compiling() else self.wants()
        if type(answer) is not Detail:
            answer = Detail.COUNTS if answer is True else Detail(answer or 0)
        # Asked at every forward, and the answers are few.
        known = self._requests.get(answer)
        if known is None:
            hooks = () if answer is Detail.NOTHING else (self.hook,)
            gradients = () if self.gradients is None or answer < Detail.SCORES else (self.gradients,)
            known = Request(answer, hooks, gradients, returned=False, strict=self.strict and bool(hooks))
            self._requests[answer] = known
        return known


class Diagnosable(nn.Module, ABC):
    """A loss that can be listened to. Base of every loss of this package."""

    #: Stable name of the loss in logs and findings, see `losses.kinds`.
    kind: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._diagnostics_hooks: OrderedDict[int, Listener] = OrderedDict()
        self._stats_failed = self._graph_told = False
        #: What tells a batch that is computed again from a new one.
        self._forwards = Forwards()

    @abstractmethod
    def config(self) -> dict[str, ConfigValue]:
        """The loss's settings as they are now, ready for JSON; keys are constructor parameters."""

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        return ", ".join(
            f"{name}={value!r}" for name, value in self.config().items() if not isinstance(value, dict)
        )

    def reconfigure(self, **settings: ConfigValue) -> None:
        """Change settings of a loss in use, by the names of constructor parameters.

        Raises:
            ValueError: A setting cannot change in use, or the value is not allowed; nothing is changed.
        """
        raise ValueError(
            f"expected no settings, because {type(self).__name__} cannot change any during training, got "
            f"{', '.join(map(repr, settings))}: build a new loss instead"
        )

    def register_diagnostics_hook(
        self,
        hook: DiagnosticsHook,
        *,
        wants: Callable[[], Detail | bool | None] | None = None,
        gradients: DiagnosticsHook | None = None,
        unheard: Callable[[], None] | None = None,
    ) -> RemovableHandle:
        """Call ``hook(module, stats)`` after forwards, with detached statistics on the loss's device.

        Statistics that cannot be computed never end a training run: the loss warns once, and the hook is
        not called for that forward. An error that the hook itself raises reaches the caller.

        Args:
            hook: Receives this module and a ``dict[str, Tensor]`` of its own, with names from `CATALOGUE`.
            wants: Asked before each forward how much detail the hook wants; `Detail.NOTHING` (or False, or
                None) skips the forward at no cost, True is `Detail.COUNTS`. Without it, every forward is
                reported in full.
            gradients: Called like `hook` once a backward has reached the logits of a forward that `hook`
                was told of from `Detail.SCORES` on, with `pos_grad_norm` and `neg_grad_norm`: the gradient
                of this loss alone, whatever else uses the logits.
            unheard: Called, without arguments, where the loss is compiled into a graph that may not break
                (``fullgraph=True``, an export), in which no hook is called. Without it, the loss warns once.

        Returns:
            A handle whose ``remove()`` ends the reports.
        """
        may_break = breaks(self._warn_of_the_graph if unheard is None else unheard)
        return self._listen(Listener(hook, wants, False, gradients, may_break))

    def _listen(self, listener: Listener) -> RemovableHandle:
        handle = RemovableHandle(self._diagnostics_hooks)
        self._diagnostics_hooks[handle.id] = listener
        return handle

    def _requested(self, returned: bool, repeated: bool | None = None) -> Request:
        """What this forward is to report, and to whom: listeners hear of a batch once.

        A strict listener is one that the caller of this very forward waits for.

        Args:
            returned: Whether the caller wants the statistics.
            repeated: Whether the batch has been seen; None where only a recomputation would tell.
        """
        if repeated is None:
            repeated = self._forwards.recomputes()
        if not self._diagnostics_hooks:
            return _UNHEARD[returned]
        listeners = list(self._diagnostics_hooks.values())
        if torch.compiler.is_compiling():
            listeners = [each for each in listeners if each.breaks is None or each.breaks()]
            if not listeners:
                return _UNHEARD[returned]
        if repeated or in_transform():  # there, values stand for others
            listeners = [listener for listener in listeners if listener.strict]
        requests = [listener.request() for listener in listeners]
        if len(requests) == 1 and not returned:
            return requests[0]
        requests.append(_UNHEARD[returned])
        return Request(
            max(request.detail for request in requests),
            tuple(hook for request in requests for hook in request.hooks),
            tuple(hook for request in requests for hook in request.gradients),
            returned,
            any(request.strict for request in requests),
        )

    def _with_gradients(self, request: Request, logits: Tensor, read: Callable[[], Labels]) -> Tensor:
        """The logits to go on with: where somebody wants to know their gradient, an alias that is watched.

        An alias, so that the gradient seen is that of this loss and not that of all that uses the logits.
        `read` gives the labels, as `gradient_norms` takes them.
        """
        if not request.gradients or not logits.requires_grad or torch.compiler.is_compiling():
            return logits
        labels = self._attempt(request.strict, read)
        if labels is None:
            return logits
        watched = logits.view_as(logits)

        def tell(gradient: Tensor) -> None:
            handle.remove()
            stats = self._attempt(request.strict, lambda: gradient_norms(gradient, *labels)) or {}
            for hook in request.gradients if stats else ():
                hook(self, dict(stats))

        handle = watched.register_hook(tell)  # type: ignore[no-untyped-call]
        return watched

    def _collect(self, request: Request, loss: Tensor, compute: Callable[[], Stats]) -> Stats:
        """The statistics that were requested; none if nobody wants any, or if they cannot be computed.

        What a loop does in place to what a forward returns, such as ``loss /= 4``, does not change them.
        """
        if not request.describes:
            return {"loss": loss.detach().clone()} if request.detail is Detail.LOSS else {}
        stats = self._attempt(request.strict, compute) or {}
        return {name: value.clone() if name in _SHARED else value for name, value in stats.items()}

    def _attempt(self, strict: bool, compute: Callable[[], T]) -> T | None:
        """What was computed for a listener; None where it failed, unless a failure is to reach the caller."""
        try:
            return without_grad(compute)
        except Exception as error:
            if strict or from_outside(error):
                raise
            if not self._stats_failed:
                self._stats_failed = True
                warn(
                    f"{type(self).__name__}: the statistics of a forward could not be computed and are left "
                    f"out ({type(error).__name__}: {error}); the loss is not affected. Later failures are "
                    "silent. Call it with return_diagnostics=True to see the error"
                )
            return None

    def _tell(self, request: Request, stats: Stats) -> None:
        """Give statistics, if there are any, to those who asked, a dictionary to each."""
        if stats:
            if request.returned and request.hooks:  # what is returned is the caller's to change
                stats = {name: value.clone() for name, value in stats.items()}
            for hook in request.hooks:
                if torch.compiler.is_compiling():
                    outside_the_graph(hook, self, dict(stats))
                else:
                    hook(self, dict(stats))

    def _answer(
        self, request: Request, loss: Tensor, compute: Callable[[], Stats]
    ) -> Tensor | tuple[Tensor, Stats]:
        """What a forward returns, once its listeners have been told."""
        stats = self._collect(request, loss, compute)
        self._tell(request, stats)
        return (loss, stats) if request.returned else loss

    def _warn_of_the_graph(self) -> None:
        if not self._graph_told:
            self._graph_told = True
            warn(
                f"{type(self).__name__} is compiled into a graph that may not break (fullgraph=True, or an "
                "export), so its hooks are not called there. Compile without fullgraph=True, or keep the "
                "loss out of the compiled function"
            )

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # Torch's way to load what `get_extra_state` saved, with two differences: what cannot be read is one
        # of the errors that it lists, and a checkpoint of a model that was trained with another loss lacks
        # nothing.
        try:
            super()._load_from_state_dict(
                state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
            )
        except ValueError as error:
            error_msgs.append(f"{prefix}{EXTRA_STATE}: {error}")
        missing_keys[:] = [key for key in missing_keys if key != prefix + EXTRA_STATE]

    def __getstate__(self) -> dict[str, Any]:
        # Listeners belong to the process that registered them, not to the loss: a pickled or deep-copied
        # loss starts without any, so that a watched model can still be saved.
        return {**self.__dict__, "_diagnostics_hooks": OrderedDict()}
