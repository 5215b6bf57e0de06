"""Focal losses: the formula, its derivative, its reductions, and class weights."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import batch

from losses import SigmoidFocalLoss, SoftmaxFocalLoss
from losses.weights import balanced_class_weights, effective_number_weights

few = settings(deadline=None, derandomize=True, max_examples=30)
gammas = st.sampled_from((0.0, 0.3, 0.5, 1.0, 2.0, 4.0))
seeds = st.integers(0, 10**6)


def normal(shape, seed, scale=3.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


@few
@given(gammas, st.sampled_from((-1, 0.0, 0.25, 1.0)), st.sampled_from(((5,), (4, 3), (2, 3, 2))), seeds)
def test_sigmoid_focal_is_its_definition(gamma, alpha, shape, seed):
    x = normal(shape, seed).requires_grad_()
    y = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = torch.where(y < 0.3, 0.0, torch.where(y > 0.7, 1.0, y))
    p = torch.sigmoid(x)
    alpha_t = alpha * y + (1 - alpha) * (1 - y) if alpha >= 0 else 1.0
    expected = alpha_t * (y - p).abs() ** gamma * -(y * p.log() + (1 - y) * (1 - p).log())
    got = SigmoidFocalLoss(alpha, gamma, "none")(x, y)
    assert torch.allclose(got, expected, atol=1e-12)
    grads = [torch.autograd.grad(loss.sum(), x, retain_graph=True)[0] for loss in (got, expected)]
    assert torch.allclose(*grads, atol=1e-10)


@few
@given(gammas, st.booleans(), st.sampled_from((0.0, 0.2)), seeds)
def test_softmax_focal_is_its_definition(gamma, weighted, smoothing, seed):
    x = normal((9, 4), seed).requires_grad_()
    t = torch.randint(0, 4, (9,), generator=torch.Generator().manual_seed(seed))
    alpha = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64) if weighted else None
    p_t = x.softmax(1)[torch.arange(9), t]
    expected = (1 - p_t) ** gamma * F.cross_entropy(x, t, reduction="none", label_smoothing=smoothing)
    expected = expected if alpha is None else expected * alpha[t]
    got = SoftmaxFocalLoss(alpha, gamma, "none", smoothing)(x, t)
    assert torch.allclose(got, expected, atol=1e-12)
    grads = [torch.autograd.grad(loss.sum(), x, retain_graph=True)[0] for loss in (got, expected)]
    assert torch.allclose(*grads, atol=1e-10)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradients_are_the_numerical_ones(gamma):
    x = normal((6, 3), 0).requires_grad_()
    y = torch.tensor([[0.0, 1.0, 0.3]] * 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: SigmoidFocalLoss(gamma=gamma)(x, y), x)
    ids = torch.tensor([0, 1, 2, 0, 1, 2])
    loss_fn = SoftmaxFocalLoss(gamma=gamma, label_smoothing=0.1, reduction="sum")
    assert torch.autograd.gradcheck(lambda x: loss_fn(x, ids), x)


@few
@given(seeds)
def test_gamma_zero_is_cross_entropy_to_the_bit(seed):
    x = normal((8, 5), seed)
    y = (normal((8, 5), seed + 1) > 0).double()
    assert torch.equal(SigmoidFocalLoss(alpha=-1, gamma=0.0)(x, y), F.binary_cross_entropy_with_logits(x, y))
    ids = torch.randint(0, 5, (8,))
    assert torch.allclose(SoftmaxFocalLoss(gamma=0.0)(x, ids), F.cross_entropy(x, ids), rtol=1e-15, atol=0)


def test_two_classes_under_a_softmax_are_one_under_a_sigmoid():
    x = normal((20, 2), 0)
    ids = torch.arange(20) % 2
    soft = SoftmaxFocalLoss(reduction="none")(x, ids)
    hard = SigmoidFocalLoss(alpha=-1, reduction="none")(x[:, 1] - x[:, 0], ids)
    assert torch.allclose(soft, hard, atol=1e-12)


def test_reductions_divide_by_what_they_say():
    x, ids = batch(30, 4)
    ids[::5] = -100
    counted, foreground = ids != -100, (ids != -100) & (ids != 2)
    rows = SoftmaxFocalLoss(reduction="none", background_class=2)(x, ids)
    assert (rows[~counted] == 0).all()
    weight = torch.linspace(0.1, 3, 30, dtype=torch.float64)
    for reduction, divisor, weighted_divisor in (
        ("sum", 1.0, 1.0),
        ("mean", counted.sum(), weight[counted].sum()),
        ("mean_positive", foreground.sum(), weight[foreground].sum()),
    ):
        loss_fn = SoftmaxFocalLoss(reduction=reduction, background_class=2)
        assert torch.allclose(loss_fn(x, ids), rows.sum() / divisor)
        assert torch.allclose(loss_fn(x, ids, sample_weight=weight), (rows * weight).sum() / weighted_divisor)


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_positive"])
@pytest.mark.parametrize("ids", [torch.full((4,), -100), torch.empty(0, dtype=torch.long)])
def test_nothing_to_average_is_a_zero_that_keeps_the_graph(reduction, ids):
    x = torch.randn(len(ids), 3, requires_grad=True)
    loss = SoftmaxFocalLoss(reduction=reduction)(x, ids)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("spoiler", [torch.nan, torch.inf])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 2)])
def test_an_ignored_row_that_is_not_finite_reaches_no_gradient(shape, spoiler):
    logits = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.ones(shape[:1] + shape[2:], dtype=torch.long)
    logits[1], targets[1] = spoiler, -100
    leaf = logits.requires_grad_()
    SoftmaxFocalLoss()(leaf, targets).backward()
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[1] == 0).all()


def test_an_empty_sigmoid_batch_is_zero_too():
    x = torch.empty(0, 2, requires_grad=True)
    loss = SigmoidFocalLoss()(x, torch.empty(0, 2))
    loss.backward()
    assert loss.item() == 0


def test_weights_of_rows_and_of_elements():
    x, y = normal((5, 3), 0), (normal((5, 3), 1) > 0).double()
    elements = SigmoidFocalLoss(reduction="none")(x, y)
    rows = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    by_row = SigmoidFocalLoss()(x, y, sample_weight=rows)
    assert torch.allclose(by_row, (elements * rows[:, None]).sum() / (3 * rows.sum()))
    cells = torch.rand(5, 3, dtype=torch.float64)
    assert torch.allclose(
        SigmoidFocalLoss(reduction="sum")(x, y, sample_weight=cells), (elements * cells).sum()
    )
    zero = SigmoidFocalLoss()(x, y, sample_weight=torch.zeros(5))
    assert zero == 0


# ---------------------------------------------------------------------------------------------- weights


def test_balanced_weights_give_every_class_the_same_total_and_rows_a_mean_of_one():
    counts = torch.tensor([900, 90, 10])
    weights = balanced_class_weights(counts)
    assert torch.allclose(weights * counts, torch.full((3,), 1000 / 3))
    assert ((weights * counts).sum() / counts.sum()).item() == pytest.approx(1.0)


def test_effective_number_weights_lie_between_equal_and_inverse_counts():
    counts = [900, 90, 10]
    beta = 0.99
    raw = torch.tensor([(1 - beta) / (1 - beta**n) for n in counts])
    assert torch.allclose(effective_number_weights(counts, beta), raw * 3 / raw.sum())
    assert torch.equal(effective_number_weights(counts, 0.0), torch.ones(3))
    inverse = balanced_class_weights(counts)
    near_one = effective_number_weights(counts, 1 - 1e-12)
    assert torch.allclose(near_one, inverse * 3 / inverse.sum(), rtol=1e-6)


@pytest.mark.parametrize("counts", [[], [3, 0], [[1, 2]], [1, float("nan")]])
def test_counts_must_be_positive_and_one_for_each_class(counts):
    with pytest.raises(ValueError, match="expected counts to be a non-empty vector of positive row counts"):
        balanced_class_weights(counts)
    with pytest.raises(ValueError, match="expected counts to be a non-empty vector of positive row counts"):
        effective_number_weights(counts)


def test_beta_must_lie_below_one():
    with pytest.raises(ValueError, match=r"beta must be a finite number and >= 0.0 and < 1.0, got 1.0"):
        effective_number_weights([1, 2], beta=1.0)
