"""The ranking losses that every law is tried on, and batches to try it with."""

import torch

from losses import PAUCAtBudgetLoss, RecallAtQuantileLoss, SmoothAPLoss

RANKING = {
    "smooth_ap": lambda classes, **kw: SmoothAPLoss(classes, **{"temperature": 0.1, **kw}),
    "smooth_ap_iqr": lambda classes, **kw: SmoothAPLoss(
        classes, **{"temperature": 0.1, "tau_scale": "iqr", **kw}
    ),
    "recall": lambda classes, **kw: RecallAtQuantileLoss(
        classes, **{"quantile": 0.2, "temperature": 0.1, **kw}
    ),
    "recall_iqr": lambda classes, **kw: RecallAtQuantileLoss(
        classes, **{"quantile": 0.2, "temperature": 0.1, "tau_scale": "iqr", **kw}
    ),
    "pauc_trapezoid": lambda classes, **kw: PAUCAtBudgetLoss(classes, **{"beta": 0.3, "n_knots": 3, **kw}),
    "pauc_pairwise": lambda classes, **kw: PAUCAtBudgetLoss(
        classes, **{"beta": 0.5, "surrogate": "pairwise", **kw}
    ),
    "pauc_live_band": lambda classes, **kw: PAUCAtBudgetLoss(
        classes, **{"alpha": 0.1, "beta": 0.6, "pos_numerator": "live", "tau_scale": "band", **kw}
    ),
}

#: Losses whose gradient reaches negatives too.
PUSHES_NEGATIVES = ("smooth_ap", "smooth_ap_iqr", "pauc_pairwise")


def batch(rows, classes, seed=0, dtype=torch.float64):
    """Logits and class ids (0/1 for one class), every class present when there are rows enough."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64).to(dtype)
    kinds = max(classes, 2)
    targets = torch.randint(0, kinds, (rows,), generator=generator)
    targets[:kinds] = torch.arange(kinds)[: len(targets[:kinds])]
    return logits, targets


def value_and_grad(loss_fn, logits, targets, **kwargs):
    """Loss, per-class losses and the gradient with respect to the logits."""
    leaf = logits.detach().clone().requires_grad_()
    loss, per_class, valid = loss_fn(leaf, targets, return_per_class=True, **kwargs)
    loss.nansum().backward()
    return loss.detach(), per_class.detach(), valid, leaf.grad
