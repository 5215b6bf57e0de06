"""The memory queue, fair samples, and the capped pool."""

import pytest
import torch
from loss_cases import batch

from losses import RecallAtQuantileLoss, SmoothAPLoss
from losses.ranking.sampling import fair_order, fair_rows, quota_sample, rows_in_order, uniform

LABELS = torch.arange(5) % 2


def feed(loss_fn, value, rows=5):
    return loss_fn(torch.full((rows, 1), float(value)), torch.arange(rows) % 2)


def held(loss_fn):
    """The queued scores, oldest first."""
    queue = loss_fn.queue
    order = (torch.arange(queue.size) + queue.head) % queue.size
    order = order[queue.born[order] >= 0]
    return queue.scores[order, 0].tolist()


def test_the_queue_keeps_the_newest_rows_in_order():
    loss_fn = SmoothAPLoss(1, queue_size=12)
    for step in range(4):
        feed(loss_fn, step)
    assert held(loss_fn) == [1.0] * 2 + [2.0] * 5 + [3.0] * 5


def test_fill_and_age_are_those_of_the_pool_that_was_ranked():
    loss_fn = SmoothAPLoss(1, queue_size=10)
    seen = []
    for step in range(5):
        _, stats = loss_fn(torch.full((5, 1), float(step)), LABELS, return_diagnostics=True)
        seen.append((stats["queue_fill"].item(), stats["queue_age"].item()))
    assert seen == [(0.0, 0), (0.5, 1), (1.0, 2), (1.0, 2), (1.0, 2)]


def test_a_reset_forgets_everything():
    loss_fn = SmoothAPLoss(1, queue_size=10)
    feed(loss_fn, 1)
    loss_fn.reset_queue()
    assert held(loss_fn) == []
    feed(loss_fn, 2)
    assert held(loss_fn) == [2.0] * 5


def test_queues_agree_once_they_hold_the_same_rows_wherever_in_the_ring_these_lie():
    one, other = SmoothAPLoss(1, queue_size=12), SmoothAPLoss(1, queue_size=12)
    for step in range(3):
        feed(one, step)
        feed(other, step)
    other.reset_queue()
    agree = []
    for step in range(3, 7):
        agree.append(bool(one.queue.digest() == other.queue.digest()))
        feed(one, step)
        feed(other, step)
    assert agree == [False, False, False, True]
    assert held(one) == held(other)
    assert one.queue.head != other.queue.head


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_queues_that_hold_other_scores_or_ages_disagree(dtype):
    def fed(values, **options):
        loss_fn = SmoothAPLoss(1, **{"queue_size": 200, **options})
        for value in values:
            loss_fn(torch.full((50, 1), float(value), dtype=dtype), torch.arange(50) % 2)
        return loss_fn.queue.digest()

    assert fed([1, 2, 3, 4]) == fed([9, 1, 2, 3, 4])
    assert fed([1, 2, 3, 4]) != fed([1, 2, 3, 5])
    assert fed([1, 2, 3, 4]) != fed([2, 1, 3, 4])
    assert fed([1, 2, 3]) != fed([1, 2, 3, 3])
    assert fed([1, 2], queue_size=0) == fed([], queue_size=0)


def test_a_frozen_queue_is_ranked_against_but_not_fed():
    loss_fn = SmoothAPLoss(1, queue_size=10)
    feed(loss_fn, 1)
    with loss_fn.freeze_queue():
        _, stats = loss_fn(torch.full((5, 1), 2.0), LABELS, return_diagnostics=True)
    assert stats["pool_size"] == 10
    assert held(loss_fn) == [1.0] * 5
    feed(loss_fn, 3)
    assert held(loss_fn) == [1.0] * 5 + [3.0] * 5


@pytest.mark.parametrize("fed", [False, True])
def test_evaluation_feeds_the_queue_only_when_asked(fed):
    loss_fn = SmoothAPLoss(1, queue_size=10, update_queue_in_eval=fed).eval()
    feed(loss_fn, 1)
    assert held(loss_fn) == [1.0] * 5 * fed


def test_an_evaluation_in_inference_mode_leaves_training_possible():
    loss_fn = SmoothAPLoss(1, queue_size=10).eval()
    with torch.inference_mode():
        loss_fn(torch.randn(5, 1, dtype=torch.float64), LABELS)
    feed(loss_fn.train(), 1)
    assert held(loss_fn) == [1.0] * 5


def test_weights_and_iid_marks_travel_through_the_queue():
    logits, targets = batch(20, 1)
    weight = torch.linspace(0.1, 2, 20, dtype=torch.float64)
    split = SmoothAPLoss(1, queue_size=20, temperature=0.1)
    split(logits[:10], targets[:10], sample_weight=weight[:10])
    got = split(logits[10:], targets[10:], sample_weight=weight[10:])
    whole = SmoothAPLoss(1, temperature=0.1)(logits, targets, sample_weight=weight)
    assert torch.allclose(got, whole, atol=1e-12)


def test_a_smaller_queue_keeps_its_newest_rows_and_a_larger_one_all():
    loss_fn = SmoothAPLoss(1, queue_size=12)
    for step in range(4):
        feed(loss_fn, step)
    loss_fn.reconfigure(queue_size=7)
    assert held(loss_fn) == [2.0] * 2 + [3.0] * 5
    loss_fn.reconfigure(queue_size=9)
    feed(loss_fn, 4)
    assert held(loss_fn) == [3.0] * 4 + [4.0] * 5
    assert loss_fn.config()["queue_size"] == 9


def test_wider_logits_widen_the_queue_and_never_narrow_it():
    loss_fn = SmoothAPLoss(1, queue_size=20)
    loss_fn(torch.randn(5, 1).half(), LABELS)
    assert loss_fn.queue.scores.dtype == torch.float16
    wide = torch.randn(5, 1, dtype=torch.float64)
    loss_fn(wide, LABELS)
    loss_fn(torch.randn(5, 1).half(), LABELS)
    assert loss_fn.queue.scores.dtype == torch.float64
    assert torch.isin(wide, loss_fn.queue.scores).all()


# ---------------------------------------------------------------------------------------------- draws


def test_draws_are_uniform_and_repeat_for_a_step_alone():
    step = torch.tensor(3)
    draws = uniform(step, 200_000, stream=1)
    assert torch.equal(draws, uniform(step, 200_000, stream=1))
    assert not torch.equal(draws, uniform(step + 1, 200_000, stream=1))
    assert not torch.equal(draws, uniform(step, 200_000, stream=2))
    assert draws.min() >= 0
    assert draws.max() < 1
    # Chi-square over 100 bins of 2,000: mean 99, standard deviation 14; ±5 of them.
    counts = (draws * 100).long().bincount(minlength=100).double()
    assert abs(((counts - 2_000) ** 2 / 2_000).sum().item() - 99) < 70
    other = uniform(step + 1, 200_000, stream=1)
    assert abs(torch.corrcoef(torch.stack([draws, other]))[0, 1].item()) < 0.012


def test_draws_leave_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    loss_fn = SmoothAPLoss(1, queue_size=4)
    feed(loss_fn, 1, rows=50)
    assert torch.equal(before, torch.get_rng_state())


def test_a_fair_order_gives_every_row_the_same_chance_and_every_stratum_its_share():
    stratum = torch.tensor([0] * 3 + [1] * 30 + [2] * 67)
    keep = torch.ones(100, dtype=torch.bool)
    keep[90:] = False
    chance = torch.zeros(100)
    for step in range(400):
        rows, count = fair_order(stratum, keep, 20, torch.tensor(step))
        assert count == 20
        assert rows.unique().numel() == 20
        assert torch.equal(rows, rows.sort().values)
        chance[rows] += 1 / 400
        for c, size in ((0, 3), (1, 30), (2, 57)):
            share = size * 20 / 90
            assert int(share) <= int((stratum[rows] == c).sum()) <= int(share) + 1
    # 20/90 ± 4 standard deviations of 400 draws.
    assert (chance[:90] - 20 / 90).abs().max() < 4 * (0.22 * 0.78 / 400) ** 0.5
    assert chance[90:].sum() == 0


def test_the_host_draws_the_rows_that_a_device_would():
    for rows, size, strata in ((10, 1, 2), (1000, 7, 2), (1000, 999, 30)):
        stratum = torch.randint(strata, (rows,), generator=torch.Generator().manual_seed(0))
        keep = torch.ones(rows, dtype=torch.bool)
        for step in map(torch.tensor, range(20)):
            assert torch.equal(fair_rows(stratum, size, step), fair_order(stratum, keep, size, step)[0])


def test_a_fair_order_keeps_everything_that_fits():
    keep = torch.tensor([True, False, True, True, False, True])
    rows, count = fair_order(torch.zeros(6, dtype=torch.long), keep, 5, torch.tensor(0))
    assert rows[:count].tolist() == [0, 2, 3, 5]
    rows, count = rows_in_order(keep)
    assert rows[:count].tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize(
    ("sizes", "size"), [((10, 500), 64), ((3, 40, 400), 60), ((1,) * 30, 8), ((5, 5), 64)]
)
def test_a_quota_sample_is_as_likely_as_it_says(sizes, size):
    stratum = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    counted = torch.ones_like(stratum, dtype=torch.bool)
    size = min(size, len(stratum))
    quota = max(1, size // (2 * len(sizes)))
    seen = torch.zeros(len(stratum), dtype=torch.float64)
    for step in range(500):
        rows, probability = quota_sample(stratum, len(sizes), counted, size, torch.tensor(step))
        assert rows.unique().numel() == size
        seen[rows] += 1 / 500
        if quota * len(sizes) <= size:
            for c, n in enumerate(sizes):
                assert (stratum[rows] == c).sum() >= min(n, quota)
    assert probability.sum().item() == pytest.approx(size)
    for c in range(len(sizes)):
        mine = stratum == c
        p = probability[mine][0].item()
        slack = 5 * (p * (1 - p) / (500 * int(mine.sum()))) ** 0.5 + 1e-9
        assert seen[mine].mean().item() == pytest.approx(p, abs=slack)


def test_the_cap_guarantees_a_quota_of_each_class():
    targets = torch.zeros(2_000, dtype=torch.long)
    targets[:30] = 1
    loss_fn = SmoothAPLoss(1, queue_size=0, max_pool_size=100)
    with pytest.warns(UserWarning, match="a pool of 2000 rows is sampled down to max_pool_size=100") as seen:
        _, stats = loss_fn(torch.randn(2_000, 1), targets, return_diagnostics=True)
    assert seen[0].filename == __file__
    assert stats["pool_size"] == 100
    # 100 // (2 · 2 classes), and a few of the five that are left by chance.
    assert stats["pool_pos_count"] >= 25
    loss_fn(torch.randn(2_000, 1), targets)  # warned of once


def test_a_cap_that_does_not_bite_changes_nothing():
    logits, targets = batch(50, 1)
    torch.testing.assert_close(
        SmoothAPLoss(1, queue_size=100, max_pool_size=60)(logits, targets),
        SmoothAPLoss(1, queue_size=100)(logits, targets),
    )


@pytest.mark.filterwarnings("ignore:.*is sampled down")
def test_thresholds_of_a_capped_pool_are_those_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    targets = (torch.rand(20_000, generator=generator) < 0.01).long()
    logits[targets == 1] += 2
    whole = RecallAtQuantileLoss(1, queue_size=0, quantile=0.05)
    capped = RecallAtQuantileLoss(1, queue_size=0, quantile=0.05, max_pool_size=2_000)
    theta = whole(logits, targets, return_diagnostics=True)[1]["threshold"]
    estimates = []
    for draw in range(30):
        capped.queue.step.fill_(draw)
        with torch.no_grad():
            estimates.append(capped(logits, targets, return_diagnostics=True)[1]["threshold"])
    # Half of the capped pool is positive at first sight; unweighted, θ would lie near 2.
    assert torch.stack(estimates).mean().item() == pytest.approx(theta.item(), abs=0.03)
