"""What the integrations share: the losses of a model, a doctor for each run, a warmup's schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch import nn

from imbalance_doctor.findings import ImbalanceError
from imbalance_doctor.guard import Guard, attempt, described, warn
from imbalance_doctor.live.boundary import guarded
from imbalance_doctor.live.doctor import Doctor
from imbalance_doctor.losses import LossWarmupWrapper, diagnostics

F = TypeVar("F", bound=Callable[..., Any])

#: One loss, several, or several by name.
Losses: TypeAlias = "nn.Module | Iterable[nn.Module] | Mapping[str, nn.Module]"
#: Losses with the names that they are watched under; None for the name of its kind.
Named: TypeAlias = Sequence[tuple["str | None", nn.Module]]

_LOSS_TYPES = (diagnostics.Diagnosable, nn.BCEWithLogitsLoss, nn.CrossEntropyLoss)


def needs(extra: str) -> str:
    """What to do where a framework is not installed."""
    return (
        f"imbalance_doctor.integrations.{extra} needs {extra}, which is not installed: "
        f"pip install 'imbalance-doctor[{extra}]'"
    )


def original(module: nn.Module) -> nn.Module:
    """The module that a compiled one was made from; any other as it is."""
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


def find_losses(model: nn.Module) -> dict[str, nn.Module]:
    """Loss modules inside a model, by the names of their attributes; a loss inside a loss is part of it."""
    found: dict[str, nn.Module] = {}

    def search(module: nn.Module, path: str) -> None:
        for name, child in module.named_children():
            if not isinstance(original(child), _LOSS_TYPES):
                search(child, f"{path}{name}.")
            elif all(child is not loss for loss in found.values()):
                found[path + name] = child

    search(model, "")
    return found


def named_losses(given: Losses | None, model: nn.Module) -> Named:
    """The losses to watch: those given, else those found in the model.

    Raises:
        ValueError: None is given and the model has none.
    """
    if isinstance(given, nn.Module):
        return [(None, given)]
    if isinstance(given, Mapping):
        return list(given.items())
    if given is not None:
        return [(None, loss) for loss in given]
    found = find_losses(model)
    if not found:
        raise ValueError(
            f"expected {type(model).__name__} to have a loss module to watch, got none. A loss called as a "
            "function, such as F.cross_entropy, cannot be watched: make it a module, self.loss_fn = "
            "nn.CrossEntropyLoss() in __init__ and self.loss_fn(logits, targets) in the step, or pass "
            "a loss module to the callback"
        )
    return list(found.items()) if len(found) > 1 else [(None, loss) for loss in found.values()]


def process_rank() -> int:
    """Rank of this process; 0 where there is one."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def learning_rate(optimizer: Any) -> dict[str, float]:
    """``lr`` of an optimizer's first group; nothing where it has none.

    Adafactor with ``lr=None`` finds its own rate at each step; an optimizer of a user's own may have none.
    """
    rate = attempt(lambda: float(optimizer.param_groups[0]["lr"]))
    return {} if rate is None else {"lr": rate}


def hook(lost: str, *passes: type[Exception]) -> Callable[[F], F]:
    """Keep what fails in a method of a callback from the framework that calls it.

    Args:
        lost: What is lost where it fails, as a clause.
        passes: Errors that the method is documented to raise, beside a finding's.
    """

    def decorate(method: F) -> F:
        guard = guarded(method.__name__, lost, lambda self: None, passes=(ImbalanceError, *passes))
        return guard(method)

    return decorate


class Speaks:
    """A callback whose methods are kept so: what fails in them is said once."""

    def failed(self, call: str, error: Exception, lost: str) -> None:
        """Say that something which the framework called has failed."""
        said = self.__dict__.setdefault("_said", set())
        if call not in said:
            said.add(call)
            warn(f"imbalance-doctor: {call} failed ({described(error)}); {lost}. Training goes on.")


class Removable(Protocol):
    """What ends with the training."""

    def remove(self) -> None:
        """End it."""


class Monitor:
    """A `Doctor` for each training run of a callback, and the schedule of each `LossWarmupWrapper` in it.

    Args:
        run_dir: As for `Doctor`.
        settings: Keyword arguments of `Doctor`.

    Raises:
        TypeError: A setting is none of `Doctor`'s.
        ValueError: A setting is out of range.
    """

    def __init__(self, run_dir: str | Path | None, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        self.doctor = Doctor(run_dir, **self._settings)
        self._run_dir = self.doctor.run_dir
        self.running = False
        self._drivers: list[_WarmupDriver] = []
        self._handles: list[Removable] = []
        self._restoring = Guard("restoring the monitor's state", "it starts without it")

    def begin(self, losses: Named, known: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> None:
        """Watch these losses, from the state of an earlier session where there is one.

        Args:
            losses: The losses.
            known: Keyword arguments of `Doctor` that follow from the framework; the user's own go first.
            state: That of the earlier session.
        """
        self.end(complete=False)  # an earlier run of the same callback that was broken off
        self.doctor = Doctor(self._run_dir, **{**known, **self._settings})
        for name, loss in losses:
            self.doctor.watch(loss, name=name)
        if state:
            self._restoring(self.doctor.load_state_dict, state)
        self._drivers = [_WarmupDriver(loss) for _, loss in losses if _is_warmup(loss)]
        self.running = True

    def until_end(self, handle: Removable) -> None:
        """Remove this when the training is over."""
        self._handles.append(handle)

    def epoch_begins(self, epoch: int, *, resumed: bool = False) -> None:
        """An epoch begins, or the rest of one in which a checkpoint was saved."""
        for driver in self._drivers:
            driver.epoch_begins(epoch, resumed=resumed)

    def step_begins(self, step: int) -> None:
        """A training step begins, counted from 0."""
        for driver in self._drivers:
            driver.step_begins(step)

    def end(self, *, complete: bool) -> None:
        """The training is over; a second call does nothing."""
        if self.running:
            self.running = False
            self.doctor.close(complete=complete)
            for handle in (*self._drivers, *self._handles):
                handle.remove()
            self._drivers, self._handles = [], []


def _is_warmup(loss: nn.Module) -> bool:
    return isinstance(original(loss), LossWarmupWrapper)


class _WarmupDriver:
    """Tells a `LossWarmupWrapper` which epoch and step begin, unless the training loop does.

    It speaks just before a step's forward: by then a loop that drives the wrapper itself has done so.
    """

    def __init__(self, loss: nn.Module) -> None:
        wrapper = original(loss)
        assert isinstance(wrapper, LossWarmupWrapper)
        self._wrapper = wrapper
        self._begun: dict[str, int] = {}  # by the wrapper's method: what it is yet to be told
        self._theirs: set[str] | None = None  # the methods that the loop calls
        wrapper._hooks_called.clear()  # from here on: calls of an earlier run are not this loop's
        # On a compiled loss, this is outside of what is compiled.
        self._handle = loss.register_forward_pre_hook(self._before_forward)

    def epoch_begins(self, epoch: int, *, resumed: bool) -> None:
        if not (resumed and self._wrapper.reset_queue_each_epoch):  # the queue came with the checkpoint
            self._begun["on_train_epoch_start"] = epoch

    def step_begins(self, step: int) -> None:
        self._begun["on_train_batch_start"] = step

    def remove(self) -> None:
        self._handle.remove()

    def _before_forward(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not (self._wrapper.training and torch.is_grad_enabled()):
            return
        if self._theirs is None:
            self._theirs = set(self._wrapper._hooks_called)
        begun, self._begun = self._begun, {}
        for method in ("on_train_epoch_start", "on_train_batch_start"):
            if method in begun and method not in self._theirs:
                getattr(self._wrapper, method)(begun[method])
