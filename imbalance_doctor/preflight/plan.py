"""What is known of a run that has not begun: its losses, its batches, its data, its length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from imbalance_doctor import declared
from imbalance_doctor.losses import diagnostics, kinds
from imbalance_doctor.records import MAIN_LOSS, WARMUP_LOSS, LossInfo, RunInfo
from imbalance_doctor.scores.metrics import METRICS

#: Settings of the run and not of a loss.
OF_THE_RUN = ("batch_size", "total_steps", "epochs", "world_size")


@dataclass(frozen=True)
class Plan:
    """A run that has not begun.

    Attributes:
        losses: The loss; of a warmup wrapper the wrapper, its main loss and its warmup loss.
        batch_size: Rows of a batch, in each process.
        rates: Share of positives of each class.
        total_steps: Its length in steps, where known.
        epochs: Its length in epochs, where known.
        world_size: Processes that train together.
        class_names: Names of the classes, for findings.
        target_metric: The validation metric that the run is for.
    """

    losses: tuple[LossInfo, ...]
    batch_size: int
    rates: tuple[float, ...]
    total_steps: int | None = None
    epochs: int | None = None
    world_size: int = 1
    class_names: tuple[str | None, ...] | None = None
    target_metric: str | None = None

    @property
    def described(self) -> str:
        """The plan in a few words."""
        rates = [f"{rate:.3g}" for rate in self.rates]
        rate = rates[0] if len(rates) == 1 else f"{len(rates)} rates" if len(rates) > 4 else ", ".join(rates)
        return f"{self.losses[0].name} at a positive rate of {rate}, batches of {self.batch_size:,}"

    def run_info(self, every: int) -> RunInfo:
        """The run as rules know it."""
        return RunInfo(
            every=every,
            total_steps=self.total_steps,
            population_positive_rate=self.rates,
            class_names=self.class_names,
            target_metric=self.target_metric,
            world_size=self.world_size,
        )

    def live_rows(self, loss: LossInfo) -> int:
        """Rows of a batch that one step of this loss sees, over all ranks that it gathers.

        A likelihood loss need not gather: gradients are averaged over the ranks whatever it does.
        """
        local = loss.kind in kinds.RANKING and loss.config.get("gather_distributed") is False
        return self.batch_size * (1 if local else self.world_size)

    def setting(self, loss: str, parameter: str) -> Any:
        """A setting of the run, or of the loss of this name."""
        if parameter in OF_THE_RUN:
            return getattr(self, parameter)
        return self.loss(loss).config.get(parameter)

    def changed(self, loss: str, parameter: str, value: Any) -> Plan:
        """The plan with another value of a setting of the run, or of the loss of this name."""
        if parameter in OF_THE_RUN:
            return replace(self, **{parameter: value})
        old = self.loss(loss)
        new = replace(old, config={**old.config, parameter: value})
        return replace(self, losses=tuple(new if each is old else each for each in self.losses))

    @property
    def wrapper(self) -> LossInfo | None:
        """The warmup wrapper, where there is one; its two losses go by `MAIN_LOSS` and `WARMUP_LOSS`."""
        return next((each for each in self.losses if each.kind == kinds.WARMUP), None)

    def loss(self, name: str) -> LossInfo:
        """The loss of this name."""
        return next(each for each in self.losses if each.name == name)


def plan_of(
    loss_fn: nn.Module,
    *,
    batch_size: int,
    positive_rate: declared.Rates,
    total_steps: int | None,
    epochs: int | None,
    world_size: int,
    class_names: declared.ClassNames | None,
    target_metric: str | None = None,
) -> Plan:
    """Check what is known of a run, and put it together.

    Raises:
        TypeError: `loss_fn` is not a module.
        ValueError: A value is out of range, or the rates do not fit the loss.
    """
    if not isinstance(loss_fn, nn.Module):
        raise TypeError(f"expected loss_fn to be a loss module, got {type(loss_fn).__name__}")
    loss_fn = getattr(loss_fn, "_orig_mod", loss_fn)  # of a compiled module
    for name, value in (
        ("batch_size", batch_size),
        ("total_steps", total_steps),
        ("epochs", epochs),
        ("world_size", world_size),
    ):
        _check_count(name, value, optional=name in ("total_steps", "epochs"))
    if target_metric is not None and target_metric not in METRICS:
        raise ValueError(f"expected target_metric to be one of {', '.join(METRICS)}, got {target_metric!r}")
    losses = _losses(loss_fn)
    return Plan(
        losses=losses,
        batch_size=batch_size,
        rates=_rates(positive_rate, losses),
        total_steps=total_steps,
        epochs=epochs,
        world_size=world_size,
        class_names=declared.class_names(class_names),
        target_metric=target_metric,
    )


def _losses(loss_fn: nn.Module) -> tuple[LossInfo, ...]:
    if not isinstance(loss_fn, diagnostics.Diagnosable):
        kind = diagnostics.bridge.kind_of(loss_fn)
        if kind == kinds.OTHER:
            raise ValueError(
                f"expected a loss that a preflight knows, got {type(loss_fn).__name__}: give one of "
                "`losses`, nn.BCEWithLogitsLoss or nn.CrossEntropyLoss"
            )
        return (LossInfo(kind, kind, diagnostics.bridge.settings_of(loss_fn)),)
    loss = LossInfo(loss_fn.kind, loss_fn.kind, loss_fn.config())
    main, warmup = loss.main, loss.warmup
    if main is None or warmup is None:
        return (loss,)
    if "temperature" in main.config:  # the wrapper's to set: the sharpest is what the run ends with
        main = replace(main, config={**main.config, "temperature": loss.config["temp_end"]})
    return loss, replace(main, name=MAIN_LOSS), replace(warmup, name=WARMUP_LOSS)


def _rates(given: declared.Rates, losses: tuple[LossInfo, ...]) -> tuple[float, ...]:
    """The share of positives of each class that the losses have."""
    found = declared.rates(given, "positive_rate")
    one = isinstance(found, float)
    rates = (found,) if isinstance(found, float) else found
    # Of classes that exclude each other, one rate stands for two.
    multiclass = any(loss.kind in kinds.SOFTMAX for loss in losses)
    classes = next((int(n) for loss in losses if (n := loss.config.get("num_classes"))), None)
    if multiclass and one and classes in (None, 2):
        rates = (1.0 - rates[0], rates[0])
    if multiclass and sum(rates) > 1 + 1e-6:
        raise ValueError(
            f"expected positive rates that sum to 1, because the classes of this loss exclude each other, "
            f"got positive_rate={given}, which sums to {sum(rates):.3g}"
        )
    if classes is not None and classes != len(rates):
        raise ValueError(
            f"expected one positive rate for each class of num_classes={classes}, got {len(rates)}: "
            f"positive_rate={given}"
        )
    return rates


def _check_count(name: str, value: object, *, optional: bool) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected {name} to be a whole number, at least 1, got {value!r}")
