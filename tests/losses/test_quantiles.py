"""Quantiles against `torch.quantile`, exactly, and against their definition where torch has none."""

import pytest
import torch

from losses import PAUCAtBudgetLoss, RecallAtQuantileLoss, SmoothAPLoss, quantiles
from losses.quantiles import ordered_float, ordered_key, quantile

MODES = ("linear", "lower", "higher", "nearest", "midpoint")
LEVELS = [0.0, 0.005, 0.1, 0.5, 0.75, 0.995, 1.0]
CAPPED = {
    "smooth_ap": lambda **options: SmoothAPLoss(3, tau_scale="iqr", **options),
    "recall": lambda **options: RecallAtQuantileLoss(3, quantile=1e-4, **options),
    "fpr": lambda **options: PAUCAtBudgetLoss(3, 0.0, 0.3, **options),
    "population": lambda **options: PAUCAtBudgetLoss(3, 0.0, 1.0, budget_basis="population", **options),
    "band": lambda **options: PAUCAtBudgetLoss(3, 0.0, 0.3, "pairwise", tau_scale="band", **options),
}


@pytest.fixture(params=["sorting", "selecting"])
def way(request, monkeypatch):
    if request.param == "selecting":
        monkeypatch.setattr(quantiles, "SELECT_ROWS", 1)
        monkeypatch.setattr(quantiles, "BLOCK_ENTRIES", 2000)
        monkeypatch.setattr(quantiles, "GROUP_CLASSES", 2)


def samples(dtype):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1001, 3, dtype=dtype, generator=generator)
    outlier = z.clone()
    outlier[5] = 1e30
    infinite = z.clone()
    infinite[:4] = torch.inf
    infinite[4:9] = -torch.inf
    return {
        "normal": z,
        "one row": z[:1],
        "two rows": z[:2],
        "ties": z.mul(2).round(),
        "equal": torch.full_like(z, -0.3),
        "outlier": outlier,
        "infinite": infinite,
        "tiny": z * 1e-40,
        "offset": z + 1e4,
    }


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", samples(torch.float32))
@pytest.mark.parametrize("mode", MODES)
def test_equals_torch_quantile_to_the_bit(mode, name, dtype):
    values = samples(dtype)[name]
    expected = torch.quantile(values, torch.tensor(LEVELS, dtype=dtype), dim=0, interpolation=mode)
    got = quantile(values, LEVELS, interpolation=mode)
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    weighted = quantile(values, LEVELS, interpolation=mode, row_weight=torch.full((len(values),), 8.3))
    torch.testing.assert_close(weighted, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", MODES)
def test_masked_rows_do_not_count(mode):
    values = samples(torch.float32)["normal"]
    mask = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    values = values.masked_fill(~mask & (torch.arange(len(values)) % 2 == 0)[:, None], torch.nan)
    got = quantile(values, 0.9, mask, interpolation=mode)
    for c in range(3):
        expected = torch.quantile(values[mask[:, c], c], 0.9, interpolation=mode)
        assert got[c] == expected


@pytest.mark.usefixtures("way")
def test_empty_mask_and_nan_among_the_masked_rows_are_nan():
    values = samples(torch.float32)["normal"]
    mask = torch.ones_like(values, dtype=torch.bool)
    mask[:, 1] = False
    values[3, 2] = torch.nan
    assert quantile(values, 0.5, mask, interpolation="linear").isnan().tolist() == [False, True, True]
    assert quantile(values[:0], 0.5, interpolation="lower").isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_exact_where_nothing_is_interpolated(dtype):
    values = samples(torch.float32)["normal"].to(dtype)
    got = quantile(values, 0.9, interpolation="higher")
    assert got.dtype == torch.float32
    assert torch.equal(got, torch.quantile(values.float(), 0.9, dim=0, interpolation="higher"))


def test_a_whole_weight_is_a_repetition_for_the_middle_of_the_table():
    values = torch.tensor([[1.0], [2.0], [3.0]])
    weight = torch.tensor([1.0, 2.0, 1.0])
    # Middles of the shares at 0.5, 2, 3.5: the levels 0, 1/2, 1 hit them, 1/4 lies half way.
    levels = [0.0, 0.25, 0.5, 1.0]
    assert quantile(values, levels, interpolation="linear", row_weight=weight)[:, 0].tolist() == [
        1,
        1.5,
        2,
        3,
    ]
    assert quantile(values, levels, interpolation="higher", row_weight=weight)[:, 0].tolist() == [1, 2, 2, 3]
    assert quantile(values, levels, interpolation="lower", row_weight=weight)[:, 0].tolist() == [1, 1, 2, 3]


def test_weights_correct_for_unequal_sampling():
    generator = torch.Generator().manual_seed(3)
    population = torch.randn(200_000, 1, generator=generator)
    inclusion = torch.where(population[:, 0] > 1, 0.5, 0.05)
    drawn = torch.rand(len(population), generator=generator) < inclusion
    got = quantile(population[drawn], 0.9, interpolation="linear", row_weight=1 / inclusion[drawn])
    wanted = torch.quantile(population[:, 0], 0.9)
    assert abs(got.item() - wanted.item()) < 0.02
    assert quantile(population[drawn], 0.9, interpolation="linear").item() > wanted.item() + 0.3


def test_rows_of_weight_zero_are_left_out():
    values = samples(torch.float64)["normal"]
    weight = (torch.arange(len(values)) % 3 > 0).double()
    expected = quantile(values[weight > 0], LEVELS, interpolation="linear")
    assert torch.equal(quantile(values, LEVELS, interpolation="linear", row_weight=weight), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_mixed_weights_stay_within_the_rows_that_count(mode, masked, dtype):
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        rows = 3 + seed * 5
        values = torch.randn(rows, 2, dtype=dtype, generator=generator)
        weight = torch.rand(rows, dtype=dtype, generator=generator).mul_(3).sub_(0.3).clamp_(min=0)
        weight[:2] = 0.7
        mask = torch.ones_like(values, dtype=torch.bool)
        if masked:
            mask = torch.rand(values.shape, generator=generator) < 0.5
            mask[:2] = True
        counted = mask & (weight > 0)[:, None]
        got = quantile(values, LEVELS, mask, interpolation=mode, row_weight=weight)
        lowest = torch.where(counted, values, torch.inf).amin(0)
        highest = torch.where(counted, values, -torch.inf).amax(0)
        assert torch.equal(got[0], lowest)
        assert torch.equal(got[-1], highest)
        assert (got.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.filterwarnings("ignore:.*is sampled down to max_pool_size")
@pytest.mark.parametrize("make", CAPPED.values(), ids=CAPPED.keys())
def test_losses_of_a_capped_pool_find_their_thresholds(make, dtype):
    generator = torch.Generator().manual_seed(0)
    for rows in range(300, 900, 100):
        logits = torch.randn(rows, 3, dtype=dtype, generator=generator)
        targets = (torch.rand(rows, 3, generator=generator) < 0.03).long()
        targets[::7] = -100
        loss_fn = make(queue_size=0, max_pool_size=200).to(dtype)
        _, stats = loss_fn(logits, targets, return_diagnostics=True)
        for name in ("loss", "score_iqr", "score_max", "t_alpha", "t_beta", "threshold", "tau_eff"):
            assert name not in stats or stats[name].isfinite().all(), name
        assert (stats["score_max"] <= logits.amax(0)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_have_the_order_of_the_floats(dtype):
    values = torch.tensor([-torch.inf, -1e30, -1.0, -1e-40, 0.0, 1e-40, 1.0, 1e30, torch.inf], dtype=dtype)
    keys = ordered_key(values)
    assert (keys.diff() > 0).all()
    assert torch.equal(ordered_float(keys), values)


def test_bad_arguments_are_named():
    values = torch.zeros(3, 1)
    with pytest.raises(ValueError, match="expected interpolation to be one of"):
        quantile(values, 0.5, interpolation="cubic")
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        quantile(values, [0.5, 1.5])


def test_compiles_without_a_graph_break():
    values = torch.randn(100, 2)
    compiled = torch.compile(
        lambda x: quantile(x, 0.9, interpolation="higher") * 2, backend="eager", fullgraph=True
    )
    assert torch.equal(compiled(values), quantile(values, 0.9, interpolation="higher") * 2)


@pytest.mark.slow
def test_twenty_million_rows():
    values = torch.rand(20_000_000, 1, generator=torch.Generator().manual_seed(0))
    got = quantile(values, 0.999, interpolation="higher")
    assert (values < got).sum() == round(0.999 * 19_999_999 + 0.5)
