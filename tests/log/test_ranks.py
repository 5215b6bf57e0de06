"""Several ranks: each writes its own log, global statistics come from one, and disagreement is found."""

import json

import pytest
import torch
import torch.multiprocessing

from imbalance_doctor import Doctor, diagnose, load_run
from imbalance_doctor.log import encode, header, log_path
from imbalance_doctor.log.ranks import Comparison
from imbalance_doctor.records import LossInfo, RunInfo, StepRecord, as_array, goes_on
from imbalance_doctor.statistics import RANK_LOCAL
from losses import SmoothAPLoss
from tests.live.loop import train
from tests.log import ranks_loop


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(ranks_loop.run, (2, str(folder / "rendezvous"), str(folder)), nprocs=2)
    return folder


def codes(findings):
    return {finding.code for finding in findings if finding.severity != "info"}


@pytest.mark.slow
def test_every_rank_writes_a_file_and_what_is_global_is_in_one(runs):
    run = load_run(runs / "none")
    (other,) = run.others
    assert (run.info.rank, run.info.world_size, other.info.rank) == (0, 2, 1)
    assert all(set(record.stats) <= RANK_LOCAL for record in other.steps("ranking"))
    assert len(run.steps("ranking")[0].stats) > len(other.steps("ranking")[0].stats)
    for record in run.steps("ranking"):
        assert record.stats["live_pos_count"] + record.stats["live_neg_count"] == 128
        assert record.stats["ranks_apart"] == 0
    # What does not gather is each rank's own.
    assert all("live_pos_count" in record.stats for record in other.steps("plain"))
    assert any("2 ranks" in note for note in run.notes)


@pytest.mark.slow
def test_a_healthy_run_on_two_ranks_has_no_finding(runs):
    assert codes(diagnose(runs / "none").findings) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("no gather", "IMB601"),
        ("settings differ", "IMB602"),
        ("queue reset on one rank", "IMB602"),
        ("nan on one rank", "IMB001"),
    ],
)
def test_a_fault_of_the_ranks_is_found_post_hoc(runs, fault, code):
    assert code in codes(diagnose(runs / fault).findings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code"),
    [("no gather", "IMB601"), ("settings differ", "IMB602"), ("queue reset on one rank", "IMB602")],
)
def test_it_is_found_live_and_told_by_one_rank_where_all_see_it(runs, fault, code):
    told = [torch.load(runs / fault / f"told{rank}") for rank in range(2)]
    assert code in told[0]
    if fault != "no gather":
        assert code not in told[1]


@pytest.mark.slow
def test_what_only_one_rank_saw_names_it(runs):
    found = [f for f in diagnose(runs / "nan on one rank").findings if f.code == "IMB001"]
    assert [finding.loss for finding in found] == ["plain on rank 1"]


def record(step, loss, pool=100, name="ap", **stats):
    values = {"loss": loss, "pool_size": pool, **stats}
    return StepRecord(step, name, {key: as_array(value) for key, value in values.items()})


GATHERS = {"ap": LossInfo("ap", "smooth_ap", {"queue_size": 8}), "bce": LossInfo("bce", "bce", {})}


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        (record(5, 0.5), None),
        (record(5, 0.5 + 1e-6), None),
        (record(5, 0.6), 1.0),
        (record(5, 0.5, pool=90), 1.0),
        (record(6, 0.9), None),
        (record(5, float("nan")), None),
    ],
)
def test_logs_of_ranks_are_compared_step_by_step(other, apart):
    (told,) = Comparison(GATHERS).read_on([record(5, 0.5)], [[other]])
    assert told.stats.get("ranks_apart") == (None if apart is None else as_array(apart))


def test_losses_that_do_not_gather_may_differ_between_ranks():
    one, other = record(5, 0.5, name="bce"), record(5, 0.7, name="bce")
    assert "ranks_apart" not in Comparison(GATHERS).read_on([one], [[other]])[0].stats


def test_ranks_are_compared_on_what_is_new(monkeypatch):
    pairs = []

    def apart(one, other):
        pairs.append(one.step)
        return one.step == 3

    monkeypatch.setattr("imbalance_doctor.log.ranks._apart", apart)
    own, other = [record(step, 0.5) for step in range(6)], [record(step, 0.5) for step in range(6)]
    comparison = Comparison(GATHERS)
    first = comparison.read_on(own[:3], [other[:2]])
    assert pairs == [0, 1]
    second = comparison.read_on(own[:4], [other[:3]])
    assert pairs == [0, 1, 2]
    assert goes_on(second, first)
    third = comparison.read_on(own, [other])  # at step 3 the other one was late, and is apart
    assert not goes_on(third, second)
    assert third[3].stats["ranks_apart"] == 1.0
    assert goes_on(comparison.read_on(own, [other]), third)
    assert pairs == list(range(6))
    assert [r.step for r in comparison.read_on(own[:2], [other])] == [0, 1]  # a session began anew


def test_a_bad_value_of_one_rank_hides_nothing_of_the_others(tmp_path):
    for rank in range(3):
        lines = [header(RunInfo(rank=rank, world_size=3)), *encode(record(0, 0.5)), *encode(record(5, 0.5))]
        if rank == 1:
            lines[1] = lines[1].replace("0.5", '"x"')
        log_path(tmp_path, rank).write_text("\n".join(lines))
    run = load_run(tmp_path)
    assert [other.info.rank for other in run.others] == [2]
    assert any(
        "rank 1 was left out" in note and "rank1.jsonl:2: expected stats.loss" in note for note in run.notes
    )


# --- files that tell of other sessions ----------------------------------------------------------------


@pytest.fixture
def two_ranks(runs, tmp_path):
    """A healthy run of two ranks, to be gone on from."""
    for rank in range(2):
        name = f"diagnostics-rank{rank}.jsonl"
        (tmp_path / name).write_bytes((runs / "none" / name).read_bytes())
    return tmp_path


@pytest.mark.slow
def test_a_run_that_goes_on_with_fewer_processes_is_not_compared_with_those_that_are_gone(two_ranks):
    loss_fn = SmoothAPLoss(1, queue_size=64)
    with Doctor(two_ranks, on_finding="log") as doctor:
        doctor.watch(loss_fn, "ranking")
        train(doctor, loss_fn, steps=100, first_step=50)
        live = codes(doctor.findings)
    run = load_run(two_ranks)
    assert not run.others
    assert any("rank1.jsonl was left out: it is from an earlier session" in note for note in run.notes)
    assert codes(diagnose(run).findings) == live


@pytest.mark.slow
def test_a_rank_that_has_not_come_to_the_newest_session_is_compared_up_to_it(two_ranks):
    log = two_ranks / "diagnostics-rank0.jsonl"
    header = json.loads(log.read_text().splitlines()[0])
    with log.open("a") as file:
        file.write(json.dumps({**header, "start_step": 30}) + "\n")
    (other,) = load_run(two_ranks).others
    assert max(record.step for record in other.steps()) < 30


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", '{"kind": "run", "schema'], ids=["empty", "a torn header"])
def test_a_rank_whose_file_says_nothing_hides_nothing(two_ranks, text):
    (two_ranks / "diagnostics-rank1.jsonl").write_text(text)
    run = load_run(two_ranks)
    assert run.steps()
    assert any("rank 1 was left out" in note for note in run.notes)
