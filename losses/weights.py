"""Class weights from class counts, for the `alpha` of `SoftmaxFocalLoss` or the weight of cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._checks import check_number


def balanced_class_weights(counts: Sequence[int] | Tensor) -> Tensor:
    """N / (k · N_c): every class carries the same total weight, and the mean weight of a row is 1.

    Args:
        counts: `[C]` rows of each class in the training set, all positive.

    Returns:
        `[C]` weights of torch's default type, which the losses' `weight` and `alpha` take as they are.

    Raises:
        ValueError: If `counts` is not a non-empty vector of positive numbers.
    """
    n = _counts(counts)
    return (n.sum() / (n.numel() * n)).to(torch.get_default_dtype())


def effective_number_weights(counts: Sequence[int] | Tensor, beta: float = 0.9999) -> Tensor:
    """(1 − β) / (1 − β^N_c), scaled so that the weights sum to the number of classes.

    Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019, eq. 2. β = 0 weighs
    all classes alike; β → 1 approaches weights inverse to the counts.

    Args:
        counts: `[C]` rows of each class in the training set, all positive.
        beta: In [0, 1); the paper uses 0.9 to 0.9999.

    Returns:
        `[C]` weights of torch's default type.

    Raises:
        ValueError: If `counts` is not a non-empty vector of positive numbers, or `beta` is outside [0, 1).
    """
    n = _counts(counts)
    check_number("beta", beta, least=0.0, below=1.0)
    if beta == 0:
        return torch.ones_like(n, dtype=torch.get_default_dtype())
    # expm1 and log keep 1 − β^N exact for β close to 1 and small counts.
    weights = 1.0 / -torch.expm1(n * torch.log(torch.tensor(beta, dtype=torch.float64)))
    return (weights * (n.numel() / weights.sum())).to(torch.get_default_dtype())


def _counts(counts: Sequence[int] | Tensor) -> Tensor:
    n = torch.as_tensor(counts).detach().to("cpu", torch.float64)
    if n.dim() != 1 or n.numel() == 0 or not bool((n > 0).all()):
        raise ValueError(
            "expected counts to be a non-empty vector of positive row counts, one for each class, "
            f"got {counts}: give classes without rows the weight 1, and compute the weights of the others"
        )
    return n
