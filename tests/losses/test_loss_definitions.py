"""The losses equal their definitions, and their limits are the metrics that they stand for."""

import naive_losses as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import batch, value_and_grad
from sklearn.metrics import average_precision_score, roc_auc_score

from losses import PAUCAtBudgetLoss, RecallAtQuantileLoss, SmoothAPLoss

few = settings(deadline=None, derandomize=True, max_examples=25)
rows = st.integers(4, 24)
seeds = st.integers(0, 10**6)
taus = st.sampled_from((0.02, 0.1, 1.0, 5.0))


def members(targets, classes):
    """For each column, the boolean labels."""
    return [targets == (c if classes > 1 else 1) for c in range(classes)]


def check(loss_fn, definition, rows, classes, seed):
    logits, targets = batch(rows, classes, seed)
    weight = torch.rand(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    _, per_class, valid, grad = value_and_grad(loss_fn, logits, targets, sample_weight=weight)
    leaf = logits.clone().requires_grad_()
    for c, y in enumerate(members(targets, classes)):
        if valid[c]:
            expected = definition(leaf[:, c], y, weight)
            (expected / int(valid.sum())).backward()
            assert per_class[c].item() == pytest.approx(expected.item(), abs=1e-10)
        else:
            assert per_class[c].isnan()
    if bool(valid.any()):
        assert torch.allclose(grad, leaf.grad, rtol=1e-7, atol=1e-10)


@few
@given(rows, st.sampled_from((1, 3)), seeds, taus)
def test_smooth_ap_is_its_definition(rows, classes, seed, tau):
    loss_fn = SmoothAPLoss(classes, temperature=tau)
    check(loss_fn, lambda s, y, w: naive.smooth_ap(s, y, w, tau), rows, classes, seed)


@few
@given(
    rows,
    st.sampled_from((1, 3)),
    seeds,
    taus,
    st.floats(0.01, 0.9),
    st.sampled_from(("linear", "lower", "higher", "nearest", "midpoint")),
)
def test_recall_at_quantile_is_its_definition(rows, classes, seed, tau, quantile, how):
    loss_fn = RecallAtQuantileLoss(classes, quantile=quantile, temperature=tau, quantile_interpolation=how)
    check(
        loss_fn,
        lambda s, y, w: naive.recall_at_quantile(s, y, w, tau, quantile=quantile, interpolation=how),
        rows,
        classes,
        seed,
    )


@few
@given(
    st.integers(20, 40),
    seeds,
    st.sampled_from(((0.0, 0.3), (0.1, 0.6), (0.0, 1.0))),
    st.sampled_from(("trapezoid", "pairwise")),
    st.integers(2, 5),
    st.sampled_from(("iqr", "band")),
    st.sampled_from(("fpr", "population")),
)
def test_partial_auc_is_its_definition(rows, seed, band, surrogate, n_knots, tau_scale, basis):
    choices = {
        "alpha": band[0],
        "beta": band[1],
        "surrogate": surrogate,
        "n_knots": n_knots,
        "tau_scale": tau_scale,
        "budget_basis": basis,
    }
    every = torch.ones(rows, dtype=torch.bool)
    loss_fn = PAUCAtBudgetLoss(2, temperature=0.2, **choices)
    check(
        loss_fn,
        lambda s, y, w: naive.partial_auc(s, y, w, 0.2, iid=every, live=every, **choices),
        rows,
        2,
        seed,
    )


def test_rows_that_are_not_iid_do_not_set_the_band():
    logits, targets = batch(40, 1)
    iid = torch.arange(40) % 3 != 0
    loss_fn = PAUCAtBudgetLoss(1, beta=0.4, surrogate="pairwise")
    got = loss_fn(logits, targets, iid_mask=iid)
    every = torch.ones(40, dtype=torch.bool)
    expected = naive.partial_auc(
        logits[:, 0],
        targets == 1,
        torch.ones(40, dtype=torch.float64),
        0.1,
        alpha=0.0,
        beta=0.4,
        iid=iid,
        live=every,
        surrogate="pairwise",
    )
    assert got.item() == pytest.approx(expected.item(), abs=1e-12)


def test_live_numerator_averages_over_live_positives_while_the_queue_sets_the_band():
    queued, queued_targets = batch(30, 1, seed=1)
    live, live_targets = batch(12, 1, seed=2)
    loss_fn = PAUCAtBudgetLoss(1, beta=0.4, pos_numerator="live", queue_size=30)
    loss_fn(queued, queued_targets)
    got = loss_fn(live, live_targets)
    pool = torch.cat([live, queued])[:, 0]
    y = torch.cat([live_targets, queued_targets]) == 1
    every = torch.ones(42, dtype=torch.bool)
    expected = naive.partial_auc(
        pool,
        y,
        torch.ones(42, dtype=torch.float64),
        0.1,
        alpha=0.0,
        beta=0.4,
        iid=every,
        live=torch.arange(42) < 12,
        pos_numerator="live",
    )
    assert got.item() == pytest.approx(expected.item(), abs=1e-12)
    assert not loss_fn(live, torch.zeros(12, dtype=torch.long), return_per_class=True)[2].any()


@pytest.mark.parametrize("n_knots", [2, 3, 7])
def test_the_first_and_last_knot_are_the_band_edges_to_the_bit(n_knots):
    logits, targets = batch(301, 1)
    loss_fn = PAUCAtBudgetLoss(1, alpha=0.1, beta=0.7, n_knots=n_knots)
    _, stats = loss_fn(logits, targets, return_diagnostics=True)
    negatives = logits[targets == 0, 0]
    assert stats["t_alpha"].item() == torch.quantile(negatives, 1 - 0.1, interpolation="higher").item()
    assert stats["t_beta"].item() == torch.quantile(negatives, 1 - 0.7, interpolation="higher").item()


# ------------------------------------------------------------------------------------------------ limits


@few
@given(st.integers(10, 200), seeds)
def test_cold_smooth_ap_is_average_precision(rows, seed):
    logits, targets = batch(rows, 1, seed)
    loss = SmoothAPLoss(1, temperature=1e-9)(logits, targets)
    assert 1 - loss.item() == pytest.approx(average_precision_score(targets, logits[:, 0]), abs=1e-6)


@few
@given(st.integers(10, 200), seeds)
def test_cold_pairwise_partial_auc_over_all_rates_is_auroc(rows, seed):
    logits, targets = batch(rows, 1, seed)
    loss = PAUCAtBudgetLoss(1, beta=1.0, surrogate="pairwise", temperature=1e-9)(logits, targets)
    if bool(loss.isfinite()) and (targets == 0).sum() > 1:
        assert 1 - loss.item() == pytest.approx(roc_auc_score(targets, logits[:, 0]), abs=1e-6)


@few
@given(st.integers(10, 200), seeds, st.floats(0.05, 0.9))
def test_cold_recall_at_quantile_is_recall_of_the_flagged_rows(rows, seed, quantile):
    logits, targets = batch(rows, 1, seed)
    loss_fn = RecallAtQuantileLoss(1, quantile=quantile, temperature=1e-9)
    loss, stats = loss_fn(logits, targets, return_diagnostics=True)
    positives = logits[targets == 1, 0]
    # A positive that is itself the threshold counts half: σ(0).
    hits = (positives > stats["threshold"]).sum() + 0.5 * (positives == stats["threshold"]).sum()
    assert 1 - loss.item() == pytest.approx((hits / len(positives)).item(), abs=1e-6)


@pytest.mark.parametrize(("positives", "rows"), [(1, 10), (3, 40), (20, 40)])
def test_tied_scores_have_the_smooth_ap_of_their_counts(positives, rows):
    targets = (torch.arange(rows) < positives).long()
    loss = SmoothAPLoss(1)(torch.zeros(rows, 1, dtype=torch.float64), targets)
    assert loss.item() == pytest.approx(1 - (positives + 1) / (rows + 1), abs=1e-12)
