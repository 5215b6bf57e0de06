"""Data families of the clinic: laws that give any number of rows at any positive rate.

A family draws batches from a law, so that the positive rate is exact at any scale and no row is seen
twice. Training and validation use disjoint rows where rows are real (the digits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Law:
    """Rows given classes; `background` is the class that fills up the rate."""

    features: tuple[int, ...]
    classes: int
    #: (class ids, generator, validation?) -> rows
    rows: Callable[[Tensor, torch.Generator, bool], Tensor]

    def draw(
        self, n: int, priors: Tensor, generator: torch.Generator, validation: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Rows and class ids, with classes drawn from the priors."""
        ids = torch.multinomial(priors, n, replacement=True, generator=generator)
        return self.rows(ids, generator, validation), ids


@cache
def gaussian(classes: int = 2, separation: float = 2.5, features: int = 16, seed: int = 0) -> Law:
    """A mixture of unit Gaussians around random centres; the Bayes error is set by the separation."""
    g = torch.Generator().manual_seed(1000 + seed)
    centres = nn.functional.normalize(torch.randn(classes, features, generator=g), dim=1) * separation

    def rows(ids: Tensor, generator: torch.Generator, validation: bool) -> Tensor:
        return centres[ids] + torch.randn(len(ids), features, generator=generator)

    return Law((features,), classes, rows)


@cache
def digits(classes: int = 2, positive: int = 8, jitter: float = 0.15, seed: int = 0) -> Law:
    """scikit-learn's handwritten digits with pixel noise; one against the rest, or all ten."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.from_numpy(data.data.astype(np.float32) / 8.0 - 1.0)
    y = torch.from_numpy(data.target.astype(np.int64))
    if classes == 2:
        y = (y == positive).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = int(0.7 * len(x))
    banks = [[x[part][y[part] == c] for c in range(classes)] for part in (order[:cut], order[cut:])]

    def rows(ids: Tensor, generator: torch.Generator, validation: bool) -> Tensor:
        out = torch.empty(len(ids), 64)
        for c in range(classes):
            mine = (ids == c).nonzero()[:, 0]
            bank = banks[int(validation)][c]
            out[mine] = bank[torch.randint(len(bank), (len(mine),), generator=generator)]
        return out + jitter * torch.randn(out.shape, generator=generator)

    return Law((64,), classes, rows)


@cache
def table(classes: int = 2, separation: float = 1.0, seed: int = 0) -> Law:
    """scikit-learn's make_classification: clusters on a hypercube, redundant and useless columns."""
    from sklearn.datasets import make_classification

    x, y = make_classification(
        n_samples=40_000, n_features=20, n_informative=8, n_redundant=4, n_classes=classes,
        n_clusters_per_class=2, class_sep=separation, flip_y=0.0, random_state=seed,
    )  # fmt: skip
    x = (x - x.mean(0)) / x.std(0)
    rows_, ids_ = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.int64))
    half = len(rows_) // 2
    banks = [
        [rows_[part][ids_[part] == c] for c in range(classes)] for part in (slice(0, half), slice(half, None))
    ]

    def rows(ids: Tensor, generator: torch.Generator, validation: bool) -> Tensor:
        out = torch.empty(len(ids), 20)
        for c in range(classes):
            mine = (ids == c).nonzero()[:, 0]
            bank = banks[int(validation)][c]
            out[mine] = bank[torch.randint(len(bank), (len(mine),), generator=generator)]
        return out

    return Law((20,), classes, rows)


@cache
def sequence(classes: int = 2, length: int = 12, strength: float = 1.5, seed: int = 0) -> Law:
    """Noisy sequences of four channels; a positive holds a short bump in one channel at a random time."""

    def rows(ids: Tensor, generator: torch.Generator, validation: bool) -> Tensor:
        n = len(ids)
        x = torch.randn(n, length, 4, generator=generator)
        start = torch.randint(0, length - 3, (n,), generator=generator)
        time = torch.arange(length)
        inside = (time >= start[:, None]) & (time < start[:, None] + 3)
        channel = torch.where(ids > 0, (ids - 1) % 4, 0)
        mask = inside[:, :, None] & (torch.arange(4) == channel[:, None, None]) & (ids > 0)[:, None, None]
        return x + strength * mask

    return Law((length, 4), classes, rows)


FAMILIES: dict[str, Callable[..., Law]] = {
    "gaussian": gaussian,
    "digits": digits,
    "table": table,
    "sequence": sequence,
}


class Recurrent(nn.Module):
    """A small GRU that reads a sequence and scores its end."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, 24, batch_first=True)
        self.head = nn.Linear(24, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        return self.head(states.amax(dim=1))


def model_for(law: Law, kind: str, outputs: int) -> nn.Module:
    """A small model for rows of this law: ``linear``, ``mlp``, or ``gru`` for sequences."""
    if len(law.features) == 2:
        return Recurrent(law.features[-1], outputs)
    width = law.features[0]
    if kind == "linear":
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, outputs))
