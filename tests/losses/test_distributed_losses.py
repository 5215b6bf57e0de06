"""Losses on several ranks equal one process on the concatenated batch."""

import pytest
import ranks
import torch
import torch.multiprocessing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[2, 4], ids=["2 ranks", "4 ranks"])
def results(request, tmp_path_factory):
    """What each rank measured; all cases run in one process group a world size."""
    world = request.param
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(
        ranks.run, (world, str(folder / "rendezvous"), str(folder / "out")), nprocs=world
    )
    return [torch.load(folder / f"out.{rank}") for rank in range(world)]


@pytest.mark.parametrize("shards", ["even", "uneven, one empty"])
@pytest.mark.parametrize("name", ranks.CASES)
def test_ddp_gradients_are_those_of_one_process(results, name, shards):
    for rank in results:
        ratios, gradient_gap, loss_gap, same_state, bits = rank["exactness"][name, shards]
        assert ratios == pytest.approx([1.0] * 3, abs=1e-5)
        assert gradient_gap < 1e-12
        assert loss_gap < 1e-12
        assert same_state, "queues must hold the same rows in the same order"
        assert bits == results[0]["exactness"][name, shards][4], "and the very same ones on every rank"


@pytest.mark.parametrize("name", ranks.SHARDED)
def test_gradients_that_fsdp_reduces_are_those_of_one_process(results, name):
    for rank in results:
        assert rank["sharded"][name] < 1e-12


@pytest.mark.parametrize("name", ranks.CASES)
def test_a_forward_takes_one_collective_for_each_loss_and_a_backward_none(results, name):
    expected = 2 if name.startswith("blend") else 1
    for rank in results:
        assert sum(rank["collectives"][name].values()) == expected, rank["collectives"][name]


@pytest.mark.parametrize("name", [name for name in ranks.CASES if "focal" in name and "blend" not in name])
def test_focal_losses_reduce_scalars_and_gather_nothing(results, name):
    for rank in results:
        assert rank["collectives"][name] == {"all_reduce": 1}


def test_a_queue_of_one_rank_keeps_its_rows_where_buffers_are_broadcast(results):
    for rank, result in enumerate(results):
        assert result["own_rows"] == ([40, 24, 0], [40, 0, 24])[rank % 2]


def test_elements_of_a_focal_loss_stay_local(results):
    assert [rank["none_is_local"] for rank in results] == [2 + r for r in range(len(results))]


def test_gathering_is_decided_at_each_forward(results):
    for rank in results:
        automatic, required = rank["before_init"]
        assert automatic is False
        assert required.startswith("expected an initialised process group for gather_distributed=True")


@pytest.mark.parametrize("name", ranks.CASES)
def test_a_validation_on_one_rank_waits_for_nobody(results, name):
    assert results[0]["alone"][name] < 1e-12


@pytest.mark.parametrize("name", ranks.CASES)
def test_a_validation_that_is_to_gather_is_that_of_all_rows(results, name):
    assert max(rank["validated"][name] for rank in results) < 1e-12


def test_rows_of_one_rank_alone_enter_no_queue_that_ranks_share(results):
    for rank in results:
        assert rank["shared queue"] == results[0]["shared queue"]
        assert rank["shared queue"][1] == 0, "no rank's queue is apart"


def test_who_waits_for_a_rank_that_never_calls_says_what_to_do(results):
    for name, told in results[0]["absent"].items():
        assert told is not None, name
        assert told.startswith(f"expected every rank to call {name} at this point, but another rank did not")
        assert "use torch.no_grad() or gather_distributed=False" in told


def test_every_rank_draws_and_queues_the_same_rows(results):
    for rank in results[1:]:
        assert torch.equal(rank["queue"], results[0]["queue"])


def test_the_public_gather_keeps_rank_order_and_has_the_exact_adjoint(results):
    world = len(results)
    rows = torch.cat([torch.full((r + 1, 2), float(r)) for r in range(world)]).double()
    scale = sum(range(1, world + 1))
    start = 0
    for r, rank in enumerate(results):
        assert torch.equal(rank["gather"]["rows"], rows)
        assert rank["gather"]["equal"]
        own = torch.arange(start + 1.0, start + r + 2)[:, None].expand(-1, 2).double() * scale
        assert torch.equal(rank["gather"]["grad"], own)
        start += r + 1


def test_a_named_process_group_is_ranked_alone(results):
    if len(results) < 4:
        assert all(rank["subgroup"] is None for rank in results)
        return
    assert [rank["subgroup"] for rank in results] == [
        [0.0, 1.0],
        [0.0, 1.0],
        [0.0, 2.0, 3.0],
        [0.0, 2.0, 3.0],
    ]
