"""Pairwise ranking losses of a pool, per class, without a matrix of all pairs.

The sums Σ_j σ((s_j − s_i)/τ) over a pool of M, for all P positives i, cost P · M as they are written. As a
function of s_i they are the convolution of the pool's histogram with one smooth kernel, which a fast
Fourier transform does in about M steps. docs/kernels.md derives it; `dispatch` says which way is taken when.
"""

from .operators import (
    pairwise_auc,
    pairwise_auc_and_slopes,
    smooth_ap,
    smooth_ap_and_slopes,
    smooth_ap_slopes,
)

__all__ = [
    "pairwise_auc",
    "pairwise_auc_and_slopes",
    "smooth_ap",
    "smooth_ap_and_slopes",
    "smooth_ap_slopes",
]
