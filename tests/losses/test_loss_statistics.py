"""Every statistic means what the catalogue says, and is computed from what the loss saw."""

import math

import pytest
import torch
import torch.nn.functional as F
from loss_cases import RANKING, batch
from sklearn.metrics import roc_auc_score

from losses import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)
from losses.diagnostics.gradients import gradient_norms
from losses.diagnostics.likelihood import labels_of, likelihood_stats
from losses.diagnostics.listening import HISTOGRAM_BINS, QUANTILE_LEVELS, STATS, Detail
from losses.diagnostics.scores import auroc, histograms, one_vs_rest

SHAPES = {
    "scalar": (),
    "class": (3,),
    "class x quantile": (3, len(QUANTILE_LEVELS)),
    "class x bin": (3, HISTOGRAM_BINS),
    "class x edge": (3, HISTOGRAM_BINS + 1),
}
LIKELIHOOD = {"sigmoid_focal": SigmoidFocalLoss, "softmax_focal": SoftmaxFocalLoss}


def likelihood_batch(name, rows=40, seed=0):
    logits, targets = batch(rows, 3, seed)
    return logits, targets if name == "softmax_focal" else F.one_hot(targets, 3).double()


def report(name, *, detail=Detail.HISTOGRAMS):
    """What a loss tells a listener who wants this much."""
    heard = []
    if name in LIKELIHOOD:
        loss_fn, data = LIKELIHOOD[name](), likelihood_batch(name)
    else:
        loss_fn, data = RANKING[name](3, queue_size=32), batch(40, 3)
        loss_fn(*batch(20, 3, 1))
    loss_fn.register_diagnostics_hook(lambda _, stats: heard.append(stats), wants=lambda: detail)
    loss_fn(*data)
    return heard[0] if heard else {}


every_loss = pytest.mark.parametrize("name", [*RANKING, *LIKELIHOOD])


@every_loss
@pytest.mark.parametrize("detail", list(Detail))
def test_statistics_have_the_names_shapes_and_levels_of_the_catalogue(name, detail):
    stats = report(name, detail=detail)
    assert bool(stats) == (detail > Detail.NOTHING)
    for key, value in stats.items():
        assert tuple(value.shape) == SHAPES[STATS[key].shape], key
        assert not value.requires_grad
        assert STATS[key].detail <= detail, key
    everything = report(name)
    expected = {key for key in everything if STATS[key].detail <= detail}
    if detail < Detail.SCORES and name in LIKELIHOOD:
        expected -= {"per_class_loss", "valid"}
    assert stats.keys() == expected


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_statistics_have_the_precision_that_the_loss_is_computed_in(name, dtype):
    logits, targets = likelihood_batch(name)
    loss_fn = LIKELIHOOD[name]() if name in LIKELIHOOD else RANKING[name](3)
    loss, stats = loss_fn(logits.to(dtype), targets, return_diagnostics=True)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    for shares_of_rows in ("queue_fill", "saturation"):
        stats.pop(shares_of_rows, None)
    assert {value.dtype for value in stats.values() if value.is_floating_point()} == {loss.dtype}


@pytest.mark.parametrize("surrogate", ["trapezoid", "pairwise"])
def test_without_reference_scores_a_band_has_neither_edges_nor_a_temperature(surrogate):
    logits, targets = batch(20, 3)
    for rows, basis in ((torch.full_like(targets, -100), "population"), (torch.zeros_like(targets), "fpr")):
        loss_fn = PAUCAtBudgetLoss(3, beta=0.3, surrogate=surrogate, budget_basis=basis)
        _, stats = loss_fn(logits, rows, return_diagnostics=True)
        without = stats["iid_neg_count"] == 0
        assert without.any()
        for key in ("t_alpha", "t_beta", "tau_eff"):
            assert torch.equal(stats[key].isnan(), without), key


@every_loss
def test_the_flag_and_a_hook_report_the_same(name):
    if name in LIKELIHOOD:
        loss_fn, data = LIKELIHOOD[name](), likelihood_batch(name)
    else:
        loss_fn, data = RANKING[name](3), batch(40, 3)
    heard = []
    handle = loss_fn.register_diagnostics_hook(lambda module, stats: heard.append(stats))
    _, stats = loss_fn(*data, return_diagnostics=True)
    torch.testing.assert_close(heard[0], stats, equal_nan=True, rtol=0, atol=0)
    shared = {name for name, value in stats.items() if value.data_ptr() == heard[0][name].data_ptr()}
    assert not shared, "what is returned is the caller's to change"
    handle.remove()
    loss_fn(*data)
    assert len(heard) == 1


@every_loss
@pytest.mark.parametrize("no", [False, None, Detail.NOTHING])
def test_a_hook_may_decline_in_several_ways(name, no):
    assert report(name, detail=no) == {}


def listened(name):
    """A loss, its data and what its two hooks hear."""
    if name == "wrapper":
        loss_fn, data = LossWarmupWrapper(SoftmaxFocalLoss(), SmoothAPLoss(3), temp_end=0.05), batch(40, 3)
    elif name == "wrapper in warmup":
        loss_fn = LossWarmupWrapper(torch.nn.CrossEntropyLoss(), SmoothAPLoss(3), warmup_epochs=1).eval()
        data = batch(40, 3)
    elif name in LIKELIHOOD:
        loss_fn, data = LIKELIHOOD[name](), likelihood_batch(name)
    else:
        loss_fn, data = RANKING[name](3), batch(40, 3)
    heard = []
    loss_fn.register_diagnostics_hook(lambda _, stats: (heard.append(dict(stats)), stats.clear()))
    loss_fn.register_diagnostics_hook(lambda _, stats: heard.append(stats))
    return loss_fn, data, heard


every_listened = pytest.mark.parametrize("name", [*RANKING, *LIKELIHOOD, "wrapper", "wrapper in warmup"])


@every_listened
def test_each_listener_has_a_dictionary_of_its_own(name):
    loss_fn, data, heard = listened(name)
    loss_fn(*data)
    assert heard[0]
    assert heard[0].keys() == heard[1].keys()


@every_listened
def test_statistics_that_fail_for_a_hook_cost_one_warning_and_no_step(name, monkeypatch):
    def fail(*args, **kwargs):
        raise IndexError("out of bounds")

    loss_fn, data, heard = listened(name)
    with monkeypatch.context() as broken:
        broken.setattr("losses.ranking.base.ranking_stats", fail)
        for module in ("focal", "warmup.wrapper"):
            broken.setattr(f"losses.{module}.likelihood_stats", fail)
        with pytest.warns(UserWarning, match="IndexError: out of bounds") as seen:
            loss = loss_fn(*data)
        assert len(seen) == 1
        assert seen[0].filename == __file__
        assert loss.isfinite()
        loss_fn(*data)
        assert heard == []
        with pytest.raises(IndexError, match="out of bounds"):
            loss_fn(*data, return_diagnostics=True)
    loss_fn(*data)
    assert len(heard) == 2


@every_listened
def test_an_error_of_a_listener_is_the_listeners(name):
    loss_fn, data, _ = listened(name)
    loss_fn.register_diagnostics_hook(lambda _, stats: stats["no such name"])
    with pytest.raises(KeyError, match="no such name"):
        loss_fn(*data)


def test_ranking_losses_return_what_was_asked_for():
    loss_fn, data = SmoothAPLoss(3), batch(30, 3)
    assert isinstance(loss_fn(*data), torch.Tensor)
    assert len(loss_fn(*data, return_per_class=True)) == 3
    assert len(loss_fn(*data, return_diagnostics=True)) == 2
    loss, per_class, valid, stats = loss_fn(*data, return_per_class=True, return_diagnostics=True)
    assert torch.equal(stats["per_class_loss"], per_class)
    assert torch.equal(stats["valid"], valid)
    assert torch.equal(stats["loss"], loss)


@pytest.mark.parametrize("name", RANKING)
def test_scores_are_described_as_they_are(name):
    queued, queued_targets = batch(20, 3, 1)
    live, live_targets = batch(40, 3)
    loss_fn = RANKING[name](3, queue_size=32)
    loss_fn(queued, queued_targets)
    _, stats = loss_fn(live, live_targets, return_diagnostics=True)
    pool, targets = torch.cat([live, queued]), torch.cat([live_targets, queued_targets])
    levels = torch.tensor(QUANTILE_LEVELS, dtype=torch.float64)
    assert stats["pool_size"] == 60
    for c in range(3):
        s, y = pool[:, c], targets == c
        assert stats["pool_pos_count"][c] == y.sum()
        assert stats["pool_neg_count"][c] == (~y).sum()
        assert stats["live_pos_count"][c] == (live_targets == c).sum()
        assert stats["live_neg_count"][c] == (live_targets != c).sum()
        assert stats["score_std"][c].item() == pytest.approx(s.std(correction=0).item())
        assert stats["score_iqr"][c].item() == pytest.approx((s.quantile(0.75) - s.quantile(0.25)).item())
        assert stats["score_min"][c] == s.min()
        assert stats["score_max"][c] == s.max()
        assert stats["pool_auroc"][c].item() == pytest.approx(roc_auc_score(y, s))
        for key, part in (
            ("pos_score_quantiles", s[y]),
            ("neg_score_quantiles", s[~y]),
            ("live_score_quantiles", live[:, c]),
            ("queue_score_quantiles", queued[:, c]),
        ):
            assert torch.allclose(stats[key][c], part.quantile(levels))
        edges = stats["score_hist_edges"][c]
        assert (edges.diff() > 0).all()
        for key, part in (("pos_score_hist", s[y]), ("neg_score_hist", s[~y])):
            inside = part.clamp(edges[0].item(), edges[-1].item())
            bins = torch.bucketize(inside, edges[1:-1], right=True)
            assert torch.equal(stats[key][c], bins.bincount(minlength=HISTOGRAM_BINS))


def test_the_area_under_the_curve_counts_ties_half():
    s = torch.tensor([1.0, 1.0, 2.0, 0.0, 2.0])[:, None]
    y = torch.tensor([True, False, False, False, True])[:, None]
    expected = roc_auc_score(y[:, 0], s[:, 0])
    assert auroc(s, y, torch.ones_like(y)).item() == pytest.approx(expected)
    assert auroc(s, torch.ones_like(y), torch.ones_like(y)).isnan()


def test_one_outlier_does_not_flatten_the_histogram():
    logits, targets = batch(1_000, 1)
    logits[0] = 1e6
    _, stats = SmoothAPLoss(1)(logits, targets, return_diagnostics=True)
    assert stats["score_hist_edges"].abs().max() < 10
    assert (stats["pos_score_hist"] + stats["neg_score_hist"]).sum() == 1_000
    _, stats = SmoothAPLoss(1)(logits * 0, targets, return_diagnostics=True)
    assert (stats["pos_score_hist"] + stats["neg_score_hist"]).sum() == 1_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [2, 5, 200])
def test_histograms_of_scores_that_overflow_cover_the_finite_range(rows, dtype):
    largest = torch.finfo(dtype).max
    scores = torch.linspace(-0.9, 0.9, rows, dtype=dtype)[:, None] * largest
    for positive in (scores > 0, scores == scores[0], torch.ones_like(scores, dtype=torch.bool)):
        stats = histograms(scores, positive, torch.ones_like(positive))
        edges = stats["score_hist_edges"][0]
        assert edges.isfinite().all()
        assert (edges[1:] > edges[:-1]).all()
        assert edges[0] == pytest.approx(-0.9 * largest, rel=0.03)
        assert edges[-1] == pytest.approx(0.9 * largest, rel=0.03)
        assert stats["pos_score_hist"].sum() == positive.sum()
        assert stats["neg_score_hist"].sum() == (~positive).sum()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_huge_logits_are_reported_by_every_likelihood(reduction):
    logits = torch.tensor([[3e38, -3e38], [-3e38, 3e38], [3.4e38, 3.4e38], [0.0, 1.0]])
    ids = torch.tensor([0, 1, 0, 1])
    labels = F.one_hot(ids, 2).float()
    for loss_fn, targets in (
        (SigmoidFocalLoss(reduction=reduction), labels),
        (SoftmaxFocalLoss(reduction=reduction), ids),
    ):
        loss_fn(logits, targets, return_diagnostics=True)
    elements = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    stats = likelihood_stats(logits, labels, detail=Detail.HISTOGRAMS, elements=elements, loss=elements.sum())
    assert stats["pos_score_hist"].sum() + stats["neg_score_hist"].sum() == logits.numel()


@pytest.mark.filterwarnings("ignore:.*is sampled down to max_pool_size")
@pytest.mark.parametrize("name", RANKING)
def test_live_counts_are_those_before_the_cap(name):
    loss_fn = RANKING[name](3, queue_size=100, max_pool_size=30)
    loss_fn(*batch(50, 3, 1))
    logits, targets = batch(60, 3)
    targets[5:9] = -100
    _, stats = loss_fn(logits, targets, return_diagnostics=True)
    for c in range(3):
        assert stats["live_pos_count"][c] == (targets == c).sum()
        assert stats["live_neg_count"][c] == ((targets != c) & (targets != -100)).sum()
    assert (stats["pool_pos_count"].sum() <= 30).all()


def test_thresholds_are_reported():
    logits, targets = batch(200, 1)
    _, stats = RecallAtQuantileLoss(1, quantile=0.1)(logits, targets, return_diagnostics=True)
    theta = torch.quantile(logits[:, 0], 0.9, interpolation="higher")
    assert stats["threshold"] == theta
    assert stats["above_threshold_count"] == ((logits[:, 0] >= theta) & (targets == 1)).sum()
    iid = torch.arange(200) % 4 != 0
    loss_fn = PAUCAtBudgetLoss(1, alpha=0.1, beta=0.4)
    _, stats = loss_fn(logits, targets, iid_mask=iid, return_diagnostics=True)
    negatives = logits[(targets == 0) & iid, 0]
    band = (negatives >= stats["t_beta"]) & (negatives <= stats["t_alpha"])
    assert stats["iid_neg_count"] == len(negatives)
    assert stats["band_neg_count"] == band.sum()
    assert stats["tau_eff"].item() == pytest.approx(
        0.1
        * (
            torch.quantile(negatives, 0.75, interpolation="higher")
            - torch.quantile(negatives, 0.25, interpolation="higher")
        ).item()
    )


@pytest.mark.parametrize("surrogate", ["trapezoid", "pairwise"])
def test_the_sampling_variance_of_partial_auc_is_that_of_repeated_draws(surrogate):
    # α = 0, β = 1 and few temperatures: the pairwise form is AUROC, whose variance DeLong estimates. The
    # trapezoid's leaves out how the knots vary, so the same negatives are used throughout.
    generator = torch.Generator().manual_seed(0)
    fixed = torch.randn(150, 1, generator=generator, dtype=torch.float64)
    losses, variances = [], []
    for _ in range(300):
        negatives = fixed
        if surrogate == "pairwise":
            negatives = torch.randn(150, 1, generator=generator, dtype=torch.float64)
        positives = torch.randn(30, 1, generator=generator, dtype=torch.float64) + 1
        logits = torch.cat([positives, negatives])
        targets = (torch.arange(180) < 30).long()
        loss_fn = PAUCAtBudgetLoss(
            1, beta=1.0, surrogate=surrogate, n_knots=9, temperature=0.02, queue_size=0
        )
        loss, stats = loss_fn(logits, targets, return_diagnostics=True)
        losses.append(loss)
        variances.append(stats["pauc_var"])
    ratio = torch.stack(variances).mean() / torch.stack(losses).var()
    assert 0.75 < ratio.item() < 1.3


# ------------------------------------------------------------------------------------------- saturation


def scores_with_two_percent_positives(seed):
    """4,096 normal scores, positives shifted so that smooth AP loss is 0.88 and recall at 5 % 0.29."""
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.arange(4_096) < 82).long()
    logits = torch.randn(4_096, 1, generator=generator, dtype=torch.float64)
    logits[:82] += 1.15
    return logits / logits.std(), targets


@pytest.mark.parametrize(
    # Published: all / 87-96 % / 60 % / 13 % for smooth AP, 1-39 % / 1 % / 0 for recall. One draw of 82
    # positives differs from the next by about 10 points, so means over draws are held to twice that.
    ("spread_in_tau", "smooth_ap", "recall"),
    [
        (0.01, (0.999, 1.0), (0.999, 1.0)),
        (1, (0.999, 1.0), (0.999, 1.0)),
        (10, (0.87, 1.0), (0.2, 0.5)),
        (100, (0.76, 0.98), (0.01, 0.08)),
        (1_000, (0.55, 0.85), (0.0, 0.02)),
        (10_000, (0.1, 0.4), (0.0, 0.01)),
    ],
)
def test_the_share_that_carries_gradient_falls_with_spread_over_temperature(spread_in_tau, smooth_ap, recall):
    carrying = {"smooth_ap": [], "recall": []}
    for seed in range(6):
        logits, targets = scores_with_two_percent_positives(seed)
        for name, loss_fn in (
            ("smooth_ap", SmoothAPLoss(1, temperature=1 / spread_in_tau)),
            ("recall", RecallAtQuantileLoss(1, quantile=0.05, temperature=1 / spread_in_tau)),
        ):
            _, stats = loss_fn(logits, targets, return_diagnostics=True)
            carrying[name].append(1 - stats["saturation"].item())
            assert stats["grad_pos_count"].item() == round(82 * carrying[name][-1])
    for name, (low, high) in (("smooth_ap", smooth_ap), ("recall", recall)):
        assert low <= sum(carrying[name]) / 6 <= high, name


def test_positives_that_lost_touch_carry_nothing_however_steep_the_others():
    targets = (torch.arange(500) < 10).long()
    logits = torch.linspace(0, 1, 500, dtype=torch.float64)[:, None]
    logits[:10] += 100
    for loss_fn in (SmoothAPLoss(1), RecallAtQuantileLoss(1)):
        _, stats = loss_fn(logits - 0.0, targets, return_diagnostics=True)
        assert stats["grad_pos_count"] <= 1 + 9 * (loss_fn.kind == "recall_at_quantile")
    _, stats = SmoothAPLoss(1)(logits, targets, return_diagnostics=True)
    assert stats["saturation"] == 1.0


def test_only_live_positives_count_as_carrying():
    loss_fn = SmoothAPLoss(1, temperature=1.0)
    loss_fn(*batch(100, 1, 1))
    logits, targets = batch(20, 1)
    _, stats = loss_fn(logits, targets, return_diagnostics=True)
    assert stats["grad_pos_count"] == (targets == 1).sum()
    assert stats["saturation"] == 0.0


# --------------------------------------------------------------------------------------------- likelihood


def test_binary_likelihoods_are_described_as_they_are():
    logits, targets = batch(60, 1)
    z, y = logits[:, 0], targets.double()
    elements = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    stats = likelihood_stats(
        z, y, detail=Detail.HISTOGRAMS, elements=elements, loss=elements.mean(), multiclass=False
    )
    p, positive = torch.sigmoid(z), y == 1
    p_true = torch.where(positive, p, 1 - p)
    expected = {
        "loss": elements.mean(),
        "per_class_loss": elements.mean(),
        "pos_loss_share": elements[positive].sum() / elements.sum(),
        "easy_share": (p_true > 0.9).double().mean(),
        "mean_p_true_pos": p[positive].mean(),
        "mean_p_true_neg": (1 - p)[~positive].mean(),
        "predicted_pos_count": (p >= 0.5).sum(),
        "true_pos_count": ((p >= 0.5) & positive).sum(),
        "pool_pos_count": positive.sum(),
        "pool_neg_count": (~positive).sum(),
        "pool_size": torch.tensor(60),
        "pool_auroc": torch.tensor(roc_auc_score(targets, z)),
        "score_std": z.std(correction=0),
    }
    for key, value in expected.items():
        assert stats[key].flatten()[0].item() == pytest.approx(value.item()), key


@pytest.mark.parametrize("shape", [(12, 4), (5, 4, 3), (3, 4, 2, 2)])
def test_multiclass_likelihoods_are_described_over_every_position(shape):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 4, (shape[0], *shape[2:]), generator=generator)
    ids.view(-1)[0] = -100
    stats = likelihood_stats(
        logits, ids, detail=Detail.SCORES, elements=F.cross_entropy(logits, ids, reduction="none")
    )
    flat, t = logits.movedim(1, -1).reshape(-1, 4)[1:], ids.reshape(-1)[1:]
    p = flat.softmax(1)
    ce = F.cross_entropy(flat, t, reduction="none")
    for c in range(4):
        assert stats["pool_pos_count"][c] == (t == c).sum()
        assert stats["predicted_pos_count"][c] == (flat.argmax(1) == c).sum()
        assert stats["mean_p_true_pos"][c].item() == pytest.approx(p[t == c, c].mean().item(), nan_ok=True)
        assert stats["pos_loss_share"][c].item() == pytest.approx((ce[t == c].sum() / ce.sum()).item())
        assert stats["score_max"][c].item() == pytest.approx(p[:, c].max().logit().item())
    assert stats["pool_size"] == len(t)
    assert stats["loss"].item() == pytest.approx(ce.mean().item())


def test_the_score_of_a_softmax_class_is_its_log_odds():
    z = torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, -50.0], [800.0, -800.0, 0.0]], dtype=torch.float64)
    odds = one_vs_rest(z)
    assert odds[0].tolist() == pytest.approx([-math.log(2)] * 3)
    assert odds[1, 0].item() == pytest.approx(50.0)
    assert odds[2].tolist() == pytest.approx([800.0, -1600.0, -800.0])


@pytest.mark.parametrize("entries", [0, 1 << 20], ids=["on a device", "on the host"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_of_the_same_probability_are_tied(dtype, entries, monkeypatch):
    monkeypatch.setattr("losses.diagnostics.scores.HOST_ENTRIES", entries)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randint(0, 4, (200, 3), generator=generator) * 0.5
        z += 3.0 * torch.randint(-2, 3, (200, 1), generator=generator)  # a softmax does not see this
        ids = torch.randint(0, 3, (200,), generator=generator)
        found = likelihood_stats(z.to(dtype), ids, detail=Detail.SCORES)["pool_auroc"]
        p = (z.double().softmax(1) * 1e10).round().numpy()
        for c in range(3):
            assert found[c].item() == pytest.approx(roc_auc_score(ids == c, p[:, c]), abs=1e-6)


@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 3)])
def test_labels_of_the_logits_shape_are_columns(shape):
    logits = torch.randn(shape)
    stats = likelihood_stats(logits, (logits > 0).float(), detail=Detail.COUNTS)
    assert stats["pool_pos_count"].shape == (1 if len(shape) == 1 else shape[1],)
    assert torch.equal(stats["true_pos_count"], stats["pool_pos_count"])
    column = likelihood_stats(
        logits.reshape(-1), (logits > 0).reshape(-1, 1), detail=Detail.COUNTS, multiclass=False
    )
    assert column["pool_pos_count"].sum() == (logits > 0).sum()


@pytest.mark.parametrize("multiclass", [False, True])
def test_the_distribution_of_very_many_logits_is_that_of_a_sample(monkeypatch, multiclass):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 64, 64, generator=generator)
    ids = torch.randint(3, (4, 64, 64), generator=generator)
    targets = ids if multiclass else F.one_hot(ids, 3).movedim(-1, 1).float()
    per_entry = F.cross_entropy if multiclass else F.binary_cross_entropy_with_logits
    elements = per_entry(logits, targets, reduction="none")
    whole = likelihood_stats(
        logits, targets, detail=Detail.HISTOGRAMS, elements=elements, loss=elements.mean()
    )
    monkeypatch.setattr("losses.diagnostics.scores.HOST_ENTRIES", 10_000)
    monkeypatch.setattr("losses.diagnostics.likelihood.MOST_ENTRIES", 10_000)
    sample = likelihood_stats(
        logits, targets, detail=Detail.HISTOGRAMS, elements=elements, loss=elements.mean()
    )
    assert sample["neg_score_hist"].sum() < whole["neg_score_hist"].sum() / 4
    for name in ("pool_pos_count", "predicted_pos_count", "loss", "mean_p_true_pos"):
        assert torch.allclose(sample[name], whole[name])  # counts are of all
    for name in ("score_std", "per_class_loss", "pos_loss_share", "pool_auroc", "easy_share"):
        assert torch.allclose(sample[name], whole[name], atol=0.05), name


def odd_batches():
    """Logits and targets that an average batch does not hold, by name."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(50, 4, generator=generator)
    ids = torch.randint(4, (50,), generator=generator)
    labels = F.one_hot(ids, 4).float()
    broken = z.clone()
    broken[3, 1], broken[4, 0], broken[5, 2] = torch.nan, torch.inf, -torch.inf
    return {
        "plain": (z, ids, labels),
        "double": (z.double(), ids, labels.double()),
        "half": (z.bfloat16(), ids, labels.bfloat16()),
        "ties": (z.round(), ids, labels),
        "all equal": (torch.ones_like(z), ids, labels),
        "non-finite": (broken, ids, labels),
        "huge": (z * 1e17, ids, labels),
        "ignored": (z, ids.where(ids != 1, -100), labels.where(z < 1, torch.nan)),
        "nothing counts": (z, torch.full_like(ids, -100), torch.full_like(labels, torch.nan)),
        "one class": (z, torch.zeros_like(ids), torch.zeros_like(labels)),
        "one row": (z[:1], ids[:1], labels[:1]),
        "soft": (z, ids, labels * 0.8 + 0.05),
    }


@pytest.mark.parametrize("multiclass", [False, True])
@pytest.mark.parametrize("name", odd_batches())
def test_the_host_computes_what_a_device_would(name, multiclass, monkeypatch):
    logits, ids, labels = odd_batches()[name]
    targets = ids if multiclass else labels
    per_entry = F.cross_entropy if multiclass else F.binary_cross_entropy_with_logits
    elements = per_entry(logits.float(), targets if multiclass else targets.float(), reduction="none")

    def described():
        return likelihood_stats(
            logits, targets, detail=Detail.HISTOGRAMS, elements=elements, multiclass=multiclass
        )

    on_host = described()
    monkeypatch.setattr("losses.diagnostics.scores.HOST_ENTRIES", 0)
    on_device = described()
    assert on_host.keys() == on_device.keys()
    for key, value in on_host.items():
        expected = on_device[key]
        assert value.shape == expected.shape, key
        # The edges of a histogram go through zero, and are rounded as its ends are.
        size = max(1.0, float(expected.double().nan_to_num(0, 0, 0).abs().max())) if expected.numel() else 1.0
        close = torch.isclose(value.double(), expected.double(), rtol=1e-5, atol=1e-6 * size, equal_nan=True)
        if key.endswith("_hist"):  # a score on the edge of a bin
            assert (value - expected).abs().sum() <= 4, key
        else:
            assert close.all(), (key, value, expected)


def test_nonfinite_logits_are_counted_and_left_out():
    logits, labels = torch.randn(6, 2), torch.ones(6, 2)
    logits[0, 0], logits[1, 1] = torch.nan, torch.inf
    stats = likelihood_stats(logits, labels, detail=Detail.SCORES, multiclass=False)
    assert stats["nonfinite_count"] == 2
    assert stats["pool_pos_count"].tolist() == [5, 5]
    assert stats["score_std"].isfinite().all()


def test_shapes_that_fit_nothing_are_errors():
    with pytest.raises(ValueError, match=r"expected labels to have the logits' shape \[4, 3\], got \[5, 3\]"):
        likelihood_stats(torch.zeros(4, 3), torch.zeros(5, 3), detail=Detail.COUNTS)


MARKS = {
    "void": (255, torch.uint8),
    "unlabelled": (-1, torch.int64),
    "out of range": (2, torch.int32),
    "nan": (math.nan, torch.float32),
    "in half precision": (-1, torch.bfloat16),
}


def as_deleted(stats, alone):
    """Per-class statistics of data with entries that do not count are those of the data without them."""
    for name, value in alone.items():
        if value.dim():
            found = stats[name].double()
            assert torch.allclose(found, value.double(), rtol=1e-5, atol=1e-6, equal_nan=True), name


@pytest.mark.parametrize(("mark", "dtype"), MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("host", [True, False])
def test_labels_outside_0_and_1_count_as_deleted(mark, dtype, host, monkeypatch):
    if not host:
        monkeypatch.setattr("losses.diagnostics.likelihood.on_host", lambda scores: False)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 3, generator=generator)
    marked = torch.rand(60, 3, generator=generator) < 0.3
    labels = (torch.rand(60, 3, generator=generator) < 0.4).to(dtype)
    labels = torch.where(marked, torch.tensor(mark, dtype=dtype), labels)
    elements = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    stats = likelihood_stats(logits, labels, detail=Detail.HISTOGRAMS, elements=elements)
    gradient = torch.randn(60, 3, generator=generator)
    norms = gradient_norms(gradient, *labels_of(logits, labels))
    assert stats["pool_size"] == (~marked).any(1).sum()
    for column in range(3):
        kept = ~marked[:, column]
        alone = likelihood_stats(
            logits[kept, column],
            (labels[kept, column] == 1).float(),
            detail=Detail.HISTOGRAMS,
            elements=elements[kept, column],
        )
        as_deleted({name: stats[name][column : column + 1] for name in alone if stats[name].dim()}, alone)
        positive = kept & (labels[:, column] == 1)
        assert norms["pos_grad_norm"][column] == pytest.approx(gradient[positive, column].norm().item())
        assert norms["neg_grad_norm"][column] == pytest.approx(
            gradient[kept & ~positive, column].norm().item()
        )


@pytest.mark.parametrize("mark", [255.0, -0.5, 1.5, 1e20, math.nan])
@pytest.mark.parametrize("host", [True, False])
def test_float_ids_that_are_no_class_count_as_deleted(mark, host, monkeypatch):
    if not host:
        monkeypatch.setattr("losses.diagnostics.likelihood.on_host", lambda scores: False)
    logits, ids = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60.0) % 4
    kept = torch.arange(60) % 7 > 1
    stats = likelihood_stats(logits, torch.where(kept, ids, mark), detail=Detail.HISTOGRAMS, multiclass=True)
    alone = likelihood_stats(logits[kept], ids[kept].long(), detail=Detail.HISTOGRAMS, multiclass=True)
    as_deleted(stats, alone)
    assert stats["pool_size"] == kept.sum()


@pytest.mark.parametrize("mark", [math.nan, 0.0])
@pytest.mark.parametrize("ignore_index", [-100, 0])
def test_rows_without_class_probabilities_count_as_deleted(mark, ignore_index):
    """`ignore_index` is no class of probabilities, as in torch."""
    generator = torch.Generator().manual_seed(0)
    logits, shares = torch.randn(60, 4, generator=generator), torch.rand(60, 4, generator=generator)
    kept = torch.arange(60) % 7 > 1
    targets = torch.where(kept[:, None], shares, mark)
    stats = likelihood_stats(
        logits, targets, detail=Detail.HISTOGRAMS, multiclass=True, ignore_index=ignore_index
    )
    alone = likelihood_stats(logits[kept], shares[kept].argmax(1), detail=Detail.HISTOGRAMS, multiclass=True)
    as_deleted(stats, alone)


def test_a_label_that_rounding_puts_above_1_is_a_label():
    mixed = torch.tensor([1.0 + torch.finfo(torch.float32).eps, 0.0])
    assert likelihood_stats(torch.zeros(2), mixed, detail=Detail.COUNTS)["live_pos_count"] == 1
