"""Validation that is collected in batches keeps within its bound."""

import numpy as np
import pytest
import torch

from imbalance_doctor import Doctor
from imbalance_doctor.live.validation import sample as evaluation
from imbalance_doctor.live.validation.sample import Evaluation, Sample


def collected(rows, batch, classes=1):
    """What an evaluation of rows 0, 1, 2, ... hands on."""
    heard = []
    whole = Evaluation(lambda scores, targets: heard.append((scores, targets)))
    for first in range(0, rows, batch):
        numbers = torch.arange(first, min(first + batch, rows))
        whole.update(numbers[:, None].expand(-1, classes), numbers)
    whole.close()
    whole.close()  # does nothing
    ((scores, targets),) = heard
    assert (scores == targets).all()
    return targets[:, 0]


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
@pytest.mark.parametrize(("rows", "stride"), [(100, 1), (101, 2), (200, 2), (201, 4), (800, 8), (1000, 16)])
def test_beyond_the_bound_every_second_row_stays_then_every_fourth(monkeypatch, rows, stride, batch):
    monkeypatch.setattr(evaluation, "KEPT", 100)
    np.testing.assert_array_equal(collected(rows, batch), np.arange(0, rows, stride))


def test_the_bound_is_of_scores_and_not_of_rows(monkeypatch):
    monkeypatch.setattr(evaluation, "KEPT", 100)
    np.testing.assert_array_equal(collected(100, 7, classes=4), np.arange(0, 100, 4))


def test_no_more_than_its_share_of_the_bound_is_held_at_any_time(monkeypatch):
    monkeypatch.setattr(evaluation, "KEPT", 2000)
    rows = Sample(ranks=2)
    for _ in range(200):
        rows.add(torch.zeros(64), torch.zeros(64))
        assert sum(scores.size for scores, _ in rows._batches) <= 1000
        assert all(kept.base is None for batch in rows._batches for kept in batch)  # no view of more
    assert rows.stride == 16


def test_a_sample_has_the_metrics_of_the_whole(monkeypatch):
    monkeypatch.setattr(evaluation, "KEPT", 20_000)
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(100_000, generator=generator) < 0.1).long()
    scores = torch.randn(100_000, generator=generator) + targets
    with Doctor(None, on_finding="log") as doctor:
        doctor.step()
        doctor.log_eval(scores, targets)
        with doctor.evaluation() as validation:
            for part in range(0, len(targets), 999):
                validation.update(scores[part : part + 999], targets[part : part + 999])
    whole, sample = (record.metrics for record in doctor.run.evaluations)
    assert sample["rows"] == 12_500
    for name in ("auroc", "average_precision", "positive_rate", "recall_at_default"):
        assert sample[name] == pytest.approx(whole[name], abs=0.03), name
