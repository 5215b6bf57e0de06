"""Real images made rare: scikit-learn's handwritten digits, one digit against the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Share of the 1,797 images that training draws from; no image is in both parts.
TRAINING_SHARE = 0.55

#: Standard deviation of the noise on each pixel (pixels run from 0 to 1): it keeps a small network from
#: ranking the validation images perfectly, so that a better loss has something to win.
PIXEL_NOISE = 0.15


@dataclass(frozen=True)
class Split:
    """Rows of one part of the data: images ``[N, 64]`` and labels ``[N]`` (1 for the rare digit)."""

    images: Tensor
    labels: Tensor


def rare_digits(
    *, digit: int, positive_rate: float, training_rows: int, validation_rows: int, seed: int
) -> tuple[Split, Split]:
    """Training and validation rows drawn by a stated law from scikit-learn's digits.

    A row is positive with probability `positive_rate`, independently of the others. Its image is drawn
    with replacement from the digit's images (or from those of the nine others), moved by up to one pixel
    each way, and given normal noise.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the demo trains on scikit-learn\'s digits; install it with: pip install "imbalance-doctor[demo]"'
        ) from error
    rng = np.random.default_rng(seed)
    data = load_digits()
    images, is_digit = data.images / 16.0, data.target == digit
    order = rng.permutation(len(images))
    cut = int(TRAINING_SHARE * len(images))

    def draw(of: NDArray[np.int64], rows: int) -> Split:
        positive = rng.random(rows) < positive_rate
        chosen = np.where(positive, rng.choice(of[is_digit[of]], rows), rng.choice(of[~is_digit[of]], rows))
        padded = np.pad(images[chosen], ((0, 0), (1, 1), (1, 1)))
        down, right = rng.integers(0, 3, (2, rows))
        pixel = np.arange(8)
        moved = padded[
            np.arange(rows)[:, None, None],
            (down[:, None] + pixel)[:, :, None],
            (right[:, None] + pixel)[:, None, :],
        ]
        noisy = moved + rng.normal(0, PIXEL_NOISE, moved.shape)
        return Split(
            torch.tensor(noisy.reshape(rows, 64), dtype=torch.float32), torch.tensor(positive).long()
        )

    return draw(order[:cut], training_rows), draw(order[cut:], validation_rows)
