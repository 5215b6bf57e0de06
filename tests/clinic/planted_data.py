"""Faults planted in data, in the batches, and in a loss that does not fit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from losses import RecallAtQuantileLoss, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss
from tests.clinic.clinic import ClinicRun
from tests.clinic.families import LEARNT

if TYPE_CHECKING:
    from tests.clinic.catalogue import Planted

Tamper = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


def _generator(step: int) -> torch.Generator:
    return torch.Generator().manual_seed(9000 + step)


def _smooth_ap(queue: int = 2048, **options: object) -> Callable[[int], nn.Module]:
    return lambda columns: SmoothAPLoss(columns, queue_size=queue, **options)  # type: ignore[arg-type]


def _recall(queue: int = 2048, **options: object) -> Callable[[int], nn.Module]:
    return lambda columns: RecallAtQuantileLoss(
        columns, queue_size=queue, quantile=0.1, temperature=0.1, tau_scale="iqr", **options  # type: ignore[arg-type]
    )  # fmt: skip


def _focal(alpha: float = 0.75, gamma: float = 2.0) -> Callable[[int], nn.Module]:
    return lambda columns: SigmoidFocalLoss(alpha=alpha, gamma=gamma)


def _weighted(rates: tuple[float, ...]) -> Callable[[int], nn.Module]:
    weights = [1.0 / (len(rates) * rate) for rate in rates]
    return lambda columns: SoftmaxFocalLoss(alpha=weights)


#: What makes a family hard to rank, but not impossible: the error of an estimated loss is largest at 0.5.
#: Images are so in 300 steps as they are.
HARD: dict[str, dict[str, float]] = {
    "gaussian": {"separation": 2.0},
    "table": {"separation": 0.7},
    "images": {},
    "tumours": {"jitter": 2.0},
}


def mislabelled(share: float, rate: float) -> Tamper:
    """Negatives are labelled positive, so that this share of the positives is wrong."""
    chance = share / (1.0 - share) * rate / (1.0 - rate)

    def tamper(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        flipped = torch.rand(len(y), generator=_generator(step)) < chance
        return x, torch.where(flipped, torch.ones_like(y), y)

    return tamper


def unrelated(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and labels that do not belong together."""
    return x[torch.randperm(len(x), generator=_generator(step))], y


def balanced(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """As many negatives as positives, as a sampler makes it."""
    positive, negative = (y == 1).nonzero()[:, 0], (y == 0).nonzero()[:, 0]
    kept = torch.cat([positive, negative[: max(len(positive), 1)]])
    return x[kept], y[kept]


def extreme_rows(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """One row in a hundred comes in another unit."""
    extreme = torch.rand(len(x), generator=_generator(step)) < 0.01
    return torch.where(extreme.reshape(-1, *[1] * (x.dim() - 1)), 100.0 * x, x), y


def two_sources() -> Tamper:
    """Half of the negatives lie far on the other side of the ordinary ones, seen from the positives."""
    away: list[Tensor] = []

    def tamper(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if not away and 0 < int(y.sum()) < len(y):
            away.append(4.0 * (x[y == 0].mean(0) - x[y == 1].mean(0)))
        easy = (torch.rand(len(x), generator=_generator(step)) < 0.5) & (y == 0)
        return torch.where(easy.reshape(-1, *[1] * (x.dim() - 1)), x + away[0], x) if away else x, y

    return tamper


def shifted_head(step: int, model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """At step 130 the head of another checkpoint is loaded: all scores move by 10."""
    if step == 130:
        head = model.head if hasattr(model, "head") else model[-1]  # type: ignore[index]
        with torch.no_grad():
            head.bias.add_(10.0)  # type: ignore[operator, union-attr]


def with_sigmoid(step: int, model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The model ends in a sigmoid, before a loss that has its own."""
    if step == 0:
        model.register_forward_hook(lambda model, args, scores: scores.sigmoid())


def planted(seed: int, families: Sequence[str] | None = None) -> Iterator[Planted]:
    """Every fault, on two families, or on some."""
    for family in families or ("gaussian", "digits"):
        yield from _in_data(family, seed)
    for family in families or ("gaussian", "table"):
        yield from _in_the_loss(family, seed)


def _in_data(family: str, seed: int) -> Iterator[Planted]:
    from tests.clinic.catalogue import Planted

    base = ClinicRun(_smooth_ap(), family=family, rate=0.05, batch=256, steps=350, seed=seed)
    learnt = base.but(steps=LEARNT.get(family, 350))
    yield Planted(
        "IMB004",
        "a-third-mislabelled",
        learnt.but(tamper=mislabelled(0.33, 0.05)),
        learnt,
        by=learnt.steps - 50,
    )
    yield Planted("IMB005", "shuffled-rows", base.but(tamper=unrelated, steps=500), base, by=450)
    jumpy = base.but(loss=_smooth_ap(8192), batch=64, steps=250)
    yield Planted("IMB006", "another-checkpoint", jumpy.but(loop=shifted_head), jumpy, since=130)
    likelihood = base.but(loss=_focal())
    yield Planted("IMB007", "another-unit", likelihood.but(tamper=extreme_rows), likelihood, by=150)
    yield Planted(
        "IMB008", "two-sources", learnt.but(tamper=two_sources()), learnt, by=learnt.steps - 100
    )  # fmt: skip
    yield Planted(
        "IMB102",
        "gamma-5-on-noise",
        likelihood.but(loss=_focal(gamma=5.0), tamper=mislabelled(0.4, 0.05)),
        likelihood,
        also=("IMB004",),
        by=300,
    )


def _in_the_loss(family: str, seed: int) -> Iterator[Planted]:
    from tests.clinic.catalogue import Planted, bce, dead_units

    focal = ClinicRun(_focal(), family=family, rate=0.01, batch=256, steps=300, seed=seed)
    rare = focal.but(rate=0.003, validation_rows=4000)
    yield Planted("IMB101", "tiny-batch", rare.but(batch=32), rare.but(batch=1024))
    few, enough = (0.6, 0.3999, 0.0001), (0.6, 0.3, 0.1)
    apart = {"separation": 3.0} if family in ("gaussian", "table") else {}
    starving = focal.but(columns=3, rate=few, batch=32, steps=900, loss=_weighted(few), family_options=apart)
    if family != "tumours":  # these have two classes
        yield Planted(
            "IMB103",
            "weights-alone",
            starving,
            starving.but(rate=enough, loss=_weighted(enough)),
            also=("IMB101",),
            by=880,
        )
    judged = focal.but(rate=0.05, evaluate_every=50)
    yield Planted(
        "IMB104",
        "focal",
        judged.but(loss=_focal(0.75)),
        judged.but(loss=lambda columns: nn.BCEWithLogitsLoss()),
    )
    plain = judged.but(loss=bce())
    yield Planted("IMB011", "sigmoid-before-bce", plain.but(loop=with_sigmoid), plain, by=300)
    yield Planted("IMB020", "dead-units", plain.but(loop=dead_units), plain, also=("IMB009",))
    if family != "tumours":  # these have two classes
        common = judged.but(columns=3, rate=(0.9, 0.06, 0.04), loss=lambda columns: nn.CrossEntropyLoss())
        ignoring = common.but(loss=lambda columns: nn.CrossEntropyLoss(ignore_index=0))
        yield Planted("IMB021", "ignored-majority", ignoring, common, by=10)
    weighted = judged.but(loss=bce(19.0), declare_rate=True)
    yield Planted("IMB015", "pos-weight-in-thousands", weighted.but(loss=bce(1e4)), weighted)
    still = judged.but(loss=bce(), optimizer="sgd", lr=1e-7, steps=500)
    yield Planted("IMB016", "learning-rate-of-nothing", still, still.but(lr=0.1), also=("IMB005",), by=450)
    both_sides = weighted.but(loss=lambda columns: nn.BCEWithLogitsLoss(weight=torch.tensor([19.0])))
    yield Planted("IMB019", "weight-for-pos-weight", both_sides, weighted)
    sampled = judged.but(loss=bce(), tamper=balanced, batch=1024, declare_rate=True)
    yield Planted("IMB012", "sampler-and-pos-weight", sampled.but(loss=bce(19.0)), sampled)
    aimed = focal.but(target_metric="average_precision")
    yield Planted("IMB105", "for-average-precision", aimed, aimed.but(loss=_smooth_ap()))
    yield Planted("IMB106", "alpha-at-the-rate", focal.but(loss=_focal(0.01)), focal, also=("IMB009",))
    ranked = focal.but(loss=_smooth_ap(), rate=0.02, batch=128)
    hard = ranked.but(family_options=HARD[family])
    yield Planted("IMB203", "no-queue", hard.but(loss=_smooth_ap(0)), hard, also=("IMB003", "IMB002"))
    yield Planted(
        "IMB204",
        "small-cap",
        ranked.but(loss=_smooth_ap(max_pool_size=32)),
        ranked,
        also=("IMB003",),
    )
    yield Planted(
        "IMB204",
        "small-cap-recall",
        ranked.but(loss=_recall(max_pool_size=16)),
        ranked.but(loss=_recall()),
        also=("IMB003", "IMB304", "IMB509", "IMB305", "IMB301"),
    )
    yield Planted("IMB205", "half-positive", ranked.but(rate=0.5), ranked)
    flattened = ranked.but(steps=60, rate=0.15)
    yield Planted(
        "IMB206", "flattened", flattened.but(batch=50_000, loss=_smooth_ap(0)), flattened.but(batch=512)
    )
