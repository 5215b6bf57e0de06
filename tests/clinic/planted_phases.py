"""Planted faults of phases, schedules and outcomes, of the band, and of training in several processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from losses import LossWarmupWrapper
from tests.clinic.clinic import Batch, ClinicRun
from tests.clinic.families import FAMILIES, LEARNT

if TYPE_CHECKING:
    from tests.clinic.catalogue import Planted

Tamper = Callable[[int, Tensor, Tensor], Batch]
Loop = Callable[[int, nn.Module, nn.Module, torch.optim.Optimizer], None]


def small_bank(rows: int, *, noise: float = 0.0) -> Tamper:
    """Training data of a few rows, seen again and again; a share of their labels is drawn at random."""
    bank: list[Batch] = []
    generator = torch.Generator()

    def tamper(step: int, x: Tensor, y: Tensor) -> Batch:
        if step == 0:
            bank.clear()
            generator.manual_seed(int(1e6 * float(x.double().abs().mean())))
        if sum(len(labels) for _, labels in bank) < rows:
            flipped = torch.rand(len(y), generator=generator) < noise
            y = torch.where(flipped, y[torch.randperm(len(y), generator=generator)], y)
            bank.append((x, y))
            return x, y
        pool_x, pool_y = (torch.cat(part)[:rows] for part in zip(*bank, strict=True))
        chosen = torch.randint(rows, (len(y),), generator=generator)
        return pool_x[chosen], pool_y[chosen]

    return tamper


def scrambled(label: int) -> Tamper:
    """As many rows as a class has are given its label, whichever they are; its own rows get others."""

    def tamper(step: int, x: Tensor, y: Tensor) -> Batch:
        mine = (y == label).nonzero()[:, 0]
        others = (y != label).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(step)
        chosen = others[torch.randperm(len(others), generator=generator)[: len(mine)]]
        y = y.clone()
        y[mine[: len(chosen)]], y[chosen] = y[chosen], label
        return x, y

    return tamper


def oversampled(times: int) -> Tamper:
    """A sampler that draws each positive many times over."""
    return lambda step, x, y: (
        torch.cat([x, x[y == 1].repeat(times - 1, *[1] * (x.dim() - 1))]),
        torch.cat([y, y[y == 1].repeat(times - 1)]),
    )


def drawing(run: ClinicRun, seed: int) -> Callable[[int], Batch]:
    """Draws of rows from the same law as the (binary) run's own."""
    law = FAMILIES[run.family](**run.family_options)
    assert isinstance(run.rate, float)
    priors = torch.tensor([1.0 - run.rate, run.rate])
    generator = torch.Generator().manual_seed(run.seed + seed)
    return lambda rows: law.draw(rows, priors, generator)


def pretrain(run: ClinicRun, model: nn.Module, weight: float = 1.0) -> None:
    """Train a model, unwatched, until it is a good one."""
    draw = drawing(run, 999)
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(LEARNT.get(run.family, 200)):
        x, y = draw(256)
        optimizer.zero_grad()
        loss_fn(model(x)[:, 0], y.float()).backward()
        optimizer.step()


def pretrained(run: ClinicRun) -> Loop:
    """The model arrives trained."""

    def loop(step: int, model: nn.Module, loss_fn: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step == 0:
            pretrain(run, model, weight=20.0)

    return loop


def old_queue(run: ClinicRun, *, reset: bool) -> Loop:
    """The loss comes with a checkpoint from before the model's training, queue and all; or it is reset."""

    def loop(step: int, model: nn.Module, loss_fn: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step:
            return
        draw, old = drawing(run, 998), copy.deepcopy(loss_fn)
        for _ in range(8):
            x, y = draw(1024)
            old(model(x)[:, 0], y)
        pretrain(run, model)
        loss_fn.load_state_dict(old.state_dict())
        if reset:
            loss_fn.reset_queue()  # type: ignore[operator]

    return loop


def schedule_lost(at: int) -> Loop:
    """From a step on, the wrapper is a new one: a resume without its state."""

    def loop(step: int, model: nn.Module, loss_fn: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step == at:
            assert isinstance(loss_fn, LossWarmupWrapper)
            new = {"epoch": 0, "step": 0, "switched": False, "switch_step": None}
            loss_fn.set_extra_state({**new, "decay_from": (0, loss_fn.temp_start)})
            loss_fn.on_train_batch_start(step)

    return loop


def queue_reset_on_one_rank(
    step: int, model: nn.Module, loss_fn: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Only one of the processes empties its queue, once."""
    if step == 25 and torch.distributed.get_rank() == 1:
        loss_fn.reset_queue()  # type: ignore[operator]


def planted(seed: int = 0, families: Sequence[str] | None = None) -> Iterator[Planted]:
    """Every fault of these rules, on two or three families, or on some."""
    for family in families or ("gaussian", "digits"):
        yield from _phases(family, seed)
    for family in families or ("gaussian", "digits"):
        yield from _outcomes(family, seed)
        yield from _bands(family, seed)
        yield from _processes(family, seed)


def _phases(family: str, seed: int) -> Iterator[Planted]:
    from tests.clinic.catalogue import Planted, pauc, smooth_ap, warmed

    base = ClinicRun(
        smooth_ap(), family=family, rate=0.02, batch=128, steps=300, seed=seed, evaluate_every=10
    )
    steady = {"temp_start": 0.05, "temp_end": 0.05}
    # tumours are told apart in ten steps, unless these are small
    short = base.but(loss=warmed(smooth_ap(), 10, **steady), lr=3e-4 if family == "tumours" else 1e-3)
    yield Planted("IMB501", "ten-steps", short, short.but(loss=warmed(smooth_ap(), 150, **steady), lr=1e-2))
    # Rarer digits are learnt until the end, so that no warmup of them is long; as images, for twice as long.
    rates, steps = {"digits": 0.1, "images": 0.2}, 800 if family == "images" else 400
    long = base.but(batch=512, lr=1e-2, steps=steps, rate=rates.get(family, 0.02))
    yield Planted(
        "IMB502",
        "nearly-all",
        long.but(loss=warmed(smooth_ap(), steps - 20, **steady)),
        long.but(loss=warmed(smooth_ap(), 60, **steady)),
        by=steps - 25,
    )
    new = base.but(loss=warmed(smooth_ap(), 100, **steady), rate=0.1 if family == "images" else 0.02)
    yield Planted("IMB503", "trained", new.but(loop=pretrained(new)), new)
    decaying = {"temp_start": 0.2, "temp_end": 0.01}
    yield Planted(
        "IMB504",
        "twenty-steps",
        base.but(loss=warmed(smooth_ap(), temp_decay_steps=20, **decaying)),
        base.but(loss=warmed(smooth_ap(), temp_decay_steps=150, **decaying)),
    )
    queued = base.but(loss=smooth_ap(8192), batch=64)
    yield Planted(
        "IMB505",
        "old-checkpoint",
        queued.but(loop=old_queue(queued, reset=False)),
        queued.but(loop=old_queue(queued, reset=True)),
        also=("IMB006",),
    )
    # Images have little to lose before 400 steps; tumours stay in the order that they had.
    warmup = 400 if family == "images" else 150
    kept = base.but(batch=256, steps=warmup + 350)
    lone = {"temp_start": 0.1, "temp_end": 0.1}
    if family != "tumours":
        yield Planted(
            "IMB507",
            "positives-only",
            kept.but(loss=warmed(pauc(), warmup, **lone)),
            kept.but(loss=warmed(pauc(), warmup, final_main_weight=0.5, **lone)),
            also=("IMB509",),
            by=warmup + 350,
            since=warmup,
        )
    resumed = base.but(loss=warmed(smooth_ap(), temp_start=0.2, temp_end=0.01, temp_decay_steps=150))
    yield Planted("IMB508", "resumed", resumed.but(loop=schedule_lost(150)), resumed, since=150)


def _outcomes(family: str, seed: int) -> Iterator[Planted]:
    from tests.clinic.catalogue import Planted, bce, recall, smooth_ap, warmed

    common = ClinicRun(
        smooth_ap(512), family=family, rate=0.2, batch=64, steps=600, lr=1e-2, seed=seed, evaluate_every=20
    )
    # classes that lie closer, so that random labels do not happen to follow the direction between them
    close = common.but(family_options={"separation": 1.5}) if family == "gaussian" else common
    yield Planted(
        "IMB701",
        "random-labels",
        close.but(tamper=small_bank(256, noise=1.0), steps=800),
        close,
        # and, as precision on fresh rows wanders while random labels are learnt, a validation that swings
        also=("IMB004", "IMB005", "IMB203", "IMB702", "IMB704"),
        by=800,
    )
    many = ClinicRun(
        lambda columns: nn.CrossEntropyLoss(), family=family, columns=5 if family == "gaussian" else 10,
        rate=(0.2,) * 5 if family == "gaussian" else (0.1,) * 10, steps=500, seed=seed, evaluate_every=20,
    )  # fmt: skip
    if family != "tumours":  # these have two classes
        yield Planted(
            "IMB702",
            "scrambled-class",
            many.but(tamper=scrambled(4)),
            many,
            also=("IMB005", "IMB009", "IMB704"),  # validation does have other labels
            by=500,
        )
    few = common.but(loss=bce(), rate=0.1, family_options={"separation": 2.0} if family == "gaussian" else {})
    yield Planted(
        "IMB704", "small-bank", few.but(tamper=small_bank(512, noise=0.4)), few, also=("IMB004",), by=600
    )
    # On images the training loss comes down to 0.02, and stays there, in 1,400 steps.
    clear = {"gaussian": {"separation": 5.0}, "tumours": {"jitter": 0.3}}
    easy = ClinicRun(
        recall(0.3), family=family, rate=0.05, batch=256, steps=2400 if family == "images" else 300, lr=1e-2,
        seed=seed, family_options=clear.get(family, {}),
    )  # fmt: skip
    yield Planted(
        "IMB302",
        "generous-quantile",
        easy.but(loss=warmed(recall(0.3), final_main_weight=0.5, temp_start=0.1, temp_end=0.1)),
        easy.but(loss=warmed(recall(0.05), final_main_weight=0.5, temp_start=0.1, temp_end=0.1)),
        by=easy.steps,
    )


def _bands(family: str, seed: int) -> Iterator[Planted]:
    from tests.clinic.catalogue import Planted, pauc, recall, warmed

    def beside_bce(main: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
        return warmed(main, final_main_weight=0.5, temp_start=0.1, temp_end=0.1)

    base = ClinicRun(pauc(), family=family, rate=0.02, batch=256, steps=300, seed=seed, declare_rate=True)
    # digits are spread so widely that their threshold jumps by less of it, and images until they are learnt
    sparse = base.but(family="table") if family == "digits" else base
    sparse = sparse.but(steps=LEARNT.get(family, base.steps))
    yield Planted(
        "IMB303",
        "one-row",
        sparse.but(loss=beside_bce(recall(0.01, 128))),
        sparse.but(loss=beside_bce(recall(0.03, 4096))),
        also=("IMB304", "IMB301", "IMB003"),
        by=sparse.steps,
    )
    yield Planted(
        "IMB404",
        "large-queue",
        base.but(loss=beside_bce(pauc(queue=16_384)), steps=400),
        base.but(loss=beside_bce(pauc(queue=16_384, pos_numerator="live")), steps=400),
        by=250,
    )
    population = base.but(loss=pauc(0.05, surrogate="pairwise", budget_basis="population"))
    yield Planted(
        "IMB405",
        "oversampled-positives",
        population.but(tamper=oversampled(20)),
        population,
        also=("IMB401",),
    )


def _processes(family: str, seed: int) -> Iterator[Planted]:
    from tests.clinic.catalogue import Planted, smooth_ap

    base = ClinicRun(
        smooth_ap(),
        family=family,
        rate=0.05,
        batch=64,
        steps=60,
        seed=seed,
        validation_rows=1000,
        processes=2,
    )
    yield Planted("IMB601", "no-gather", base.but(loss=smooth_ap(gather_distributed=False)), base)
    yield Planted("IMB602", "reset-on-one", base.but(loop=queue_reset_on_one_rank), base, since=25)
