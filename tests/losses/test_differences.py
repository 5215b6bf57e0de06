"""Deliberate differences from `imbalanced-losses` 0.6.0, each with a test; numbers as in docs/losses.md.

Those about several processes are in `test_distributed_losses.py`, those about `torch.compile` in
`test_compiled_losses.py`, those about the schedule in `test_warmup.py`. More on the queue as state
of the loss is in `test_queue_state.py`, on forwards that run again in `test_repeats.py`.
"""

import sys
import warnings
from functools import partial

import imbalanced_losses as reference
import pytest
import torch
import torch.nn.functional as F
from loss_cases import RANKING, batch, value_and_grad
from torch.utils.checkpoint import checkpoint

import losses
from losses import PAUCAtBudgetLoss, RecallAtQuantileLoss, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss
from losses.diagnostics.listening import Detail

every_loss = pytest.mark.parametrize("make", RANKING.values(), ids=RANKING.keys())


@every_loss
@pytest.mark.parametrize("spoiler", [torch.nan, torch.inf, -torch.inf])
def test_03_a_nonfinite_step_is_nan_and_leaves_no_trace(make, spoiler):
    spoiled, clean = make(3, queue_size=32), make(3, queue_size=32)
    for loss_fn in (spoiled, clean):
        loss_fn(*batch(12, 3, 1))
    before = {name: value.clone() for name, value in spoiled.state_dict().items()}
    logits, targets = batch(12, 3, 2)
    logits[4, 1] = spoiler
    leaf = logits.clone().requires_grad_()
    loss, stats = spoiled(leaf, targets, return_diagnostics=True)
    loss.backward()
    assert loss.isnan()
    assert leaf.grad.isnan().all(), "a gradient scaler must see it"
    assert stats["nonfinite_count"] == 1
    assert all(torch.equal(before[name], value) for name, value in spoiled.state_dict().items())
    after, expected = (value_and_grad(loss_fn, *batch(12, 3, 3)) for loss_fn in (spoiled, clean))
    assert torch.equal(after[0], expected[0])
    assert torch.equal(after[3], expected[3])


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("classes", [1, 3])
def test_03_the_gradient_is_nan_where_the_bad_row_was_all_a_class_had(make, reduction, classes):
    targets = torch.zeros(20, classes, dtype=torch.long) if classes > 1 else torch.zeros(20, dtype=torch.long)
    targets[0] = 1
    logits, _ = batch(20, classes)
    logits[0] = torch.inf
    leaf = logits.clone().requires_grad_()
    loss = make(classes, queue_size=0, reduction=reduction)(leaf, targets)
    assert loss.isnan().all()
    loss.sum().backward()
    assert leaf.grad.isnan().all()


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.3, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_04_focal_gradients_are_finite_for_every_finite_logit(gamma, dtype):
    largest = torch.finfo(dtype).max
    extreme = [0.0, 1e-40, 1.0, 17.0, 40.0, 90.0, 104.0, 700.0, 1e4, 1e30, largest / 2]
    x = torch.tensor([*extreme, *(-e for e in extreme)], dtype=dtype)
    for y in (0.0, 1.0, 0.3, 0.5):
        leaf = x.clone().requires_grad_()
        SigmoidFocalLoss(gamma=gamma, reduction="none")(leaf, torch.full_like(x, y)).sum().backward()
        assert leaf.grad.isfinite().all(), (y, leaf.grad)
    for target in (0, 1):
        leaf = torch.stack([x, torch.zeros_like(x)], dim=1).requires_grad_()
        ids = torch.full((len(x),), target)
        SoftmaxFocalLoss(gamma=gamma, reduction="none")(leaf, ids).nan_to_num().sum().backward()
        assert leaf.grad.isfinite().all(), (target, leaf.grad)


def test_05_alpha_must_have_a_weight_for_each_class():
    with pytest.raises(
        ValueError, match="expected alpha to have a weight for each of the logits' 3 classes, got 2 weights"
    ):
        SoftmaxFocalLoss(alpha=[0.5, 0.5])(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("label", [0.1, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_06_soft_labels_are_learned_as_they_are(label, gamma):
    # With the factor (1 - p_t)^2, the minimum for the label 0.7 would lie at 0.878.
    p = torch.linspace(0.001, 0.999, 9_981, dtype=torch.float64)
    elements = SigmoidFocalLoss(alpha=-1, gamma=gamma, reduction="none")(p.logit(), torch.full_like(p, label))
    assert p[elements.argmin()].item() == pytest.approx(label, abs=1e-3)


@every_loss
def test_07_evaluation_sees_the_evaluation_batch_alone(make):
    trained = make(3, queue_size=64)
    trained(*batch(40, 3, 1))
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    evaluated = value_and_grad(trained.eval(), *batch(30, 3, 2))
    fresh = value_and_grad(make(3, queue_size=0), *batch(30, 3, 2))
    assert torch.equal(evaluated[0], fresh[0])
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


def rare(rows, rate, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(rows, generator=generator) < rate).long()
    logits = torch.randn(rows, 1, generator=generator, dtype=torch.float64) + targets[:, None]
    return logits, targets


@pytest.mark.parametrize("name", ["smooth_ap", "recall", "pauc_trapezoid", "pauc_pairwise"])
@pytest.mark.filterwarnings("ignore:.*is sampled down to max_pool_size")
def test_08_a_capped_pool_estimates_the_whole_one_without_bias(name):
    logits, targets = rare(4_096, 0.02, seed=0)
    whole = RANKING[name](1, queue_size=0)(logits, targets).item()
    capped = RANKING[name](1, queue_size=0, max_pool_size=512)
    estimates = []
    for draw in range(40):
        capped.queue.step.fill_(draw)
        with torch.no_grad():
            estimates.append(capped(logits, targets))
    estimates = torch.stack(estimates)
    error = estimates.std() / len(estimates) ** 0.5
    # Ratios of sums keep a bias of the order of one over the rows of a class, far below the 0.24 of an
    # unweighted draw.
    assert abs(estimates.mean().item() - whole) < 4 * error + 0.01


@every_loss
def test_09_ignored_rows_take_no_queue_space(make):
    loss_fn = make(3, queue_size=32)
    logits, targets = batch(30, 3)
    marked = targets.clone()
    marked[3:] = -100
    for _ in range(5):
        loss_fn(logits, marked)
    assert loss_fn.queue.fill() == 15 / 32


def test_10_a_batch_larger_than_the_queue_leaves_a_fair_sample():
    logits, targets = rare(10_000, 0.0, seed=1)
    targets[-64:] = 0
    targets[:64] = 1
    loss_fn = SmoothAPLoss(1, queue_size=1_000)
    loss_fn(logits, targets)
    held = loss_fn.queue
    assert held.fill() == 1.0
    # 64 of 10,000 rows in 1,000 slots: 6 or 7, never none.
    assert int((held.labels == 1).sum()) in (6, 7)
    positions = (logits[:, 0].float()[:, None] == held.scores[:, 0].float()[None]).nonzero()[:, 0]
    # Two ranks of 5,000 rows each would have half the slots each.
    assert abs(int((positions < 5_000).sum()) - 500) <= 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_11_focal_takes_half_precision_and_autocast(dtype):
    logits, targets = batch(40, 4, dtype=dtype)
    for loss_fn, labels in ((SoftmaxFocalLoss(), targets), (SigmoidFocalLoss(), F.one_hot(targets, 4))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            leaf = logits.clone().requires_grad_()
            loss = loss_fn(leaf, labels)
            loss.backward()
        assert loss.dtype == torch.float32
        assert leaf.grad.dtype == dtype
        assert torch.allclose(loss, loss_fn(logits.float(), labels), atol=1e-6)


@pytest.mark.slow
def test_12_pools_beyond_2_to_the_24_rows_work():
    rows = 2**24 + 1_000
    logits = torch.linspace(0, 1, rows)[:, None]
    targets = torch.zeros(rows, dtype=torch.int8)
    targets[-100:] = 1
    with torch.no_grad():
        loss = RecallAtQuantileLoss(1, queue_size=0, quantile=0.01, temperature=1e-3)(logits, targets)
    assert loss.item() == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("surrogate", ["trapezoid", "pairwise"])
@pytest.mark.parametrize("tau_scale", ["iqr", "band"])
def test_13_tied_negatives_with_a_spread_tail_keep_a_gradient(surrogate, tau_scale):
    logits, targets = rare(400, 0.1, seed=2)
    negatives = (targets == 0).nonzero()[:, 0]
    logits[negatives[: int(0.8 * len(negatives))]] = -3.0
    loss_fn = PAUCAtBudgetLoss(1, beta=0.1, surrogate=surrogate, tau_scale=tau_scale)
    loss, _, valid, grad = value_and_grad(loss_fn, logits, targets)
    assert valid.all()
    assert 0 < loss < 1
    assert grad.abs().sum() > 1e-3


def test_13_constant_reference_scores_are_warned_of_once_by_class():
    logits, targets = batch(40, 3)
    logits[:, 1] = 2.0
    loss_fn = PAUCAtBudgetLoss(3, beta=0.3)
    with pytest.warns(UserWarning, match="reference scores of class 1 are constant") as seen:
        _, _, valid = loss_fn(logits, targets, return_per_class=True)
    assert seen[0].filename == __file__
    assert valid.tolist() == [True, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_fn(logits, targets)


@pytest.mark.parametrize("label", [0.6, 2.0, -1.0])
def test_14_labels_that_are_no_labels_are_errors(label):
    with pytest.raises(ValueError, match=r"targets to (be whole numbers|lie in \[0, 1\])"):
        SmoothAPLoss(1)(torch.zeros(3, 1), torch.tensor([0.0, 1.0, label]))


@pytest.mark.parametrize(("old", "new"), [(20, 12), (12, 20), (20, 0), (0, 8)])
def test_17_a_queue_of_another_size_keeps_the_newest_rows(old, new):
    first = SmoothAPLoss(1, queue_size=old)
    for step in range(4):
        first(torch.full((5, 1), float(step)), torch.arange(5) % 2)
    second = SmoothAPLoss(1, queue_size=new)
    second.load_state_dict(first.state_dict())
    held = second.queue.scores[second.queue.born >= 0].flatten()
    kept = min(old, new)
    fed = torch.arange(4.0).repeat_interleave(5)
    assert second.queue_size == new
    assert held.sort().values.tolist() == fed[len(fed) - kept :].tolist()
    if new:
        # The oldest go first from here on.
        second(torch.full((5, 1), 9.0), torch.arange(5) % 2)
        held = second.queue.scores[second.queue.born >= 0].flatten().sort().values
        expected = torch.cat([fed[len(fed) - kept :], torch.full((5,), 9.0)])[-new:]
        assert held.tolist() == expected.tolist()


def test_17_a_checkpoint_keeps_precision_and_halving_the_model_does_too():
    loss_fn = SmoothAPLoss(1, queue_size=8, temperature=0.0123)
    loss_fn(torch.randn(8, 1, dtype=torch.float64), torch.arange(8) % 2)
    held = loss_fn.queue.scores.clone()
    loss_fn.half()
    assert torch.equal(loss_fn.queue.scores, held)
    assert loss_fn.temperature == 0.0123
    other = SmoothAPLoss(1, queue_size=8)
    other.load_state_dict(loss_fn.state_dict())
    assert torch.equal(other.queue.scores, held)


def test_19_every_loss_reports_and_a_dead_step_is_visible():
    logits, targets = batch(60, 3)
    for loss_fn in (SmoothAPLoss(3), RecallAtQuantileLoss(3), PAUCAtBudgetLoss(3, beta=0.3)):
        _, stats = loss_fn(logits * 1e6, targets, return_diagnostics=True)
        if loss_fn.kind != "pauc_at_budget":
            assert stats["grad_pos_count"].sum() <= 1
            assert (stats["saturation"] > 0.9).all()


def test_19_nothing_is_computed_when_nobody_listens(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("statistics were computed")

    monkeypatch.setattr("losses.ranking.base.ranking_stats", fail)
    monkeypatch.setattr("losses.focal.likelihood_stats", fail)
    for loss_fn in (SmoothAPLoss(3), SoftmaxFocalLoss()):
        loss_fn.register_diagnostics_hook(lambda *_: None, wants=lambda: Detail.NOTHING)
        loss_fn(*batch(30, 3))


@pytest.mark.parametrize("name", RANKING)
def test_21_the_number_of_torch_operations_does_not_grow_with_the_classes(name):
    if name == "smooth_ap":
        # One opaque operator; what it does inside is tested with the kernels.
        counts = {operations(RANKING[name](c), c) for c in (2, 8)}
        assert max(counts) - min(counts) <= 4
        return
    counts = {operations(RANKING[name](c, temperature=1.0), c) for c in (2, 8)}
    assert max(counts) - min(counts) <= 4, counts


def operations(loss_fn, classes):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            Count.calls += 1
            return func(*args, **(kwargs or {}))

    logits, targets = batch(64, classes)
    loss_fn(logits, targets)
    with Count():
        loss_fn(logits.requires_grad_(), targets)
    return Count.calls


def test_22_softmax_focal_takes_one_log_softmax(monkeypatch):
    calls = []
    original = F.log_softmax
    monkeypatch.setattr(F, "log_softmax", lambda *a, **k: calls.append(1) or original(*a, **k))
    SoftmaxFocalLoss(label_smoothing=0.1)(*batch(10, 3))
    assert len(calls) == 1


@every_loss
def test_26_an_all_ignored_batch_is_nan_under_none(make):
    loss = make(3, reduction="none")(torch.randn(8, 3), torch.full((8,), -100))
    assert loss.isnan().all()


@every_loss
def test_27_no_forward_without_gradient_feeds_the_queue(make):
    loss_fn = make(3, queue_size=16, update_queue_in_eval=True)
    with torch.no_grad():
        loss_fn(*batch(12, 3))
    with torch.inference_mode():
        loss_fn(*batch(12, 3))
    assert loss_fn.queue.fill() == 0
    loss_fn(*batch(12, 3))
    assert loss_fn.queue.fill() == 12 / 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_27_the_queue_keeps_the_precision_of_the_logits(dtype):
    loss_fn = SmoothAPLoss(3, queue_size=16)
    logits, targets = batch(16, 3, dtype=dtype)
    loss_fn(logits, targets)
    assert loss_fn.queue.scores.dtype == dtype
    assert torch.equal(loss_fn.queue.scores, logits)


def test_28_public_gathers_need_no_process_group():
    x = torch.randn(8, 1, requires_grad=True)
    assert losses.all_gather_with_grad(x) is x
    assert torch.equal(losses.all_gather_no_grad(x), x.detach())
    with pytest.raises(RuntimeError, match="not initialized"):
        reference.all_gather_no_grad(x)


def told(loss_fn, *arguments, **keywords):
    """What a loss returned, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = loss_fn(*arguments, **keywords)
    return result, [str(each.message) for each in seen]


def test_29_weights_that_are_all_zero_make_every_class_invalid_without_a_warning():
    data, weight = (torch.randn(8, 1), torch.arange(8) % 2), torch.zeros(8)
    for package, warned in ((losses, 0), (reference, 1)):
        (loss, per_class, valid), texts = told(
            package.SmoothAPLoss(1), *data, return_per_class=True, sample_weight=weight
        )
        assert loss == 0
        assert per_class.isnan().all()
        assert not valid.any()
        assert len(texts) == warned


def test_30_rows_of_no_class_are_labels_of_zeros_and_no_stray_id():
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([0, 1, 2, -1] * 2)
    with pytest.raises(ValueError, match=r"got -1: .* for rows of no class use 0/1 targets \[N, 3\]"):
        SmoothAPLoss(3, queue_size=0)(logits, ids)
    loss = SmoothAPLoss(3, queue_size=0)(logits, F.one_hot(ids + 1, 4)[:, 1:])
    theirs = reference.SmoothAPLoss(3, queue_size=1)(logits, ids)
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-6) == pytest.approx(0.622, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int64])
def test_31_masks_are_bool_or_integers_of_0_and_1(dtype):
    logits, targets = rare(40, 0.2, seed=3)
    mask = torch.arange(40) % 3 > 0
    expected = PAUCAtBudgetLoss(1, beta=0.5)(logits, targets, mask)
    assert torch.equal(PAUCAtBudgetLoss(1, beta=0.5)(logits, targets, mask.to(dtype)), expected)
    for wrong in (2 * mask.to(dtype), mask.float()):
        with pytest.raises(ValueError, match="expected iid_mask to be bool or 0/1"):
            PAUCAtBudgetLoss(1, beta=0.5)(logits, targets, wrong)
        assert reference.PAUCAtBudgetLoss(1, beta=0.5)(logits, targets, wrong).isfinite()


def test_32_a_budget_of_the_population_needs_no_negatives():
    logits, targets = torch.linspace(-1, 1, 8)[:, None], torch.ones(8, dtype=torch.long)
    for package, expected in ((losses, True), (reference, False)):
        loss_fn = package.PAUCAtBudgetLoss(1, beta=0.5, budget_basis="population")
        loss, _, valid = loss_fn(logits, targets, return_per_class=True)
        assert valid.tolist() == [expected]
        assert (loss > 0) == expected
    pairs = PAUCAtBudgetLoss(1, beta=0.5, budget_basis="population", surrogate="pairwise")
    assert not pairs(logits, targets, return_per_class=True)[2].any(), "a pair needs a negative"


def test_33_a_function_is_no_warmup_loss():
    with pytest.raises(
        TypeError, match=r"got <function cross_entropy.*pass an instance such as torch.nn.Cro"
    ):
        losses.LossWarmupWrapper(F.cross_entropy, SmoothAPLoss(3))
    assert reference.LossWarmupWrapper(F.cross_entropy, reference.SmoothAPLoss(3))


@pytest.mark.filterwarnings("ignore:LossWarmupWrapper. a training forward ran")
def test_34_per_class_losses_are_there_in_the_warmup_or_are_an_error():
    data = batch(12, 3)
    for warmup in (torch.nn.CrossEntropyLoss(), torch.nn.MultiMarginLoss()):
        theirs = reference.LossWarmupWrapper(warmup, reference.SmoothAPLoss(3), warmup_epochs=1)
        assert theirs(*data, return_per_class=True).dim() == 0
    ours = losses.LossWarmupWrapper(torch.nn.CrossEntropyLoss(), SmoothAPLoss(3), warmup_epochs=1)
    loss, per_class, _ = ours(*data, return_per_class=True)
    rows = F.cross_entropy(*data, reduction="none")
    assert loss == rows.mean()
    expected = torch.stack([rows[data[1] == c].mean() for c in range(3)])
    assert torch.allclose(per_class, expected)
    other = losses.LossWarmupWrapper(torch.nn.MultiMarginLoss(), SmoothAPLoss(3), warmup_epochs=1)
    with pytest.raises(ValueError, match="to have per-class values, got "):
        other(*data, return_per_class=True)


def test_35_a_schedule_in_epochs_and_in_steps_is_an_error_and_a_blend_needs_no_warmup():
    arguments = torch.nn.CrossEntropyLoss(), SmoothAPLoss(3)
    with pytest.raises(ValueError, match="in epochs or in steps, got both"):
        losses.LossWarmupWrapper(*arguments, warmup_steps=5, blend_epochs=2)
    theirs = reference.LossWarmupWrapper(*arguments, warmup_steps=5, blend_epochs=2)
    weights = [theirs.on_train_batch_start(step) or theirs.main_weight for step in range(12)]
    assert weights == [0.0] * 5 + [1.0] * 7, "the blend is left out"
    blended = losses.LossWarmupWrapper(*arguments, blend_steps=3)
    assert [blended.on_train_batch_start(step) or blended.main_weight for step in range(4)] == [
        0.25, 0.5, 0.75, 1.0,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="blend_steps requires warmup_steps"):
        reference.LossWarmupWrapper(*arguments, blend_steps=3)


def test_36_a_pool_of_one_row_is_an_error():
    with pytest.raises(ValueError, match="expected max_pool_size to be an integer of at least 2, got 1"):
        SmoothAPLoss(1, max_pool_size=1)
    theirs = reference.SmoothAPLoss(1, max_pool_size=1)
    (_, _, valid), _ = told(theirs, torch.randn(8, 1), torch.arange(8) % 2, return_per_class=True)
    assert not valid.any(), "there it never learns"


@pytest.mark.filterwarnings("ignore:LossWarmupWrapper. a training forward ran")
@pytest.mark.parametrize("kind", ["CrossEntropyLoss", "BCEWithLogitsLoss"])
def test_37_weights_count_in_a_warmup_of_torch(kind):
    logits, ids = batch(9, 3)
    labels, weight = F.one_hot(ids, 3).double(), torch.arange(9.0, dtype=torch.float64) + 1
    targets = ids if kind == "CrossEntropyLoss" else labels
    warmup = getattr(torch.nn, kind)
    elements = warmup(reduction="none")(logits, targets).reshape(9, -1).mean(1)
    weighted = (elements * weight).sum() / weight.sum()
    for package, expected in ((losses, weighted), (reference, elements.mean())):
        loss_fn = package.LossWarmupWrapper(warmup(), package.SmoothAPLoss(3), warmup_epochs=1)
        assert torch.allclose(loss_fn(logits, targets, sample_weight=weight), expected)


class Margin(torch.nn.Module):
    """A warmup loss that takes logits and targets alone."""

    def forward(self, logits, targets):
        return logits.mean()


@pytest.mark.filterwarnings("ignore:LossWarmupWrapper. a training forward ran")
def test_38_a_keyword_that_is_left_out_is_told():
    data = batch(9, 3)
    ours, theirs = (
        package.LossWarmupWrapper(Margin(), package.SmoothAPLoss(3), warmup_epochs=1)
        for package in (losses, reference)
    )
    _, texts = told(ours, *data, sample_weight=torch.ones(9))
    assert any("sample_weight is given, but warmup_loss Margin does not take it" in text for text in texts)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sampel_weight'"):
        ours(*data, sampel_weight=torch.ones(9))
    for keyword in ("sample_weight", "sampel_weight"):
        loss, texts = told(theirs, *data, **{keyword: torch.ones(9)})
        assert loss == data[0].mean()
        assert not texts


def partial_auc_stats(logits, targets, **settings):
    """What both packages report of the same batch."""
    return [
        package.PAUCAtBudgetLoss(1, beta=0.05, queue_size=4_000, **settings)(
            logits, targets, return_diagnostics=True
        )[1]
        for package in (losses, reference)
    ]


def test_39_grad_pos_count_counts_positives_that_carry_gradient():
    logits, targets = rare(2_000, 0.05, seed=4)
    positives = int(targets.sum())
    ours, theirs = partial_auc_stats(logits + 20 * targets[:, None], targets, temperature=0.01)
    assert ours["grad_pos_count"] == 0, "all are far above the band"
    assert theirs["grad_pos_count"] == positives
    assert ours["live_pos_count"] == positives


def test_40_pauc_var_is_the_variance_of_the_loss_and_not_of_one_positive():
    logits, targets = rare(2_000, 0.05, seed=4)
    ours, theirs = partial_auc_stats(logits, targets)
    ratio = (theirs["pauc_var"] / ours["pauc_var"]).item()
    assert ratio == pytest.approx(int(targets.sum()))
    # The variance over draws of the rows, with the thresholds held: that of a mean of so many positives.
    ours, theirs = partial_auc_stats(logits, targets, surrogate="pairwise")
    ratio = (theirs["pauc_var"] / ours["pauc_var"]).item()
    assert 0.5 * int(targets.sum()) < ratio < int(targets.sum()), "the negatives of the band vary too"


def test_41_a_class_without_positives_still_shows_its_band():
    logits, targets = rare(200, 0.0, seed=5)
    ours, theirs = partial_auc_stats(logits, targets)
    assert ours["t_alpha"].item() == pytest.approx(logits.max().item())
    assert ours["band_neg_count"] == (logits >= ours["t_beta"]).sum() > 0
    assert ours["valid"] == 0
    for name in ("t_alpha", "t_beta", "tau_eff"):
        assert theirs[name].isnan()
    assert theirs["band_neg_count"] == 0


def test_43_a_softmax_over_one_class_is_an_error():
    logits, targets = torch.randn(8, 1, requires_grad=True), torch.zeros(8, dtype=torch.long)
    with pytest.raises(ValueError, match="expected SoftmaxFocalLoss to get a logit for each of two or more"):
        SoftmaxFocalLoss()(logits, targets)
    loss = reference.SoftmaxFocalLoss()(logits, targets)
    loss.backward()
    assert loss == logits.grad.abs().sum() == 0


def test_44_the_queue_is_no_buffer_that_others_cast_or_copy():
    for package, expected in ((losses, torch.float64), (reference, torch.float16)):
        loss_fn = package.SmoothAPLoss(1, queue_size=8).double()
        loss_fn(torch.randn(8, 1, dtype=torch.float64), torch.arange(8) % 2)
        loss_fn.half()
        held = loss_fn.queue.scores if package is losses else loss_fn.get_buffer("_queue._q_logits")
        assert held.dtype == expected
        assert (not list(loss_fn.buffers())) == (package is losses)


def checkpointed_norms(package):
    """Norm of the gradient of a plain first step, and of one that is computed again in the backward."""
    norms = []
    for wrap in (lambda function, x: function(x), partial(checkpoint, use_reentrant=True)):
        torch.manual_seed(0)
        net, loss_fn = torch.nn.Linear(8, 1), package.SmoothAPLoss(1, queue_size=256, temperature=0.1)
        x, y = torch.randn(32, 8, requires_grad=True), (torch.rand(32) < 0.3).long()
        wrap(lambda t, net=net, y=y, loss_fn=loss_fn: loss_fn(net(t), y), x).backward()
        norms.append(net.weight.grad.norm().item())
    return norms


def test_45_a_recomputed_forward_ranks_as_the_first():
    plain, again = checkpointed_norms(losses)
    assert again == pytest.approx(plain)
    plain, again = checkpointed_norms(reference)
    assert again < 0.6 * plain


def test_45_evaluations_of_a_closure_are_one_batch():
    for package, expected in ((losses, 32), (reference, 320)):
        torch.manual_seed(0)
        net, loss_fn = torch.nn.Linear(8, 1), package.SmoothAPLoss(1, queue_size=1_024, temperature=0.1)
        x, y = torch.randn(32, 8), (torch.rand(32) < 0.3).long()
        optimizer = torch.optim.LBFGS(net.parameters(), max_iter=10, tolerance_change=0, tolerance_grad=0)

        def closure(optimizer=optimizer, net=net, loss_fn=loss_fn, x=x, y=y):
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        if package is losses:
            assert loss_fn.queue.fill() * 1_024 == expected
        else:
            assert (loss_fn.get_buffer("_queue._q_targets") != -100).sum() == expected


def test_46_the_state_is_bytes_under_one_key():
    ours, theirs = (
        package.LossWarmupWrapper(torch.nn.CrossEntropyLoss(), package.SmoothAPLoss(3)).state_dict()
        for package in (losses, reference)
    )
    assert sorted(ours) == ["_extra_state", "main_loss._extra_state"]
    assert {value.dtype for value in ours.values()} == {torch.uint8}
    assert len(theirs) == 6
    assert isinstance(theirs["_extra_state"], dict)


def test_47_a_decay_of_no_steps_is_a_jump_at_the_switch():
    arguments = torch.nn.CrossEntropyLoss(), SmoothAPLoss(3)
    loss_fn = losses.LossWarmupWrapper(*arguments, warmup_steps=2, temp_decay_steps=0)
    temperatures = [loss_fn.on_train_batch_start(step) or loss_fn.current_temperature for step in range(4)]
    assert temperatures == [0.05, 0.05, 0.005, 0.005]
    with pytest.raises(ValueError, match="temp_decay_steps must be positive"):
        reference.LossWarmupWrapper(*arguments, temp_decay_steps=0)


def test_48_a_main_loss_without_a_temperature_is_ordinary():
    for package, warned in ((losses, 0), (reference, 1)):
        loss_fn, texts = told(
            package.LossWarmupWrapper, torch.nn.CrossEntropyLoss(), package.SoftmaxFocalLoss()
        )
        assert len(texts) == warned
        assert loss_fn.current_temperature is None
        assert not told(loss_fn, *batch(8, 3))[1]


class WithParts(torch.nn.Module):
    """A loss that also returns what it is made of."""

    def forward(self, logits, targets):
        loss = F.cross_entropy(logits, targets)
        return loss, {"cross_entropy": loss.detach()}


def test_49_a_loss_that_returns_a_tuple_is_an_error():
    data = batch(8, 3)
    kinds = []
    for package in (losses, reference):
        loss_fn = package.LossWarmupWrapper(
            WithParts(), package.SmoothAPLoss(3), warmup_steps=1, blend_steps=1
        )
        for step in range(2):
            loss_fn.on_train_batch_start(step)
            if package is losses:
                with pytest.raises(TypeError, match="expected WithParts to return a tensor, got tuple"):
                    loss_fn(*data)
            else:
                kinds.append(type(loss_fn(*data)))
    assert kinds == [tuple, torch.Tensor]


def test_50_every_epoch_empties_the_queue_those_of_the_warmup_too():
    data = batch(8, 3)
    for package, left in ((losses, 0), (reference, 8)):
        main = package.SmoothAPLoss(3, queue_size=16)
        loss_fn = package.LossWarmupWrapper(
            torch.nn.CrossEntropyLoss(), main, warmup_epochs=3, reset_queue_each_epoch=True
        )
        main(*data)
        loss_fn.on_train_epoch_start(1)
        if package is losses:
            assert main.queue.fill() * 16 == left
        else:
            assert (main.get_buffer("_queue._q_targets") != -100).sum() == left


def test_51_one_row_of_weights_is_a_weight_for_each_column():
    logits, labels = batch(8, 4)[0], (torch.arange(32).reshape(8, 4) % 3 == 0).double()
    weight = torch.arange(1.0, 5.0)[None]
    expected = SigmoidFocalLoss()(logits, labels, sample_weight=weight.expand(8, 4))
    assert torch.equal(SigmoidFocalLoss()(logits, labels, sample_weight=weight), expected)
    with pytest.raises(ValueError, match="sample_weight must match inputs dim-0"):
        reference.SigmoidFocalLoss()(logits, labels, sample_weight=weight)


def test_52_a_third_id_in_a_binary_loss_is_an_error():
    logits, ids = torch.linspace(-1, 1, 8)[:, None], torch.tensor([0, 1, 2, 0, 1, 0, 1, 2])
    with pytest.raises(ValueError, match=r"expected targets to lie in \[0, 1\].*got 2"):
        SmoothAPLoss(1)(logits, ids)
    value, texts = told(reference.SmoothAPLoss(1), logits, ids)
    assert len(texts) == 1
    assert torch.allclose(value, SmoothAPLoss(1)(logits, ids.clamp_max(1)))


def test_53_pauc_var_is_that_of_the_weighted_loss():
    logits, targets = rare(2_000, 0.05, seed=4)
    weight = torch.rand(2_000, generator=torch.Generator().manual_seed(5)).square()
    ratios = []
    for package in (losses, reference):
        loss_fn = package.PAUCAtBudgetLoss(1, beta=0.05, queue_size=0)
        _, plain = loss_fn(logits, targets, return_diagnostics=True)
        _, weighted = loss_fn(logits, targets, sample_weight=weight, return_diagnostics=True)
        ratios.append((weighted["pauc_var"] / plain["pauc_var"]).item())
    # Kish's design effect of the weights, E w^4 (E w^2)^-2 for uniform w, is 1.8.
    assert ratios[0] == pytest.approx(1.8, rel=0.35)
    assert ratios[1] == 1.0


# --------------------------------------------------------------------------- kornia, fvcore


def test_k1_to_k3_means_are_over_what_counts():
    logits, ids = batch(64, 5)
    rows = SoftmaxFocalLoss(reduction="none")(logits, ids)
    log_p = F.log_softmax(logits, 1).gather(1, ids[:, None])[:, 0]
    assert torch.allclose(rows, -((1 - log_p.exp()) ** 2) * log_p)
    halved = torch.where(torch.arange(64) < 32, -100, ids)
    assert torch.allclose(SoftmaxFocalLoss()(logits, ids), rows.mean())
    assert torch.allclose(SoftmaxFocalLoss()(logits, halved), rows[32:].mean())
    labels, counted = F.one_hot(ids, 5).double(), (torch.arange(64) >= 32).double()
    elements = SigmoidFocalLoss(reduction="none")(logits, labels)
    loss = SigmoidFocalLoss()(logits, labels, sample_weight=counted)
    assert torch.allclose(loss, elements[32:].mean())


def test_k4_and_k6_weights_broadcast_like_those_of_torch_and_enter_the_divisor():
    logits, ids = batch(64, 5)
    labels, weight = F.one_hot(ids, 5).double(), torch.arange(1.0, 6.0, dtype=torch.float64)
    settings = {"alpha": -1, "gamma": 0, "pos_weight": weight}
    summed = SigmoidFocalLoss(**settings, reduction="sum")(logits, labels, sample_weight=weight[None])
    expected = F.binary_cross_entropy_with_logits(logits, labels, weight, pos_weight=weight, reduction="sum")
    assert torch.allclose(summed, expected)
    mean = SigmoidFocalLoss(**settings)(logits, labels, sample_weight=weight[None])
    assert torch.allclose(mean, expected / (64 * weight.sum()))


def test_k5_alpha_of_a_softmax_is_a_weight_for_each_class():
    logits, ids = batch(64, 5)
    rows = SoftmaxFocalLoss(reduction="none")(logits, ids)
    weights = torch.tensor([0.8, 0.2, 0.2, 0.2, 0.2], dtype=torch.float64)
    loss = SoftmaxFocalLoss(alpha=weights, reduction="none")(logits, ids)
    assert torch.allclose(loss, weights[ids] * rows)


def test_k9_a_nan_in_an_ignored_row_reaches_no_gradient():
    logits = torch.tensor([[torch.nan, 0.0], [1.0, 2.0]], requires_grad=True)
    SoftmaxFocalLoss()(logits, torch.tensor([-100, 1])).backward()
    assert logits.grad[0].tolist() == [0.0, 0.0]
    assert logits.grad[1].abs().min() > 0


def test_f3_a_loss_of_float64_logits_is_float64():
    logits, ids = batch(8, 5)
    assert SigmoidFocalLoss()(logits, F.one_hot(ids, 5).float()).dtype == torch.float64


def test_importing_the_package_warns_of_nothing_and_imports_torch_alone():
    import subprocess

    script = (
        "import sys, torch; before = set(sys.modules); import losses; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(sorted(m for m in new if m not in ('losses', 'torch')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert losses.__all__ == sorted(losses.__all__)
