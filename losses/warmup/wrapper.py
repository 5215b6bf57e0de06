"""Start on a likelihood loss, blend into a ranking loss, and sharpen its temperature from there."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import kinds
from .._checks import check_tensors, warn
from ..diagnostics.bridge import Evaluated, as_labels, config_of, evaluate, keywords_of, kind_of, original
from ..diagnostics.gradients import Labels
from ..diagnostics.likelihood import likelihood_stats
from ..diagnostics.listening import ConfigValue, Detail, Diagnosable, Listener, Request, Stats
from ..ranking.base import RankingLoss, Result
from ..ranking.packing import pack, unpack
from ..settings import (
    GATHER_DISTRIBUTED,
    TEMPERATURE,
    Configurable,
    Setting,
    Settings,
    integer,
    number,
    one_of,
    optional,
)
from .schedule import BlendSchedule, Decay, Phase


def _check_loss(name: str, value: object) -> nn.Module:
    if not isinstance(value, nn.Module):
        raise TypeError(
            f"expected {name} to be a torch.nn.Module, got {value!r}: pass an instance such as "
            "torch.nn.CrossEntropyLoss(), and call a function of your own in the forward of a module"
        )
    return value


#: In `config`, its kind and settings.
_LOSS = Setting(_check_loss, plain=lambda loss: config_of(original(loss)))


class LossWarmupWrapper(Configurable):
    """Warmup loss alone; then a linear blend; then the main loss at `final_main_weight`.

    In the k-th of K blend epochs (or steps) the main loss weighs (k + 1)/(K + 1) · `final_main_weight`, the
    warmup loss the rest. The switch, where the main loss first counts, resets its queue and starts its
    temperature at `temp_start`, which then falls geometrically to `temp_end` over `temp_decay_steps` steps.

    Call ``on_train_epoch_start(epoch)`` at each epoch and ``on_train_batch_start(global_step)`` at each step.

    Args:
        warmup_loss: Any loss; integer targets and ignored rows work with BCE, cross-entropy and focal.
        main_loss: The loss to end with, usually a ranking loss.
        warmup_epochs: Epochs of warmup.
        temp_start: Temperature at the switch.
        temp_end: Temperature after the decay.
        temp_decay_steps: Steps of the decay, counted from the switch.
        blend_epochs: Epochs of the blend.
        warmup_steps: Steps of warmup, instead of epochs.
        blend_steps: Steps of the blend, instead of epochs.
        final_main_weight: Weight of the main loss after the blend, in (0, 1]; the warmup loss keeps the rest.
        reset_queue_each_epoch: Whether each epoch starts with an empty queue.
        gather_distributed: If not None, overrides that of both losses.

    Raises:
        ValueError: If a setting is not allowed, or lengths are given both in epochs and in steps.
    """

    kind = kinds.WARMUP
    _SETTINGS: ClassVar[Settings] = {
        "warmup_loss": _LOSS,
        "main_loss": _LOSS,
        "warmup_epochs": Setting(integer(least=0)),
        "temp_start": TEMPERATURE,
        "temp_end": TEMPERATURE,
        "temp_decay_steps": Setting(integer(least=0), changes=True),
        "blend_epochs": Setting(integer(least=0)),
        "warmup_steps": Setting(optional(integer(least=0))),
        "blend_steps": Setting(optional(integer(least=0))),
        "final_main_weight": Setting(number(above=0.0, most=1.0), changes=True),
        "reset_queue_each_epoch": Setting(one_of(True, False), changes=True),
        "gather_distributed": GATHER_DISTRIBUTED,
    }

    warmup_loss: nn.Module
    main_loss: nn.Module
    warmup_epochs: int
    temp_start: float
    temp_end: float
    temp_decay_steps: int
    blend_epochs: int
    warmup_steps: int | None
    blend_steps: int | None
    final_main_weight: float
    reset_queue_each_epoch: bool
    gather_distributed: bool | None

    def __init__(
        self,
        warmup_loss: nn.Module,
        main_loss: nn.Module,
        warmup_epochs: int = 0,
        temp_start: float = 0.05,
        temp_end: float = 0.005,
        temp_decay_steps: int = 10_000,
        *,
        blend_epochs: int = 0,
        warmup_steps: int | None = None,
        blend_steps: int | None = None,
        final_main_weight: float = 1.0,
        reset_queue_each_epoch: bool = False,
        gather_distributed: bool | None = None,
    ) -> None:
        super().__init__(locals())
        self._counts_steps = warmup_steps is not None or blend_steps is not None
        if self._counts_steps and (warmup_epochs or blend_epochs):
            raise ValueError(
                f"expected the schedule in epochs or in steps, got both: warmup_epochs={warmup_epochs}, "
                f"blend_epochs={blend_epochs}, warmup_steps={warmup_steps}, blend_steps={blend_steps}. Leave "
                "the epochs out, or the steps"
            )
        self._share_gathering()
        self._warn_of_missing_queue()

        self._epoch = 0
        self._step = 0
        #: Whether the main loss counts already, and the first step that was heard of since.
        self._switched = not self.in_warmup
        self._switch_step: int | None = None
        #: Step and temperature where the present decay begins: the switch, or a change of settings.
        self._decay_from = (0, self.temp_start)
        #: Step where it ends, if a change of settings moved that; else counted from the switch.
        self._decay_until: int | None = None
        #: What was changed during training, and goes with the checkpoint.
        self._changed: dict[str, ConfigValue] = {}
        self._hooks_called: set[str] = set()
        self._warned_of: set[str] = set()
        #: What each loss takes besides logits and targets, and the module that was asked.
        self._known_keywords: dict[str, tuple[nn.Module, Container[str]]] = {}
        self._set_temperature()

    # ------------------------------------------------------------------------------------- settings

    def reconfigure(self, **settings: ConfigValue) -> None:
        """Change settings during training.

        Those that are not the wrapper's own go to the main loss. The decay continues from the present
        temperature: a new `temp_end` is reached `temp_decay_steps` from now; a new `temp_decay_steps` counts
        from the switch, or from now if it has passed already.
        ``temperature=x`` holds the temperature at x from now on. The wrapper's own changes are part of its
        ``state_dict``.

        Raises:
            ValueError: If a value is not allowed, or neither loss can change a setting.
        """
        mine = self._changeable()
        own = self._checked({name: value for name, value in settings.items() if name in mine})
        others = {name: value for name, value in settings.items() if name not in mine}
        held: float | None = None
        if self._has_temperature() and "temperature" in others:
            held = TEMPERATURE.check("temperature", others.pop("temperature"))
        if others:
            change = getattr(self.main_loss, "reconfigure", None)
            if change is None:
                raise self._cannot_change(others)
            change(**others)
        if held is not None:
            own |= {"temp_start": held, "temp_end": held}
            self._decay_from = (self._step, held)
        elif {"temp_end", "temp_decay_steps"} & own.keys():
            self._decay_from = (self._step, self._temperature())
        for name, value in own.items():
            setattr(self, name, value)
            if name != "gather_distributed":  # which is for the processes of the run that resumes to say
                self._changed[name] = value
        if {"temp_end", "temp_decay_steps"} & own.keys() and self._switch_step is not None:
            planned = self._switch_step + self.temp_decay_steps
            anew = "temp_end" in own or planned <= self._step
            self._decay_until = self._step + self.temp_decay_steps if anew else planned
        if "gather_distributed" in own:
            self._share_gathering()
        if "reset_queue_each_epoch" in own:
            self._warn_of_missing_queue()
        self._set_temperature()

    def resume_decay(self, temp_start: float, temp_end: float) -> None:
        """Let a temperature that ``reconfigure(temperature=x)`` holds fall as if it had not been held.

        Args:
            temp_start: Temperature at the switch.
            temp_end: Temperature `temp_decay_steps` later.

        Raises:
            ValueError: If a value is not allowed.
        """
        own = self._checked({"temp_start": temp_start, "temp_end": temp_end})
        for name, value in own.items():
            setattr(self, name, value)
        self._changed |= own
        self._decay_from, self._decay_until = (self._switch_step or 0, self.temp_start), None
        self._set_temperature()

    def _warn_of_missing_queue(self) -> None:
        if self.reset_queue_each_epoch and not hasattr(self.main_loss, "reset_queue"):
            warn(
                f"LossWarmupWrapper: reset_queue_each_epoch=True does nothing, because main_loss "
                f"{type(self.main_loss).__name__} has no reset_queue(). Leave it out, or give the loss that "
                "method"
            )

    def _share_gathering(self) -> None:
        if self.gather_distributed is not None:
            for loss in (self.warmup_loss, self.main_loss):
                if hasattr(loss, "gather_distributed"):
                    loss.gather_distributed = self.gather_distributed  # type: ignore[assignment]

    # ------------------------------------------------------------------------------------- schedule

    @property
    def phase(self) -> Phase:
        """Where the schedule stands."""
        return self._schedule().phase(self._position())

    @property
    def in_warmup(self) -> bool:
        """Whether only the warmup loss counts."""
        return self.phase is Phase.WARMUP

    @property
    def in_blend(self) -> bool:
        """Whether both losses count with a weight that still moves."""
        return self.phase is Phase.BLEND

    @property
    def main_weight(self) -> float:
        """Weight of the main loss now, 0 to 1."""
        return self._schedule().main_weight(self._position())

    @property
    def current_temperature(self) -> float | None:
        """Temperature of the main loss now, before the switch the one at its start; None if it has none.

        One that was set on the main loss itself holds until the next hook.
        """
        return float(self.main_loss.temperature) if self._has_temperature() else None  # type: ignore[arg-type]

    def _temperature(self) -> float:
        if self._switch_step is None:
            return self.temp_start
        begin, start = self._decay_from
        until = self._decay_until
        if until is None:
            until = self._switch_step + self.temp_decay_steps
        return Decay(start, self.temp_end, begin, until).at(self._step)

    def on_train_epoch_start(self, epoch: int) -> None:
        """Tell the schedule which epoch begins, counted from 0."""
        self._hooks_called.add("on_train_epoch_start")
        self._epoch = int(epoch)
        if self.reset_queue_each_epoch:
            self.reset_queue()
        self._switch_if_due()

    def on_train_batch_start(self, global_step: int) -> None:
        """Tell the schedule which step begins, counted from 0 over all epochs."""
        self._hooks_called.add("on_train_batch_start")
        self._step = int(global_step)
        self._switch_if_due()
        if self._switched and self._switch_step is None:
            self._switch_step = self._step
            self._decay_from, self._decay_until = (self._step, self.temp_start), None
        self._set_temperature()

    def reset_queue(self) -> None:
        """Empty the main loss's queue, if it has one."""
        reset = getattr(self.main_loss, "reset_queue", None)
        if reset is not None:
            reset()

    def _schedule(self) -> BlendSchedule:
        if self._counts_steps:
            return BlendSchedule(self.warmup_steps or 0, self.blend_steps or 0, self.final_main_weight)
        return BlendSchedule(self.warmup_epochs, self.blend_epochs, self.final_main_weight)

    def _position(self) -> int:
        return self._step if self._counts_steps else self._epoch

    def _switch_if_due(self) -> None:
        if self.in_warmup:
            # Also when a second training run begins with the same wrapper.
            self._switched, self._switch_step = False, None
        elif not self._switched:
            self._switched = True
            self.reset_queue()

    def _has_temperature(self) -> bool:
        return hasattr(self.main_loss, "temperature")

    def _set_temperature(self) -> None:
        if self._has_temperature():
            self.main_loss.temperature = self._temperature()  # type: ignore[assignment]

    def get_extra_state(self) -> Tensor:
        """Where the schedule stands, for ``state_dict``: one tensor of bytes."""
        return pack(
            {
                "epoch": self._epoch,
                "step": self._step,
                "switched": self._switched,
                "switch_step": self._switch_step,
                "decay_from": self._decay_from,
                "decay_until": self._decay_until,
                "changed": self._changed,
            }
        )

    def set_extra_state(self, state: Any) -> None:
        """Continue where the schedule of a checkpoint stood; of imbalanced-losses 0.6, too.

        Raises:
            ValueError: It is the state of something else.
        """
        if isinstance(state, Tensor):
            state, _ = unpack(state)
        if "global_step" in state:  # that package's name, and it changed nothing during training
            state = self._state_of_peer(state)
        missing = sorted({"epoch", "step", "switched", "switch_step", "decay_from"} - set(state))
        if missing:
            raise ValueError(
                f"expected the state of a LossWarmupWrapper, got one without {', '.join(missing)}: to start "
                "the schedule again, remove this key from the checkpoint and load it with strict=False"
            )
        self._epoch = state["epoch"]
        self._step = state["step"]
        self._switched = state["switched"]
        self._switch_step = state["switch_step"]
        step, temperature = state["decay_from"]
        self._decay_from = (step, temperature)
        self._decay_until = state.get("decay_until")
        self._changed |= state.get("changed", {})
        for name, value in self._changed.items():
            setattr(self, name, value)
        self._set_temperature()

    def _state_of_peer(self, state: Mapping[str, Any]) -> dict[str, Any]:
        epoch, step, begin = state["epoch"], state["global_step"], state["switch_step"]
        phase = self._schedule().phase(step if self._counts_steps else epoch)
        return {
            "epoch": epoch,
            "step": step,
            "switched": phase is not Phase.WARMUP,
            "switch_step": begin,
            "decay_from": (begin or 0, self.temp_start),
        }

    # -------------------------------------------------------------------------------------- forward

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        iid_mask: Tensor | None = None,
        return_per_class: bool = False,
        return_diagnostics: bool = False,
        *,
        sample_weight: Tensor | None = None,
        **keywords: Any,
    ) -> Result:
        """The loss of the present phase; arguments as in the ranking losses.

        `iid_mask`, `sample_weight` and further keywords go to each loss that takes them. One that only the
        other loss takes is left out; for `sample_weight`, with a warning the first time, because that loss
        is then not weighted.

        Returns:
            The loss; then, as asked for, per-class losses and validity, and the statistics. Both are those
            of the loss that leads in this phase (the main loss from the switch on); the statistics have its
            `phase`, `main_weight` and `temperature` besides, and their `loss` is the one returned. The
            per-class losses of a likelihood loss are those of its statistics, without a graph.

        Raises:
            ValueError: If an argument is not as above, or per-class losses are asked of a loss that has none.
            TypeError: If neither loss takes a keyword, or one returns something else than a tensor.
        """
        check_tensors(logits=logits, targets=targets)
        self._warn_of_missing_hooks()
        request = self._requested(return_diagnostics)
        weight = self.main_weight
        logits = self._with_gradients(request, logits, lambda: self._labels(logits, targets))
        named = {"iid_mask": iid_mask, "sample_weight": sample_weight}
        keywords |= {name: value for name, value in named.items() if value is not None}
        for_warmup, for_main = self._shared_out(keywords)
        batch = _Batch(
            logits,
            targets,
            ignore_index=self._ignore_index(),
            gather=self.gather_distributed,
            group=getattr(self.main_loss, "process_group", None),
        )
        main = original(self.main_loss)
        if weight == 0 and isinstance(main, RankingLoss):
            # What the main loss will refuse is refused from the first step on.
            main.encode(logits, targets)
        if weight == 0:
            leader = _call(self.warmup_loss, batch, for_warmup, request, return_per_class)
        else:
            leader = _call(self.main_loss, batch, for_main, request, return_per_class)
        loss = leader.loss
        if 0 < weight < 1:
            other = _call(self.warmup_loss, batch, for_warmup, _NOBODY, False).loss
            if other.shape != loss.shape:
                raise ValueError(
                    f"expected the losses of a blend to return the same shape, got {list(loss.shape)} from "
                    f"the main loss and {list(other.shape)} from the warmup loss: use 'mean' or 'sum' in both"
                )
            loss = weight * loss + (1 - weight) * other

        def describe() -> Stats:
            stats = leader.describe(request.detail)
            return stats | self._own_stats(loss.detach(), weight) if stats else stats

        stats = self._collect(request, loss, describe)
        self._tell(request, stats)
        if return_per_class:
            shown = (loss, *leader.classes())
            return (*shown, stats) if return_diagnostics else shown
        return (loss, stats) if return_diagnostics else loss

    def _shared_out(self, keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Those of a forward's keywords that the warmup loss takes, and those that the main loss takes."""
        if not keywords:
            return {}, {}
        of_warmup, of_main = self._keywords_of("warmup_loss"), self._keywords_of("main_loss")
        for name in keywords:
            if name not in of_warmup and name not in of_main:
                raise TypeError(
                    f"LossWarmupWrapper.forward() got an unexpected keyword argument {name!r}: neither "
                    f"warmup_loss {type(self.warmup_loss).__name__} nor main_loss "
                    f"{type(self.main_loss).__name__} takes it"
                )
        if "sample_weight" in keywords:
            weight = self.main_weight
            if weight < 1 and "sample_weight" not in of_warmup:
                self._warn_of_missing_weight("warmup_loss")
            if weight > 0 and "sample_weight" not in of_main:
                self._warn_of_missing_weight("main_loss")
        for_warmup = {name: value for name, value in keywords.items() if name in of_warmup}
        for_main = {name: value for name, value in keywords.items() if name in of_main}
        return for_warmup, for_main

    def _keywords_of(self, role: str) -> Container[str]:
        """What one of the two losses takes, looked up once: a signature takes 70 microseconds to read."""
        loss = getattr(self, role)
        known = self._known_keywords.get(role)
        if known is None or known[0] is not loss:
            known = self._known_keywords[role] = loss, keywords_of(loss)
        return known[1]

    def _warn_of_missing_weight(self, role: str) -> None:
        if role not in self._warned_of and not torch.compiler.is_compiling():
            self._warned_of.add(role)
            warn(
                f"LossWarmupWrapper: sample_weight is given, but {role} {type(getattr(self, role)).__name__} "
                "does not take it and is computed without weights. Give its forward a parameter "
                "sample_weight, or leave the weights out"
            )

    def _labels(self, logits: Tensor, targets: Tensor) -> Labels:
        """Which entries of the logits are positive, and which count."""
        labels, counted = as_labels(logits, targets, self._ignore_index())
        return labels >= 0.5, counted

    def _own_stats(self, loss: Tensor, weight: float) -> Stats:
        """What the wrapper adds to the statistics of the loss that leads."""
        here = {"phase": float(self.phase.value), "main_weight": weight}
        if self._has_temperature():
            here["temperature"] = float(self.main_loss.temperature)  # type: ignore[arg-type]
        own = {name: loss.new_full((), value) for name, value in here.items()}
        if loss.dim() == 0:
            own["loss"] = loss
        elif 0 < weight < 1:
            own["loss"] = loss.nanmean()
        return own

    def _ignore_index(self) -> int:
        value = getattr(self.main_loss, "ignore_index", None)
        # torch's own default, where the main loss has no say.
        return value if isinstance(value, int) else -100

    def _warn_of_missing_hooks(self) -> None:
        if not (self.training and torch.is_grad_enabled()):
            return
        for hook, consequence in self._needed_hooks().items():
            if hook not in self._hooks_called and hook not in self._warned_of:
                self._warned_of.add(hook)
                warn(
                    f"LossWarmupWrapper: a training forward ran but {hook}() was never called, so "
                    f"{consequence}. Call it from the training loop"
                )

    def _needed_hooks(self) -> dict[str, str]:
        """The hooks that the settings need, and what happens without each."""
        schedule = self._schedule()
        needed = {}
        by_epoch = not self._counts_steps and (schedule.warmup > 0 or schedule.blend > 0)
        by_step = self._counts_steps and (schedule.warmup > 0 or schedule.blend > 0)
        if by_epoch or self.reset_queue_each_epoch:
            needed["on_train_epoch_start"] = (
                "the phase never changes" if by_epoch else "the queue is never reset at an epoch"
            )
        if by_step:
            needed["on_train_batch_start"] = "the phase never changes"
        elif self._has_temperature() and self.temp_start != self.temp_end:
            needed["on_train_batch_start"] = f"the temperature stays at temp_start={self.temp_start}"
        return needed


@dataclass(frozen=True)
class _Batch:
    """What a forward was given, and how a likelihood loss is to read it."""

    logits: Tensor
    targets: Tensor
    ignore_index: int
    gather: bool | None
    group: dist.ProcessGroup | None


@dataclass(frozen=True)
class _Outcome:
    """A loss, and on demand what it reports.

    Attributes:
        loss: What the loss returned.
        describe: Its statistics in some detail.
        per_class: Its per-class losses and their validity, where it returned them.
        kind: Its name.
    """

    loss: Tensor
    describe: Callable[[Detail], Stats]
    per_class: tuple[Tensor, Tensor] | None
    kind: str

    def classes(self) -> tuple[Tensor, Tensor]:
        """Per-class losses and their validity."""
        if self.per_class is not None:
            return self.per_class
        stats = self.describe(Detail.SCORES)
        if "per_class_loss" not in stats:
            raise ValueError(
                f"expected the loss that leads in this phase to have per-class values, got {self.kind}: pass "
                "return_per_class=True once the main loss leads, or warm up with BCE, cross-entropy or focal"
            )
        return stats["per_class_loss"], stats["valid"]


_NOBODY = Request(Detail.NOTHING, (), (), returned=False, strict=False)


def _call(
    loss: nn.Module, batch: _Batch, keywords: Mapping[str, Any], request: Request, per_class: bool
) -> _Outcome:
    """The loss of a batch; its statistics and per-class losses as far as they are wanted."""
    inner = original(loss)
    if not isinstance(inner, Diagnosable):
        evaluated = _evaluate(loss, batch, keywords)
        describe = functools.partial(_likelihood_stats, evaluated)
        return _Outcome(evaluated.loss, describe, None, kind_of(inner))
    ranks = isinstance(inner, RankingLoss)
    wanted, strict = request.detail if request.describes else Detail.NOTHING, request.strict
    if per_class and not ranks:
        wanted, strict = max(wanted, Detail.SCORES), True
    with _overheard(inner, wanted, strict) as heard:
        if ranks:
            value = loss(batch.logits, batch.targets, return_per_class=per_class, **keywords)
        else:
            value = _evaluate(loss, batch, keywords).loss
    classes = None
    if ranks and per_class:
        value, *classes = value
    return _Outcome(value, lambda _: heard, None if classes is None else (classes[0], classes[1]), inner.kind)


@contextlib.contextmanager
def _overheard(loss: Diagnosable, wanted: Detail, strict: bool) -> Iterator[Stats]:
    """What a loss reports in one forward. Nothing is registered where nobody wants it: graphs break there."""
    heard: Stats = {}
    if wanted is Detail.NOTHING:
        yield heard
        return
    # A listener of this one forward: works for every loss, and leaves other listeners alone.
    handle = loss._listen(Listener(lambda _, stats: heard.update(stats), lambda: wanted, strict))
    try:
        yield heard
    finally:
        handle.remove()


def _evaluate(loss: nn.Module, batch: _Batch, keywords: Mapping[str, Any]) -> Evaluated:
    return evaluate(
        loss,
        batch.logits,
        batch.targets,
        ignore_index=batch.ignore_index,
        keywords=keywords,
        gather=batch.gather,
        group=batch.group,
    )


def _likelihood_stats(evaluated: Evaluated, wanted: Detail) -> Stats:
    return likelihood_stats(
        evaluated.logits,
        evaluated.targets,
        detail=wanted,
        elements=evaluated.elements,
        loss=evaluated.loss,
        multiclass=evaluated.multiclass,
        ignore_index=evaluated.ignore_index,
    )
