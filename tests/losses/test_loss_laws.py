"""Laws that every ranking loss keeps, each written once."""

import copy
import pickle

import naive_losses
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import PUSHES_NEGATIVES, RANKING, batch, value_and_grad

few = settings(deadline=None, derandomize=True, max_examples=8)
every_loss = pytest.mark.parametrize("make", RANKING.values(), ids=RANKING.keys())
shapes = given(st.integers(8, 40), st.sampled_from((1, 3)), st.integers(0, 10**6))


@every_loss
@few
@shapes
def test_permuting_rows_changes_nothing(make, rows, classes, seed):
    logits, targets = batch(rows, classes, seed)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    loss, _, _, grad = value_and_grad(make(classes), logits, targets)
    permuted, _, _, permuted_grad = value_and_grad(make(classes), logits[order], targets[order])
    assert torch.allclose(loss, permuted, atol=1e-12)
    assert torch.allclose(grad[order], permuted_grad, atol=1e-12)


@every_loss
@few
@shapes
def test_shifting_all_logits_changes_nothing(make, rows, classes, seed):
    logits, targets = batch(rows, classes, seed)
    loss, _, _, grad = value_and_grad(make(classes), logits, targets)
    shifted, _, _, shifted_grad = value_and_grad(make(classes), logits + 17.0, targets)
    assert torch.allclose(loss, shifted, atol=1e-9)
    assert torch.allclose(grad, shifted_grad, atol=1e-9)


@pytest.mark.parametrize("name", ["smooth_ap_iqr", "recall_iqr", "pauc_trapezoid", "pauc_pairwise"])
@few
@shapes
def test_a_scale_free_temperature_does_not_see_the_scale_of_the_logits(name, rows, classes, seed):
    logits, targets = batch(rows, classes, seed)
    loss, _, _, grad = value_and_grad(RANKING[name](classes), logits, targets)
    scaled, _, _, scaled_grad = value_and_grad(RANKING[name](classes), logits * 10, targets)
    assert torch.allclose(loss, scaled, atol=1e-9)
    assert torch.allclose(grad, scaled_grad * 10, atol=1e-9)


@pytest.mark.parametrize("name", ["smooth_ap", "recall", "pauc_trapezoid", "pauc_pairwise"])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_gradient_is_the_numerical_one_where_nothing_is_held_fixed(name, classes):
    # Thresholds and scales are held fixed by definition, so the live rows are positives only there, and
    # negatives and the threshold come from the queue.
    queued, queued_targets = batch(24, classes, seed=3)
    loss_fn = RANKING[name](classes, temperature=0.3, queue_size=64)
    loss_fn(queued, queued_targets)
    logits, _ = batch(3, classes, seed=4)
    logits = logits if name == "smooth_ap" else logits * 0.1
    targets = torch.ones(3, dtype=torch.long)
    with loss_fn.freeze_queue():
        if name in ("recall", "pauc_trapezoid", "pauc_pairwise"):
            assert_gradient_at_fixed_threshold(loss_fn, logits, targets)
        else:
            assert torch.autograd.gradcheck(lambda z: loss_fn(z, targets), logits.requires_grad_())


def definition_of(name, logits, targets, w):
    """The loss of one class by plain operations, with thresholds and scales held fixed as it says."""
    s, y = logits[:, 0], targets == 1
    everywhere = torch.ones_like(y)
    if name.startswith("smooth_ap"):
        return naive_losses.smooth_ap(s, y, w, 0.1 * (iqr(s) if name.endswith("iqr") else 1.0))
    if name.startswith("recall"):
        tau = 0.1 * (iqr(s) if name.endswith("iqr") else 1.0)
        return naive_losses.recall_at_quantile(s, y, w, tau, quantile=0.2)
    options = {
        "pauc_trapezoid": {"alpha": 0.0, "beta": 0.3, "n_knots": 3},
        "pauc_pairwise": {"alpha": 0.0, "beta": 0.5, "surrogate": "pairwise"},
        "pauc_live_band": {"alpha": 0.1, "beta": 0.6, "pos_numerator": "live", "tau_scale": "band"},
    }[name]
    return naive_losses.partial_auc(s, y, w, 0.1, iid=everywhere, live=everywhere, **options)


def iqr(s):
    low, high = torch.quantile(s.detach(), torch.tensor([0.25, 0.75], dtype=s.dtype))
    return high - low


@pytest.mark.parametrize("name", RANKING)
def test_the_hessian_is_that_of_the_definition(name):
    logits, targets = batch(24, 1)
    weight = torch.linspace(0.5, 2, 24, dtype=torch.float64)
    loss_fn = RANKING[name](1, queue_size=0)
    hessian, expected = (
        torch.autograd.functional.hessian(function, logits)
        for function in (
            lambda z: loss_fn(z, targets, sample_weight=weight),
            lambda z: definition_of(name, z, targets, weight),
        )
    )
    assert expected.abs().max() > 0
    torch.testing.assert_close(hessian, expected, rtol=1e-9, atol=1e-11 * expected.abs().max().item())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"max_pool_size": 30}], ids=["whole", "capped"])
@pytest.mark.filterwarnings("ignore:.*is sampled down to max_pool_size")
def test_second_derivatives_are_the_numerical_ones_where_nothing_is_held_fixed(reduction, options):
    loss_fn = RANKING["smooth_ap"](2, queue_size=64, temperature=0.5, reduction=reduction, **options)
    loss_fn(*batch(40, 2, 1))
    logits, targets = batch(6, 2, 2)
    weight = torch.linspace(0.5, 2, 6, dtype=torch.float64)
    with loss_fn.freeze_queue():
        assert torch.autograd.gradgradcheck(
            lambda z: loss_fn(z, targets, sample_weight=weight), logits.requires_grad_()
        )


@every_loss
def test_a_gradient_penalty_trains_in_every_precision(make):
    logits, targets = batch(40, 3)
    exact = penalty_gradient(make(3, queue_size=0), logits, targets)
    assert exact.abs().max() > 0
    single = penalty_gradient(make(3, queue_size=0), logits.float(), targets)
    assert (single - exact).abs().max() <= 1e-4 * exact.abs().max()
    half = penalty_gradient(make(3, queue_size=0), logits.half(), targets)
    assert half.isfinite().all()


def penalty_gradient(loss_fn, logits, targets):
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_fn(leaf, targets), leaf, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), leaf)[0]


def assert_gradient_at_fixed_threshold(loss_fn, logits, targets, step=1e-6):
    """Move each positive's own score a little: no order statistic moves, so neither does the threshold."""
    leaf = logits.clone().requires_grad_()
    loss_fn(leaf, targets).backward()
    column = 1 if loss_fn.num_classes > 1 else 0
    for row in range(len(logits)):
        moved = []
        for sign in (1, -1):
            z = logits.clone()
            z[row, column] += sign * step
            _, per_class, _ = loss_fn(z, targets, return_per_class=True)
            moved.append(per_class[column])
        slope = (moved[0] - moved[1]) / (2 * step)
        valid = loss_fn(logits, targets, return_per_class=True)[2].sum()
        assert leaf.grad[row, column].item() == pytest.approx((slope / valid).item(), abs=1e-6)


@every_loss
def test_a_perfect_ranking_is_the_minimum_as_the_temperature_falls(make):
    targets = (torch.arange(60) < 6).long()
    logits = torch.where(targets == 1, 5.0, 0.0).double() + torch.linspace(0, 1, 60, dtype=torch.float64)
    loss, _, _, _ = value_and_grad(make(1, temperature=1e-4), logits[:, None], targets)
    assert loss.item() == pytest.approx(0.0, abs=1e-9)


@every_loss
@few
@shapes
def test_weights_of_one_are_no_weights(make, rows, classes, seed):
    logits, targets = batch(rows, classes, seed)
    plain = value_and_grad(make(classes), logits, targets)
    ones = torch.ones(rows, dtype=torch.float64)
    weighted = value_and_grad(make(classes), logits, targets, sample_weight=ones)
    torch.testing.assert_close(plain[0], weighted[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(plain[3], weighted[3], rtol=1e-11, atol=1e-13)


@every_loss
@few
@shapes
def test_only_ratios_of_weights_matter(make, rows, classes, seed):
    logits, targets = batch(rows, classes, seed)
    weight = torch.rand(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    once = value_and_grad(make(classes), logits, targets, sample_weight=weight)
    thrice = value_and_grad(make(classes), logits, targets, sample_weight=weight * 3)
    assert torch.allclose(once[0], thrice[0], atol=1e-12)
    assert torch.allclose(once[3], thrice[3], atol=1e-12)


@every_loss
@pytest.mark.parametrize("multi_label", [False, True])
@few
@given(rows=st.integers(8, 40), seed=st.integers(0, 10**6))
def test_ignoring_rows_is_deleting_them(make, multi_label, rows, seed):
    logits, targets = batch(rows, 3, seed)
    if multi_label:
        targets = torch.nn.functional.one_hot(targets, 3)
    keep = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) < 0.7
    marked = targets.clone()
    marked[~keep] = -100
    # What an ignored row holds must not matter, not even a nan.
    spoiled = logits.clone()
    spoiled[~keep] = torch.nan
    ignored = value_and_grad(make(3), spoiled, marked)
    deleted = value_and_grad(make(3), logits[keep], targets[keep])
    assert torch.equal(ignored[2], deleted[2])
    assert torch.allclose(ignored[0], deleted[0], atol=1e-12)
    assert torch.allclose(ignored[3][keep], deleted[3], atol=1e-12)
    assert (ignored[3][~keep] == 0).all()


# With pos_numerator="live" old rows are more than detached: see test_loss_definitions.
@pytest.mark.parametrize("make", [m for name, m in RANKING.items() if "live" not in name])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_queue_is_one_batch_whose_older_rows_are_detached(make, classes):
    whole, targets = batch(40, classes)
    loss_fn = make(classes, queue_size=64)
    for start in (0, 10, 20):
        loss_fn(whole[start : start + 10], targets[start : start + 10])
    split = value_and_grad(loss_fn, whole[30:], targets[30:])
    together = value_and_grad(make(classes, queue_size=0), whole, targets)
    assert torch.allclose(split[0], together[0], atol=1e-12)
    assert torch.allclose(split[3], together[3][30:], atol=1e-12)


@every_loss
def test_reduction_none_reduces_by_hand_to_the_others(make):
    logits, targets = batch(40, 3)
    targets[targets == 2] = 0  # class 2 has no positive
    none, _, valid, _ = value_and_grad(make(3, reduction="none"), logits, targets)
    assert torch.equal(none.isnan(), ~valid)
    assert valid.tolist() == [True, True, False]
    mean = value_and_grad(make(3, reduction="mean"), logits, targets)
    total = value_and_grad(make(3, reduction="sum"), logits, targets)
    assert torch.allclose(mean[0], none[valid].mean(), atol=1e-14)
    assert torch.allclose(total[0], none[valid].sum(), atol=1e-14)


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rows", [0, 12])
def test_without_a_valid_class_the_loss_is_a_zero_that_keeps_the_graph(make, reduction, rows):
    logits = torch.randn(rows, 2, dtype=torch.float64, requires_grad=True)
    loss = make(2, reduction=reduction)(logits, torch.full((rows,), -100))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@every_loss
def test_zero_weight_on_all_positives_makes_a_class_invalid(make):
    logits, targets = batch(30, 1)
    weight = (targets == 0).double()
    _, per_class, valid, grad = value_and_grad(make(1), logits, targets, sample_weight=weight)
    assert not valid.any()
    assert per_class.isnan().all()
    assert (grad == 0).all()


@pytest.mark.parametrize("name", RANKING)
def test_gradient_reaches_negatives_where_the_definition_says_so(name):
    logits, targets = batch(60, 1)
    grad = value_and_grad(RANKING[name](1, temperature=0.5), logits, targets)[3]
    assert (grad[targets == 1] <= 0).all()
    assert bool((grad[targets == 0] > 0).any()) == (name in PUSHES_NEGATIVES)


@every_loss
@pytest.mark.parametrize("options", [{}, {"max_pool_size": 20}], ids=["whole", "capped"])
@pytest.mark.filterwarnings("ignore:.*is sampled down to max_pool_size")
def test_a_checkpoint_continues_bit_for_bit(make, options):
    first = make(3, queue_size=24, **options)
    for step in range(4):
        first(*batch(10, 3, step))
    second = make(3, queue_size=24, **options)
    second.load_state_dict(first.state_dict())
    for step in range(4, 8):
        a, b = (value_and_grad(loss_fn, *batch(10, 3, step)) for loss_fn in (first, second))
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[3], b[3])


@every_loss
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_continue_like_the_original(make, clone):
    first = make(3, queue_size=24)
    first.register_diagnostics_hook(lambda loss_fn, stats: None)
    first(*batch(10, 3, 0))
    second = clone(first)
    assert second.config() == first.config()
    a, b = (value_and_grad(loss_fn, *batch(10, 3, 1)) for loss_fn in (first, second))
    assert torch.equal(a[0], b[0])


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_precision_is_computed_in_float32_or_wider(make, dtype):
    logits, targets = batch(40, 3, dtype=dtype)
    loss, _, _, grad = value_and_grad(make(3), logits, targets)
    assert loss.dtype == torch.float32
    assert grad.dtype == dtype
    exact = value_and_grad(make(3), logits.double(), targets)
    assert torch.allclose(loss.double(), exact[0], atol=1e-5)


@every_loss
def test_autocast_changes_nothing(make):
    logits, targets = batch(40, 3, dtype=torch.bfloat16)
    outside = value_and_grad(make(3), logits, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = value_and_grad(make(3), logits, targets)
    assert torch.equal(outside[0], inside[0])
    assert torch.equal(outside[3], inside[3])


@every_loss
def test_single_column_logits_may_come_without_the_column(make):
    logits, targets = batch(30, 1)
    assert torch.equal(make(1)(logits, targets), make(1)(logits[:, 0], targets[:, None]))


@every_loss
def test_multi_label_columns_are_binary_problems(make):
    logits, _ = batch(50, 3)
    labels = (torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) < 0.3).long()
    labels[0] = 1
    labels[1] = 0
    labels[5, 0] = labels[6, 2] = -100
    _, per_class, valid, grad = value_and_grad(make(3), logits, labels)
    assert valid.all()
    for c in range(3):
        alone = value_and_grad(make(1), logits[:, c], labels[:, c])
        assert torch.allclose(per_class[c], alone[0], atol=1e-12)
        assert torch.allclose(grad[:, c] * 3, alone[3], atol=1e-12)
