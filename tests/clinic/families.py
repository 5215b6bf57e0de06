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
        return _resampled(banks[int(validation)], ids, jitter, generator)

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


@cache
def images(classes: int = 2, positive: int = 3, jitter: float = 0.3, seed: int = 1) -> Law:
    """The handwritten digits as images, moved by up to a pixel each way, for a convolutional model."""
    flat = digits(classes, positive, 0.0, seed)

    def rows(ids: Tensor, generator: torch.Generator, validation: bool) -> Tensor:
        wide = nn.functional.pad(
            flat.rows(ids, generator, validation).view(-1, 8, 8), (1, 1, 1, 1), value=-1.0
        )
        moves = wide.unfold(1, 8, 1).unfold(2, 8, 1).flatten(1, 2)  # [rows, 9, 8, 8], a view of each window
        x = moves[torch.arange(len(ids)), torch.randint(9, (len(ids),), generator=generator)][:, None]
        return x + jitter * torch.randn(x.shape, generator=generator)

    return Law((1, 8, 8), classes, rows)


@cache
def tumours(classes: int = 2, jitter: float = 0.7, seed: int = 0) -> Law:
    """scikit-learn's breast cancer data, malignant against benign, with noise on every column."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    x = torch.from_numpy(((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32))
    y = torch.from_numpy(1 - data.target.astype(np.int64))  # the table calls benign 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = int(0.6 * len(x))
    banks = [[x[part][y[part] == c] for c in range(2)] for part in (order[:cut], order[cut:])]

    def rows(ids: Tensor, generator: torch.Generator, validation: bool) -> Tensor:
        return _resampled(banks[int(validation)], ids, jitter, generator)

    return Law((30,), classes, rows)


def _resampled(bank: list[Tensor], ids: Tensor, jitter: float, generator: torch.Generator) -> Tensor:
    """Rows of a bank for given classes, with noise."""
    out = torch.empty(len(ids), bank[0].shape[1])
    for c, mine in enumerate(bank):
        chosen = (ids == c).nonzero()[:, 0]
        out[chosen] = mine[torch.randint(len(mine), (len(chosen),), generator=generator)]
    return out + jitter * torch.randn(out.shape, generator=generator)


FAMILIES: dict[str, Callable[..., Law]] = {
    "gaussian": gaussian,
    "digits": digits,
    "table": table,
    "sequence": sequence,
    "images": images,
    "tumours": tumours,
}

#: Families that no threshold was set on: the clinic's page uses them, and nothing else does.
HELD_OUT = ("images", "tumours")

#: Steps until a model of a family is a good one, by its validation curve, where that takes more than 200.
LEARNT = {"images": 1000}


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
    """A small model for rows of this law: ``linear`` or ``mlp``; a GRU for sequences, a CNN for images."""
    if len(law.features) == 2:
        return Recurrent(law.features[-1], outputs)
    if len(law.features) == 3:
        channels, height, width = law.features
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(8 * (height // 2) * (width // 2), outputs),
        )  # fmt: skip
    width = law.features[0]
    if kind == "linear":
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, outputs))
