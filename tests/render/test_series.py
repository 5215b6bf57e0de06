from __future__ import annotations

import numpy as np

from imbalance_doctor.render.page.series import Steps, Track, histograms, lines, tracks

from .conftest import Case


def test_a_spike_of_one_record_survives_thinning() -> None:
    values = np.zeros(100_000)
    values[77_777] = 42.0
    (line,) = lines(Track(np.arange(100_000) * 10, values), 400, Steps())
    assert line is not None
    assert len(line["y"]) == 400
    assert max(line["hi"]) == 42
    assert max(line["y"]) < 1


def test_short_lines_are_kept_as_they_are() -> None:
    steps = Steps()
    (line,) = lines(Track(np.array([0, 10, 20]), np.array([1.0, np.nan, 3.0])), 400, steps)
    assert line == {"x": 0, "y": [1, None, 3]}
    assert steps.lists == [[0, 10, 20]]


def test_gaps_stay_gaps_and_an_empty_column_has_no_line() -> None:
    values = np.full((1000, 2), np.nan)
    values[:500, 0] = 0.5
    values[100, 0] = 0.75
    line, nothing = lines(Track(np.arange(1000), values), 10, Steps())
    assert nothing is None
    assert line is not None
    assert line["y"][:1] + line["y"][2:] == [0.5] * 4 + [None] * 5
    assert line["hi"][1] == 0.75


def test_a_line_that_never_moves_costs_two_points() -> None:
    steps = Steps()
    (line,) = lines(Track(np.arange(5000), np.full(5000, 0.1)), 400, steps)
    assert line is not None
    assert line["y"] == [0.1, 0.1]
    assert steps.lists[line["x"]][-1] > 4900


def test_the_newest_number_of_classes_counts() -> None:
    found = tracks([(0, {"a": np.zeros(2, np.float32)}), (1, {"a": np.ones(3, np.float32)})])
    assert found["a"].values.tolist() == [[1, 1, 1]]


def test_histograms_keep_every_count(binary: Case) -> None:
    records = [(r.step, r.stats) for r in binary.run.steps("pauc_at_budget")]
    by_step = {step: stats for step, stats in records if "pos_score_hist" in stats}
    (shown,) = histograms(records, [0])
    assert shown[0]["step"] == min(by_step)
    assert shown[-1]["step"] == max(by_step)
    for histogram in shown:
        stats = by_step[histogram["step"]]
        assert sum(histogram["pos"]) == stats["pos_score_hist"].sum()
        assert sum(histogram["neg"]) == stats["neg_score_hist"].sum()
        if sum(histogram["pos"]) < 10:
            assert len(histogram["pos"]) < len(histogram["neg"])
