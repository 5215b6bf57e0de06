"""Focal losses: the formula, its derivative, its reductions, and class weights."""

import functools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import batch

from losses import SigmoidFocalLoss, SoftmaxFocalLoss
from losses.functional import sigmoid_focal_star
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


def defined_sigmoid_focal(x, y, alpha, gamma, pos_weight=1.0):
    alpha_t = alpha * y + (1 - alpha) * (1 - y) if alpha >= 0 else 1.0
    entropy = -(pos_weight * y * F.logsigmoid(x) + (1 - y) * F.logsigmoid(-x))
    return alpha_t * (y - torch.sigmoid(x)).abs() ** gamma * entropy


def derivatives(function, x, y):
    """First and second derivatives of elementwise losses in logits and labels."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    by_x, by_y = torch.autograd.grad(function(x, y).sum(), (x, y), create_graph=True)
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    second = (torch.autograd.grad(first.sum(), (x, y), **options) for first in (by_x, by_y))
    return by_x, by_y, *(derivative for pair in second for derivative in pair)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("alpha", [-1, 0.25])
@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_derivatives_in_logits_and_labels_are_those_of_the_definition(gamma, alpha, pos_weight):
    x = normal((40,), 0)
    y = torch.cat((torch.zeros(10), torch.ones(10), torch.linspace(0.05, 0.95, 20))).double()
    weight = 1.0 if pos_weight is None else pos_weight
    got, expected = (
        derivatives(function, x, y)
        for function in (
            SigmoidFocalLoss(alpha, gamma, "none", pos_weight=pos_weight),
            lambda x, y: defined_sigmoid_focal(x, y, alpha, gamma, weight),
        )
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_first_and_second_derivatives_are_the_numerical_ones(gamma):
    x = normal((6, 3), 0).requires_grad_()
    y = torch.tensor([[0.0, 1.0, 0.3]] * 6, dtype=torch.float64)
    ids = torch.tensor([0, 1, 2, 0, 1, 2])
    soft = (torch.sigmoid(normal((6, 3), 1, scale=1.0))).requires_grad_()
    sigmoid, softmax = (
        SigmoidFocalLoss(gamma=gamma, pos_weight=2.0),
        SoftmaxFocalLoss(None, gamma, "sum", 0.1),
    )
    for function, inputs in (
        (lambda x: sigmoid(x, y), (x,)),
        (lambda x: softmax(x, ids), (x,)),
        (sigmoid, (x, soft)),
    ):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("gamma", [0.01, 0.3, 0.5, 1.0, 1.5, 2.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_second_derivatives_are_finite_and_right_where_p_rounds_to_0_or_1(gamma, dtype):
    x = torch.tensor([20.0, 40.0, 104.0, 1e4, torch.finfo(dtype).max / 8], dtype=dtype)
    x = torch.cat((x, -x))
    # On the label's side, f = (1 + O(q)) q^(1 + gamma) with q = e^-z; on the other, f is linear.
    for y in (0.0, 1.0):
        second = derivatives(SigmoidFocalLoss(-1, gamma, "none"), x, torch.full_like(x, y))[2]
        z = x if y else -x
        right = (1 + gamma) ** 2 * torch.exp(-(1 + gamma) * z[z > 0])
        torch.testing.assert_close(second[z > 0], right, rtol=1e-6, atol=torch.finfo(dtype).eps)
        assert (second[z < 0].abs() <= 1e-6).all()
    for y in (0.3, 0.5):
        assert all(d.isfinite().all() for d in derivatives(SigmoidFocalLoss(-1, gamma, "none"), x, x * 0 + y))
    for target in (0, 1):
        logits = torch.stack([x, torch.zeros_like(x)], 1).requires_grad_()
        loss = SoftmaxFocalLoss(gamma=gamma, reduction="sum")(logits, torch.full((len(x),), target))
        (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
        (second,) = torch.autograd.grad(gradient[:, target].sum(), logits)
        assert (second.abs() <= 1e-6).all()


def test_at_the_cusp_of_a_soft_label_the_derivative_is_0():
    x = torch.zeros(1, dtype=torch.float64)
    for gamma in (0.01, 0.5, 1.0, 1.5):
        loss = SigmoidFocalLoss(-1, gamma, "none")
        assert loss(x, x + 0.5) == 0
        assert [d.item() for d in derivatives(loss, x, x + 0.5)] == [0.0] * 6


def test_no_gradient_reaches_sample_weights():
    x, y = normal((5, 3), 0).requires_grad_(), (normal((5, 3), 1) > 0).double()
    weight = torch.rand(5, dtype=torch.float64, requires_grad=True)
    for loss in (
        SigmoidFocalLoss()(x, y, sample_weight=weight),
        SoftmaxFocalLoss()(x, torch.tensor([0, 1, 2, 0, 1]), sample_weight=weight),
    ):
        assert torch.autograd.grad(loss, weight, allow_unused=True) == (None,)


def test_elements_that_do_not_count_reach_neither_logits_nor_labels():
    x, y = normal((4,), 0).requires_grad_(), torch.full((4,), 0.3, dtype=torch.float64, requires_grad=True)
    counted = torch.tensor([True, True, False, True])
    got = torch.autograd.grad(SigmoidFocalLoss(reduction="sum").masked_forward(x, y, counted), (x, y))
    whole = torch.autograd.grad(SigmoidFocalLoss(reduction="none")(x, y)[counted].sum(), (x, y))
    for a, b in zip(got, whole, strict=True):
        torch.testing.assert_close(a, b)


# ----------------------------------------------------------------------------------------- torch.func

TRANSFORMED = {
    "sigmoid": (SigmoidFocalLoss(gamma=1.5, pos_weight=2.0), lambda x: (x > 0.3).double()),
    "soft labels": (SigmoidFocalLoss(gamma=0.5, reduction="sum"), lambda x: torch.sigmoid(x - 1)),
    "gamma 0": (SigmoidFocalLoss(gamma=0.0), lambda x: (x > 0.3).double()),
    "softmax": (SoftmaxFocalLoss(alpha=[1.0, 2.0, 3.0]), lambda x: torch.arange(len(x)) % 3),
    "smoothed": (
        SoftmaxFocalLoss(gamma=0.5, label_smoothing=0.1, reduction="mean_positive"),
        lambda x: torch.arange(len(x)) % 3,
    ),
}


@pytest.mark.parametrize("name", TRANSFORMED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from its forward mode
def test_transforms_of_torch_func_agree_with_autograd(name):
    loss_fn, label = TRANSFORMED[name]
    x = normal((6, 3), 0, scale=1.0)
    y, direction, weight = label(x), normal((6, 3), 1), torch.linspace(0.5, 2, 6, dtype=torch.float64)

    def loss(x):
        return loss_fn(x, y, sample_weight=weight)

    def of_row(x, y):
        return loss_fn(x[None], y[None])

    gradient = torch.autograd.functional.jacobian(loss, x)
    hessian = torch.autograd.functional.hessian(loss, x)
    close = functools.partial(torch.testing.assert_close, rtol=1e-10, atol=1e-14)
    close(torch.func.grad(loss)(x), gradient)
    close(torch.func.jacrev(loss)(x), gradient)
    close(torch.func.jacfwd(loss)(x), gradient)
    close(torch.func.jvp(loss, (x,), (direction,))[1], (gradient * direction).sum())
    close(torch.func.hessian(loss)(x), hessian)
    close(torch.func.jacrev(torch.func.jacrev(loss))(x), hessian)
    rows = torch.func.vmap(torch.func.grad(of_row))(x, y)
    one_by_one = [
        torch.autograd.functional.jacobian(functools.partial(of_row, y=label), row)
        for row, label in zip(x, y, strict=True)
    ]
    close(rows, torch.stack(one_by_one))
    buffers = dict(loss_fn.named_buffers())
    close(torch.func.functional_call(loss_fn, buffers, (x, y)), loss_fn(x, y))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from its forward mode
def test_forward_mode_differentiates_labels_too():
    x, y = normal((7,), 0), torch.linspace(0.1, 0.9, 7, dtype=torch.float64)
    loss_fn, along = SigmoidFocalLoss(gamma=0.5, reduction="none"), normal((7,), 1)
    by_x, by_y, *_ = derivatives(loss_fn, x, y)
    _, moved = torch.func.jvp(loss_fn, (x, y), (along, 2 * along))
    torch.testing.assert_close(moved, (by_x + 2 * by_y) * along)
    _, moved = torch.func.jvp(lambda y: loss_fn(x, y), (y,), (along,))
    torch.testing.assert_close(moved, by_y * along)


def test_labels_are_checked_inside_transforms_too():
    x = normal((6, 3), 0)
    for loss_fn, y in (
        (SigmoidFocalLoss(), torch.full_like(x, 2.0)),
        (SoftmaxFocalLoss(), torch.tensor([0, 1, 2, 0, 1, 7])),
    ):
        with pytest.raises(ValueError, match=r"call it outside torch\.func for the details"):
            torch.func.grad(lambda x, f=loss_fn, y=y: f(x, y))(x)
        with pytest.raises(ValueError, match=r"call it outside torch\.func for the details"):
            torch.func.vmap(lambda x, y, f=loss_fn: f(x[None], y[None]))(x, y)


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


# ----------------------------------------------------------------------------------------- pos_weight


@pytest.mark.parametrize("weight", [3.0, [0.5, 2.0, 4.0], [[1.0], [2.0], [3.0], [0.0], [5.0]]])
def test_pos_weight_is_that_of_bce(weight):
    x, y = (
        normal((5, 3), 0),
        torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    )
    weight = torch.tensor(weight, dtype=torch.float64)
    elements = SigmoidFocalLoss(-1, 0.0, "none", pos_weight=weight)(x, y)
    assert torch.equal(
        elements, F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=weight)
    )
    y = y.round()
    elements = SigmoidFocalLoss(0.25, 2.0, "none", pos_weight=weight)(x, y)
    assert torch.allclose(
        elements, SigmoidFocalLoss(0.25, 2.0, "none")(x, y) * torch.where(y == 1, weight, 1.0)
    )


def test_pos_weight_travels_with_the_module():
    loss_fn = SigmoidFocalLoss(pos_weight=[1.0, 2.0])
    assert loss_fn.config()["pos_weight"] == [1.0, 2.0]
    assert SigmoidFocalLoss(pos_weight=2).config()["pos_weight"] == 2.0
    assert SigmoidFocalLoss().config()["pos_weight"] is None
    assert list(SigmoidFocalLoss().state_dict()) == []
    other = SigmoidFocalLoss(**loss_fn.config())
    other.load_state_dict(loss_fn.state_dict())
    x, y = normal((5, 2), 0), (normal((5, 2), 1) > 0).double()
    assert torch.equal(other(x, y), loss_fn(x, y))
    assert loss_fn(x.half(), y).dtype == torch.float32


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), [1.0, -2.0]])
def test_pos_weight_must_be_finite_and_not_negative(weight):
    with pytest.raises(ValueError, match="expected pos_weight to be finite and >= 0"):
        SigmoidFocalLoss(pos_weight=weight)


def test_pos_weight_must_fit_the_logits():
    with pytest.raises(ValueError, match=r"expected pos_weight to broadcast .* \[4, 3\], got shape \[2\]"):
        SigmoidFocalLoss(pos_weight=[1.0, 2.0])(torch.zeros(4, 3), torch.zeros(4, 3))


def test_focal_star_is_its_definition():
    x, y = normal((9,), 0).requires_grad_(), torch.arange(9).double() % 2
    for gamma in (1.0, 2.0):
        for alpha in (-1, 0.25):
            got = sigmoid_focal_star(x, y, alpha=alpha, gamma=gamma)
            p = torch.sigmoid(gamma * torch.where(y == 1, x, -x))
            weight = 1.0 if alpha < 0 else torch.where(y == 1, alpha, 1 - alpha)
            assert torch.allclose(got, -weight * p.log() / gamma)
    assert torch.allclose(
        sigmoid_focal_star(x, y, alpha=-1, gamma=1.0),
        F.binary_cross_entropy_with_logits(x, y, reduction="none"),
    )


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
    with pytest.raises(
        ValueError, match=r"expected beta to be a finite number and >= 0.0 and < 1.0, got 1.0"
    ):
        effective_number_weights([1, 2], beta=1.0)
