"""The planted faults: for each, a sick run and the healthy twin that differs from it in the fault alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from losses import LossWarmupWrapper, PAUCAtBudgetLoss, RecallAtQuantileLoss, SmoothAPLoss
from tests.clinic import planted_data, planted_phases
from tests.clinic.clinic import ClinicRun


@dataclass(frozen=True)
class Planted:
    """A fault planted in a run's configuration, data or loop."""

    code: str
    fault: str
    sick: ClinicRun
    healthy: ClinicRun
    #: Codes that name the same fault as well, or a direct consequence; nothing else may fire.
    also: tuple[str, ...] = ()
    #: Latest step at which the first finding counts as in time.
    by: int = 200
    #: The step at which the fault begins.
    since: int = 0

    @property
    def name(self) -> str:
        """For test ids and tables."""
        return f"{self.code}-{self.fault}-{self.sick.family}"


def smooth_ap(queue: int = 2048, **options: object) -> Callable[[int], nn.Module]:
    """Smooth-AP with the temperature of an ordinary run."""
    return lambda columns: SmoothAPLoss(columns, queue_size=queue, **options)  # type: ignore[arg-type]


def recall(quantile: float = 0.05, queue: int = 2048, **options: object) -> Callable[[int], nn.Module]:
    """Recall at quantile, scale-free unless told."""
    given = {"temperature": 0.1, "tau_scale": "iqr", **options}
    return lambda columns: RecallAtQuantileLoss(columns, quantile=quantile, queue_size=queue, **given)  # type: ignore[arg-type]


def pauc(beta: float = 0.02, queue: int = 2048, **options: object) -> Callable[[int], nn.Module]:
    """Partial AUC at a budget."""
    return lambda columns: PAUCAtBudgetLoss(columns, beta=beta, queue_size=queue, **options)  # type: ignore[arg-type]


def bce(weight: float | None = None) -> Callable[[int], nn.Module]:
    """BCE, with a weight on positives or without."""
    return lambda columns: nn.BCEWithLogitsLoss(pos_weight=None if weight is None else torch.tensor(weight))


def warmed(
    main: Callable[[int], nn.Module], steps: int = 50, **options: object
) -> Callable[[int], nn.Module]:
    """A ranking loss after a warmup on BCE."""
    return lambda columns: LossWarmupWrapper(  # type: ignore[arg-type]
        nn.BCEWithLogitsLoss(), main(columns), warmup_steps=steps, **options
    )


# ---------------------------------------------------------------------------------------- what is planted


def nan_row(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """From step 60 on, one input row holds NaN."""
    if step >= 60:
        x = x.clone()
        x[0] = torch.nan
    return x, y


def only_positives(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A filtered loader: nothing but positives."""
    return x[y == 1], y[y == 1]


def dead_units(step: int, model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Hidden units that never fire again, as after a far too large step."""
    if step == 0:
        with torch.no_grad():
            first = model.gru if hasattr(model, "gru") else model[0]  # type: ignore[index]
            if isinstance(first, (nn.Linear, nn.Conv2d)):
                first.bias.fill_(-1e3)
            else:
                model.head.weight.zero_()  # type: ignore[union-attr]
                model.head.weight.requires_grad_(False)  # type: ignore[union-attr]


#: What makes a family hard enough for plain BCE at a rate of 1 % to collapse.
HARD: dict[str, dict[str, Any]] = {
    "gaussian": {"family_options": {"separation": 1.0}},
    "digits": {"lr": 5e-4},
    "sequence": {"family_options": {"strength": 1.0}},
    "images": {"lr": 5e-4},
    "tumours": {"family_options": {"jitter": 2.5}, "lr": 3e-4},
}


def planted(seed: int = 0, families: Sequence[str] | None = None) -> Iterator[Planted]:
    """Every planted fault, on several families, or on some.

    Seeds 0-9 set thresholds; others check them.
    """
    for family in families or ("gaussian", "digits", "sequence"):
        yield from _planted_in_ranking(family, seed)
    for family in families or ("gaussian", "digits", "table"):
        yield from _planted_in_thresholds(family, seed)
    hard = ClinicRun(bce(), rate=0.01, batch=256, steps=400, seed=seed)
    for family in families or ("gaussian", "digits", "sequence"):
        run = hard.but(family=family, **HARD[family])
        # The 26 positives that it takes, at 2.6 a record since a third of the run, are there by 190 or later.
        yield Planted("IMB009", "plain-bce", run, run.but(loss=bce(50.0), lr=3e-3), also=("IMB005",), by=400)
    yield from planted_phases.planted(seed, families)
    yield from planted_data.planted(seed, families)


def _planted_in_ranking(family: str, seed: int) -> Iterator[Planted]:
    base = ClinicRun(smooth_ap(), family=family, rate=0.02, batch=128, steps=250, seed=seed)
    rare, sgd = base.but(rate=0.005), base.but(optimizer="sgd", lr=0.1)
    fitting = smooth_ap(tau_scale="iqr", temperature=0.1)

    yield Planted("IMB001", "nan-row", base.but(tamper=nan_row), base, by=70, since=60)
    yield Planted(
        "IMB002",
        "small-pool",
        base.but(loss=smooth_ap(128), rate=0.0005, batch=64),
        base.but(loss=smooth_ap(16_384), rate=0.002, batch=64, steps=400),
        also=("IMB003",),
    )
    yield Planted("IMB003", "small-queue", rare.but(loss=smooth_ap(256)), rare.but(loss=smooth_ap(4096)))
    yield Planted("IMB010", "filtered", base.but(tamper=only_positives, rate=0.2), base.but(rate=0.2))
    yield Planted(
        "IMB201",
        "oversized-temperature",
        sgd.but(loss=smooth_ap(temperature=20.0)),
        sgd.but(loss=fitting),
    )
    # At 100 times, sequences saturate only as late as step 190 on some processors.
    yield Planted(
        "IMB202",
        "logits-times-300",
        base.but(logit_scale=300.0),
        base.but(loss=fitting, logit_scale=300.0),
    )
    yield Planted(
        "IMB506",
        "no-hooks",
        base.but(loss=warmed(smooth_ap()), drive_schedule=False),
        base.but(loss=warmed(smooth_ap(), temp_decay_steps=100)),
    )


def _planted_in_thresholds(family: str, seed: int) -> Iterator[Planted]:
    base = ClinicRun(pauc(), family=family, rate=0.02, batch=256, steps=250, seed=seed)
    many, rare = base.but(rate=0.1), base.but(rate=0.005)
    balanced = base.but(columns=3, rate=(1 / 3,) * 3, family_options={})

    yield Planted(
        "IMB003",
        "small-queue-recall",
        rare.but(loss=recall(0.02, 256)),
        rare.but(loss=recall(0.02, 4096), batch=512),
        also=("IMB403", "IMB304"),
    )
    yield Planted(
        "IMB202",
        "tiny-temperature",
        base.but(loss=pauc(0.05, temperature=0.001)),
        base.but(loss=pauc(0.05)),
        also=("IMB406",),
        by=250,  # at 190 or before; the look after that is at 240
    )
    yield Planted("IMB301", "small-quantile", many.but(loss=recall(0.01)), many.but(loss=recall(0.2)))
    yield Planted(
        "IMB304",
        "small-pool",
        many.but(loss=recall(0.002, 128)),
        many.but(loss=recall(0.2, 2048)),
        also=("IMB301", "IMB305"),  # above the highest score of so small a pool, few positives carry gradient
    )
    yield Planted(
        "IMB305",
        "raw-temperature",
        base.but(loss=recall(temperature=1e-4, tau_scale=None)),
        base.but(loss=recall()),
        also=("IMB202",),
    )
    yield Planted("IMB401", "narrow-band", many.but(loss=pauc(0.002, 256)), many.but(loss=pauc(0.02)))
    yield Planted("IMB402", "dead-units", base.but(loop=dead_units), base)
    yield Planted("IMB403", "small-batch", rare.but(loss=pauc(queue=8192), batch=32), rare.but(batch=1024))
    yield Planted(
        "IMB406", "copied-temperature", base.but(loss=pauc(temperature=0.01)), base, also=("IMB202",)
    )
    yield Planted("IMB407", "tiny-alpha", many.but(loss=pauc(0.05, alpha=0.001)), many.but(loss=pauc(0.05)))
    if family not in ("digits", "tumours"):  # these have two classes, or ten
        yield Planted(
            "IMB509",
            "three-classes",
            balanced,
            balanced.but(loss=pauc(surrogate="pairwise")),
        )
    if family not in ("digits", "images"):  # there, units die and the loss stays where it is
        yield Planted(
            "IMB703",
            "learning-rate",
            many.but(loss=bce(), rate=0.2, batch=128, optimizer="sgd", lr=5.0),
            many.but(loss=bce(), rate=0.2, batch=128, optimizer="sgd", lr=0.1),
            also=("IMB009", "IMB001"),
        )
