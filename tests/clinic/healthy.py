"""Ordinary runs in which nothing is wrong: the whole range of losses, rates, batches and class counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from torch import nn

from losses import LossWarmupWrapper, SigmoidFocalLoss, SoftmaxFocalLoss
from tests.clinic.catalogue import bce, pauc, recall, smooth_ap
from tests.clinic.clinic import ClinicRun

#: What is known of findings at warning or above in runs meant to be healthy.
KNOWN: dict[str, str] = {
    "IMB003": "a pool near the border of 5 positives: true of the records that were looked at",
    "IMB004": "positives that the model has not learnt yet, or cannot see, score as mislabelled ones do "
    "(the rule's Known problems)",
    "IMB005": "a slow run: the order of the scores had not come by then (the rule's Known problems)",
    "IMB009": "a model still on its way out of predicting the majority: true when it was said",
    "IMB403": "batches that happened to bring few positives",
    "IMB509": "a loss that moves positives only, alone, from a cold start: slow in such runs, where it gets "
    "there in the end (the rule's Known problems)",
}

LOSSES = ("smooth_ap", "smooth_ap_iqr", "recall", "pauc", "pauc_pairwise", "pauc_live", "focal", "bce")
BINARY_FAMILIES = ("gaussian", "digits", "table", "sequence")


def loss_for(name: str, rate: float, queue: int) -> Callable[[int], nn.Module]:
    """A loss that is configured as its page advises for this rate."""
    quantile = min(max(1.5 * rate, 0.01), 0.9)
    beta = max(0.01, 20.0 / queue)
    return {
        "smooth_ap": smooth_ap(queue),
        "smooth_ap_iqr": smooth_ap(queue, tau_scale="iqr", temperature=0.1),
        "recall": recall(quantile, queue),
        "pauc": pauc(beta, queue),
        "pauc_pairwise": pauc(beta, queue, surrogate="pairwise"),
        "pauc_live": pauc(beta, queue, pos_numerator="live"),
        # The alpha at which both sides start about even. At the default of 0.25 and a rate of 5 % the default
        # decision of a finished model found 1 to 8 % of the positives, which IMB009 rightly calls collapse.
        "focal": lambda columns: SigmoidFocalLoss(alpha=_even_alpha(rate)),
        "bce": bce(),
    }[name]


def _even_alpha(rate: float) -> float:
    """What IMB106 prescribes, and never less than the default."""
    weight = 0.3 * ((1.0 - rate) / rate) ** 0.5
    return max(0.25, weight / (1.0 + weight))


def binary_runs(count: int, seed: int) -> Iterator[tuple[str, ClinicRun]]:
    """Random ordinary binary configurations, with a description each."""
    draw = random.Random(seed)
    for number in range(count):
        name = LOSSES[number % len(LOSSES)]
        rate = draw.choice((0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5))
        batch = draw.choice((32, 64, 128, 256, 512, 1024))
        if name in ("recall", "pauc", "pauc_live"):
            batch = max(batch, min(2048, int(2.5 / rate)))  # these need live positives
        queue = max(1024, int(25 / rate))
        if queue > 16_384:
            queue, rate = 16_384, 0.002
        likelihood = name in ("focal", "bce")
        if likelihood:
            rate = max(rate, 0.05)
        family = draw.choice(BINARY_FAMILIES if rate >= 0.01 else BINARY_FAMILIES[:3])
        loss = loss_for(name, rate, queue)
        positives_only = name in ("recall", "pauc", "pauc_live")
        if not likelihood and (draw.random() < 0.4 or (positives_only and family == "sequence")):
            loss = _warmed(loss, draw.choice((30, 100)), 0.5 if positives_only else 1.0)
        model = draw.choice(("linear", "mlp"))
        if family == "table":
            model = "mlp"
        run = ClinicRun(
            loss, family=family, rate=rate, batch=batch, steps=draw.choice((200, 300, 400)), model=model,
            lr=draw.choice((1e-3, 3e-3, 1e-2)), seed=seed * 1000 + number, declare_steps=draw.random() < 0.5,
            declare_rate=draw.random() < 0.3, validation_rows=2000,
        )  # fmt: skip
        yield f"{number} {name} {family} {model} rate {rate} batch {batch} queue {queue} lr {run.lr}", run


def _warmed(
    main: Callable[[int], nn.Module], steps: int, weight: float, multiclass: bool = False
) -> Callable[[int], nn.Module]:
    """After a warmup; losses that push positives only keep a likelihood loss beside them."""
    return lambda columns: LossWarmupWrapper(
        nn.CrossEntropyLoss() if multiclass else nn.BCEWithLogitsLoss(), main(columns), warmup_steps=steps,
        temp_decay_steps=200, temp_start=0.1, temp_end=0.05, final_main_weight=weight,
    )  # fmt: skip


def multiclass_runs(count: int, seed: int) -> Iterator[tuple[str, ClinicRun]]:
    """Random ordinary configurations with 3 to 100 classes."""
    draw = random.Random(seed)
    for number in range(count):
        classes = draw.choice((3, 5, 10, 10, 30, 100))
        family = "digits" if classes == 10 else "gaussian"
        name = draw.choice(("smooth_ap", "smooth_ap_iqr", "recall", "pauc", "softmax_focal", "cross_entropy"))
        batch = draw.choice((128, 256, 512))
        rate = 1.0 / classes
        queue = draw.choice((1024, 4096)) if classes < 30 else 4096
        if name in ("recall", "pauc"):
            batch = max(batch, int(2.5 / rate))
        loss: Callable[[int], nn.Module]
        if name == "softmax_focal":
            loss = lambda columns: SoftmaxFocalLoss()  # noqa: E731
        elif name == "cross_entropy":
            loss = lambda columns: nn.CrossEntropyLoss()  # noqa: E731
        else:
            loss = loss_for(name, rate, queue)
            if name in ("recall", "pauc"):
                loss = _warmed(loss, 50, 0.5, multiclass=True)
        run = ClinicRun(
            loss, family=family, columns=classes, rate=(rate,) * classes, batch=batch, steps=200,
            family_options={"separation": 4.0} if family == "gaussian" else {},
            lr=draw.choice((3e-3, 1e-2)), seed=seed * 1000 + number, validation_rows=1000,
        )  # fmt: skip
        yield f"{number} {name} {family} classes {classes} batch {batch} queue {queue}", run
