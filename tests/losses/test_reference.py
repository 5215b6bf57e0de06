"""Agreement with the public package of this family, `imbalanced-losses`, wherever we do not differ by design.

Its behaviour is the oracle; where ours is deliberately another, `test_differences.py` says how.
"""

import random
import warnings

import imbalanced_losses as reference
import pytest
import torch
import torch.nn.functional as F

import losses

TOLERANCE = 1e-9


def draw_ranking(rng):
    """A random loss, by name and settings that both packages know."""
    common = {
        "num_classes": rng.choice((1, 2, 3, 6)),
        "queue_size": rng.choice((1, 8, 40, 100)),
        "temperature": rng.choice((0.01, 0.05, 0.3, 2.0)),
        "reduction": rng.choice(("mean", "sum", "none")),
    }
    name = rng.choice(("SmoothAPLoss", "RecallAtQuantileLoss", "PAUCAtBudgetLoss", "PAUCAtBudgetLoss"))
    interpolation = rng.choice(("linear", "lower", "higher", "nearest", "midpoint"))
    if name == "RecallAtQuantileLoss":
        common |= {"quantile": rng.choice((0.005, 0.1, 0.5)), "quantile_interpolation": interpolation}
    if name == "PAUCAtBudgetLoss":
        alpha, beta = rng.choice(((0.0, 0.4), (0.1, 0.6), (0.0, 1.0), (0.3, 0.9)))
        common |= {
            "alpha": alpha,
            "beta": beta,
            "surrogate": rng.choice(("trapezoid", "pairwise")),
            "n_knots": rng.choice((2, 3, 5)),
            "tau_scale": rng.choice(("iqr", "band")),
            "pos_numerator": rng.choice(("pool", "live")),
            "budget_basis": rng.choice(("fpr", "population")),
            "quantile_interpolation": interpolation,
        }
    return name, common


def draw_batch(rng, classes, queue_size):
    # A batch larger than the queue is a deliberate difference, and so are ignored rows in the queue.
    rows = rng.randint(1, min(30, queue_size))
    logits = torch.randn(rows, classes) * rng.choice((0.3, 1.0, 5.0))
    targets = torch.randint(0, max(classes, 2), (rows,))
    iid = torch.rand(rows) < 0.8 if rng.random() < 0.5 else None
    weight = torch.rand(rows) + 0.1 if rng.random() < 0.5 else None
    return logits, targets, iid, weight


def run(loss_fn, logits, targets, iid, weight):
    leaf = logits.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss, per_class, valid = loss_fn(
            leaf, targets, iid_mask=iid, return_per_class=True, sample_weight=weight
        )
    total = loss.nansum()
    grad = torch.zeros_like(logits)
    if total.requires_grad:
        (found,) = torch.autograd.grad(total, leaf, allow_unused=True)
        grad = grad if found is None else found
    return loss.detach(), per_class.detach(), valid, grad


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("seed", range(300))
def test_ranking_losses_agree(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    name, settings = draw_ranking(rng)
    ours, theirs = getattr(losses, name)(**settings), getattr(reference, name)(**settings)
    for step in range(4):
        arguments = draw_batch(rng, settings["num_classes"], settings["queue_size"])
        loss, per_class, valid, grad = run(ours, *arguments)
        their_loss, their_per_class, their_valid, their_grad = run(theirs, *arguments)
        # An interquartile range or a band of width 0 makes a class invalid there, and falls back on a wider
        # range here.
        alike = valid == their_valid
        assert bool((alike | (valid & ~their_valid)).all()), (name, settings, step)
        if not bool(alike.all()):
            assert name == "PAUCAtBudgetLoss", (name, settings, step)
            continue
        both = valid & their_valid
        assert torch.allclose(per_class[both], their_per_class[both], rtol=0, atol=TOLERANCE)
        assert torch.allclose(loss.nan_to_num(), their_loss.nan_to_num(), rtol=0, atol=TOLERANCE)
        assert torch.allclose(grad, their_grad, rtol=1e-9, atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(60))
def test_sigmoid_focal_agrees_on_hard_labels(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    settings = {
        "alpha": rng.choice((-1, 0.0, 0.25, 0.9)),
        "gamma": rng.choice((0.0, 1.0, 2.0, 3.5)),
        "reduction": rng.choice(("mean", "sum", "none")),
    }
    shape = rng.choice(((7,), (7, 1), (5, 4), (3, 4, 5)))
    logits, targets = torch.randn(shape) * 3, torch.randint(0, 2, shape).double()
    weight = torch.rand(shape) if rng.random() < 0.5 else None
    compare_focal("SigmoidFocalLoss", settings, logits, targets, weight)


@pytest.mark.parametrize("seed", range(100))
def test_softmax_focal_agrees(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    classes = rng.choice((2, 3, 8))
    settings = {
        "alpha": torch.rand(classes) if rng.random() < 0.5 else None,
        "gamma": rng.choice((0.0, 1.0, 2.0, 3.5)),
        "reduction": rng.choice(("mean", "sum", "none", "mean_positive")),
        "label_smoothing": rng.choice((0.0, 0.1)),
        "background_class": rng.choice((0, 1)),
    }
    rows = rng.choice(((9,), (3, 4), (2, 3, 2)))
    logits = torch.randn(rows[0], classes, *rows[1:]) * 2
    targets = torch.randint(0, classes, rows)
    targets[torch.rand(rows) < 0.2] = -100
    weight = torch.rand(rows) + 0.1 if rng.random() < 0.5 else None
    compare_focal("SoftmaxFocalLoss", settings, logits, targets, weight)


def compare_focal(name, settings, logits, targets, weight):
    results = []
    for package in (losses, reference):
        leaf = logits.clone().requires_grad_()
        loss = getattr(package, name)(**settings)(leaf, targets, sample_weight=weight)
        loss.sum().backward()
        results.append((loss.detach(), leaf.grad))
    # The reference keeps alpha in float32.
    slack = 1e-6 if settings["alpha"] is not None and name == "SoftmaxFocalLoss" else TOLERANCE
    assert torch.allclose(results[0][0], results[1][0], rtol=slack, atol=TOLERANCE)
    assert torch.allclose(results[0][1], results[1][1], rtol=slack, atol=TOLERANCE)


@pytest.mark.parametrize("mode", ["epochs", "steps"])
@pytest.mark.parametrize(("warmup", "blend", "final"), [(2, 3, 1.0), (0, 2, 0.7), (3, 0, 0.5), (1, 1, 1.0)])
def test_the_warmup_schedule_agrees(mode, warmup, blend, final):
    names = ("warmup_epochs", "blend_epochs") if mode == "epochs" else ("warmup_steps", "blend_steps")
    settings = {names[0]: warmup, names[1]: blend, "temp_decay_steps": 7, "final_main_weight": final}
    wrappers = [
        package.LossWarmupWrapper(
            torch.nn.CrossEntropyLoss(), package.SmoothAPLoss(3, queue_size=64), **settings
        )
        for package in (losses, reference)
    ]
    torch.manual_seed(0)
    step = 0
    for epoch in range(8):
        for wrapper in wrappers:
            wrapper.on_train_epoch_start(epoch)
        for _ in range(1 if mode == "steps" else 2):
            logits, targets = torch.randn(12, 3), torch.randint(0, 3, (12,))
            values = []
            for wrapper in wrappers:
                wrapper.on_train_batch_start(step)
                values.append(wrapper(logits, targets).item())
            assert values[0] == pytest.approx(values[1], abs=TOLERANCE), (epoch, step)
            ours, theirs = wrappers
            assert ours.main_weight == pytest.approx(theirs.main_weight)
            assert ours.in_warmup == theirs.in_warmup
            assert ours.in_blend == theirs.in_blend
            if not ours.in_warmup:
                assert ours.current_temperature == pytest.approx(theirs.current_temperature)
            step += 1


def test_balanced_weights_and_focal_at_gamma_zero_are_the_textbook_losses():
    logits, targets = torch.randn(20, 4), torch.randint(0, 4, (20,))
    ours = losses.SoftmaxFocalLoss(gamma=0.0)(logits, targets)
    assert ours.item() == pytest.approx(F.cross_entropy(logits, targets).item(), abs=1e-14)
    labels = torch.rand(20, 4)
    ours = losses.SigmoidFocalLoss(alpha=-1, gamma=0.0)(logits, labels)
    assert ours.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, labels).item(), abs=1e-14)
