"""A small real training loop under a Doctor, for tests of the monitor."""

from __future__ import annotations

import torch
from torch import nn

from imbalance_doctor import Doctor


def batches(rows: int, rate: float, seed: int, *, classes: int = 1):
    """Endless batches of a Gaussian law: positives of a class are moved along an axis of their own."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(rows, 8, generator=generator)
        if classes == 1:
            y = (torch.rand(rows, generator=generator) < rate).long()
            x[:, 0] += 2.5 * y
        else:
            y = torch.randint(classes, (rows,), generator=generator)
            x[torch.arange(rows), y % 8] += 2.5
        yield x, y


def train(
    doctor: Doctor,
    loss_fn: nn.Module,
    *,
    steps: int,
    batch: int = 64,
    rate: float = 0.05,
    seed: int = 0,
    classes: int = 1,
    first_step: int = 0,
    each_step=lambda step: None,
) -> list:
    """Train a linear model; returns the findings that `step` reported."""
    torch.manual_seed(seed)
    model = nn.Linear(8, classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    found = []
    as_float = isinstance(loss_fn, nn.BCEWithLogitsLoss)
    stream = batches(batch, rate, seed, classes=classes)
    for step in range(first_step, first_step + steps):
        x, y = next(stream)
        logits = model(x)
        loss = loss_fn(logits, y[:, None].float() if as_float else y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found += doctor.step(step)
        each_step(step)
    return found
