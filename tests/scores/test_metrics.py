"""The validation metrics are scikit-learn's, per class, under ties and at the edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from imbalance_doctor.scores.metrics import METRICS, evaluate, sheet


@st.composite
def binary_problems(draw):
    """Scores with many ties, and labels with at least one row of each class."""
    rows = draw(st.integers(2, 200))
    seed = draw(st.integers(0, 2**32 - 1))
    decimals = draw(st.sampled_from([0, 1, 8]))
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < draw(st.sampled_from([0.02, 0.3, 0.9]))
    labels[0], labels[-1] = True, False
    return np.round(rng.normal(size=rows), decimals), labels.astype(int)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(binary_problems())
def test_ranking_metrics_agree_with_scikit_learn(problem):
    scores, labels = problem
    got = evaluate(scores, labels, budget=0.1)
    assert got["average_precision"][0] == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
    assert got["auroc"][0] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    # scikit-learn standardises the partial area; undo it (McClish 1989).
    standard, low, high = roc_auc_score(labels, scores, max_fpr=0.1), 0.1**2 / 2, 0.1
    area = low + (high - low) * (2 * standard - 1)
    assert got["partial_auc"][0] == pytest.approx(area / 0.1, abs=1e-5)


def test_default_decision_is_half_for_one_logit_and_argmax_for_several():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(500, 3)), rng.integers(0, 3, 500)
    got = evaluate(torch.tensor(logits), torch.tensor(labels))
    predicted = logits.argmax(1)
    for c in range(3):
        assert got["recall_at_default"][c] == pytest.approx(recall_score(labels == c, predicted == c))
        assert got["precision_at_default"][c] == pytest.approx(precision_score(labels == c, predicted == c))
    one = evaluate(logits[:, 0], labels == 0)
    assert one["recall_at_default"][0] == pytest.approx(recall_score(labels == 0, logits[:, 0] >= 0))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.sampled_from([1.0, 10.0, 300.0]))
def test_classes_that_exclude_each_other_rank_rows_by_their_probability(seed, classes, scale):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(120) % classes)
    logits = scale * rng.normal(size=(120, classes)) + scale * np.eye(classes)[labels]
    shifted = logits + 50.0 * rng.normal(size=(120, 1))  # a softmax does not see this
    got = evaluate(shifted, labels)
    for c in range(classes):
        # Log-odds by the definition, which unlike probabilities do not tie at 1.
        odds = logits[:, c] - np.logaddexp.reduce(np.delete(logits, c, axis=1), axis=1)
        assert got["auroc"][c] == pytest.approx(roc_auc_score(labels == c, odds), abs=1e-6)
        assert got["average_precision"][c] == pytest.approx(
            average_precision_score(labels == c, odds), abs=1e-6
        )
        column = roc_auc_score(labels == c, logits[:, c])
        assert evaluate(logits, labels, by_column=True)["auroc"][c] == pytest.approx(column, abs=1e-6)


def test_ignored_targets_are_as_good_as_absent_and_places_of_a_sequence_are_rows():
    rng = np.random.default_rng(3)
    logits, ids = rng.normal(size=(8, 3, 20)), rng.integers(0, 3, (8, 20))
    ids[rng.random((8, 20)) < 0.3] = -100
    counted = ids != -100
    expected = evaluate(np.moveaxis(logits, 1, -1)[counted], ids[counted])
    got = evaluate(logits, ids)
    labels = (ids[:, None] == np.arange(3)[:, None]).astype(int)
    labels[:, 0][rng.random((8, 20)) < 0.3] = 255
    by_label = evaluate(logits, labels, ignore_index=255)
    for name in METRICS:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
        kept = labels[:, 0] != 255
        alone = evaluate(logits[:, 0][kept], labels[:, 0][kept])
        np.testing.assert_array_equal(by_label[name][0], alone[name][0], err_msg=name)
        np.testing.assert_array_equal(
            by_label[name][1], evaluate(logits[:, 1].ravel(), labels[:, 1].ravel())[name][0], err_msg=name
        )


def test_recall_at_budget_counts_rows():
    scores, labels = np.arange(100.0), np.zeros(100, int)
    labels[[99, 95, 10]] = 1
    assert evaluate(scores, labels, budget=0.05)["recall_at_budget"][0] == pytest.approx(2 / 3)


def test_calibration_error_is_zero_for_true_probabilities_and_large_for_inflated_ones():
    rng = np.random.default_rng(1)
    logits = rng.normal(-3, 1, 200_000)
    labels = (rng.random(200_000) < 1 / (1 + np.exp(-logits))).astype(int)
    assert evaluate(logits, labels)["calibration_error"][0] < 0.005
    assert evaluate(logits + 3, labels)["calibration_error"][0] > 0.3


def test_multi_label_is_a_column_at_a_time():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(300, 4)), (rng.random((300, 4)) < 0.2).astype(int)
    together = evaluate(logits, labels)
    for c in range(4):
        alone = evaluate(logits[:, c], labels[:, c])
        for name in METRICS:
            np.testing.assert_array_equal(together[name][c], alone[name][0], err_msg=name)


@pytest.mark.parametrize("labels", [np.zeros(50, int), np.ones(50, int)])
def test_a_class_without_positives_or_negatives_has_no_ranking_metric(labels):
    got = evaluate(np.linspace(-1, 1, 50), labels)
    assert np.isnan(got["average_precision"][0])
    assert np.isnan(got["auroc"][0])
    assert got["positives"][0] == labels.sum()


def test_half_precision_is_taken_as_it_comes():
    labels = torch.tensor([0, 1, 0, 1])
    assert evaluate(torch.tensor([0.1, 0.9, 0.2, 0.8], dtype=torch.bfloat16), labels)["auroc"][0] == 1


@pytest.mark.parametrize(
    ("scores", "targets", "budget", "message"),
    [
        (np.zeros((4, 3)), np.zeros((4, 2)), 0.1, r"got scores \[4, 3\] and targets \[4, 2\]"),
        (np.zeros(0), np.zeros(0), 0.1, "at least one row that counts, got none"),
        (np.zeros(3), np.array([255, -1, np.nan]), 0.1, "got 3 rows, all with the target -1, 255, nan"),
        (np.zeros((3, 3)), np.array([3, 4, 3]), 0.1, "got 3 rows, all with the target 3, 4"),
        (np.zeros((2, 2, 3)), np.zeros(2), 0.1, r"expected targets \[2, 3\] or of the scores' shape"),
        (np.zeros((2, 3)), np.full(2, -100), 0.1, "got 2 rows, all with the target -100"),
        (np.zeros(3), np.array([0, 1, 0]), 0.0, r"budget to lie in \(0, 1\], got 0.0"),
    ],
)
def test_input_that_does_not_fit_is_named(scores, targets, budget, message):
    with pytest.raises(ValueError, match=message):
        evaluate(scores, targets, budget=budget)


# --- masks and layouts --------------------------------------------------------------------------------


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("masked", ["some", "all but the true class of one row"])
def test_a_class_that_is_masked_is_one_with_a_very_low_logit(masked, by_column):
    generator = np.random.default_rng(0)
    ids, scores = generator.integers(4, size=500), generator.standard_normal((500, 4))
    scores[np.arange(500), ids] += 1.0
    mask = generator.random((500, 4)) < 0.1 if masked == "some" else np.arange(500)[:, None] == [7] * 4
    mask[np.arange(500), ids] = False
    found = evaluate(np.where(mask, -np.inf, scores), ids, by_column=by_column)
    expected = evaluate(np.where(mask, -700.0, scores), ids, by_column=by_column)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


# --- what does not count ------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("label", [255, -1, np.nan, 1.5])
def test_a_label_that_is_neither_0_nor_1_does_not_count_in_its_column(label, columns):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(400, columns)), (rng.random((400, columns)) < 0.3).astype(float)
    void = rng.random((400, columns)) < 0.2
    got = evaluate(logits, np.where(void, label, labels))
    for c in range(columns):
        kept = ~void[:, c]
        expected = evaluate(logits[kept, c], labels[kept, c])
        for name in METRICS:
            np.testing.assert_array_equal(got[name][c], expected[name][0], err_msg=name)


@pytest.mark.parametrize("label", [3, -1, 255, np.nan, 0.5])
def test_an_id_that_is_no_classs_does_not_count(label):
    rng = np.random.default_rng(0)
    logits, ids, void = rng.normal(size=(400, 3)), rng.integers(0, 3, 400), rng.random(400) < 0.2
    got, expected = evaluate(logits, np.where(void, label, ids)), evaluate(logits[~void], ids[~void])
    for name in METRICS:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_row_without_a_score_does_not_count(score, columns):
    rng = np.random.default_rng(0)
    logits, ids = rng.normal(size=(400, columns)), rng.integers(0, max(columns, 2), 400)
    broken = rng.random(400) < 0.1
    hurt = logits.copy()
    hurt[broken, -1] = score
    got, expected = evaluate(hurt, ids), evaluate(logits[~broken], ids[~broken])
    for name in METRICS:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    nothing = evaluate(np.full_like(logits, score), ids)
    assert not nothing["rows"].any()
    assert np.isnan(nothing["auroc"]).all()


def test_a_soft_label_is_positive_from_a_half_on():
    logits, soft = np.linspace(-1, 1, 6), np.array([0.0, 0.1, 0.5, 0.49, 0.9, 1.0])
    got, expected = evaluate(logits, soft), evaluate(logits, soft >= 0.5)
    for name in METRICS:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("scores", "targets", "said"),
    [
        (
            np.zeros(4),
            np.array([0, 1, 255, -1]),
            {"strange": "2 of 4 targets are other than 0 and 1 (-1, 255)"},
        ),
        (np.zeros(3), np.array([0, 1, np.nan]), {"unlabelled": "1 of 3 targets are nan"}),
        (np.zeros((3, 2)), np.array([0, 1, 2]), {"strange": "1 of 3 targets are outside 0 to 1 (2)"}),
        (np.array([0, np.nan, 1]), np.array([0, 1, 1]), {"unscored": "1 scores are not finite"}),
        (np.array([[0, 1], [np.nan, 1]]), np.array([0, 1]), {"unscored": "1 rows of scores are not finite"}),
        (np.zeros(3), np.array([0, 1, -100]), {}),
        (np.array([0, -np.inf, 1]), np.array([0, 0, 1]), {}),
    ],
)
def test_what_does_not_count_is_said(scores, targets, said):
    assert sheet(scores, targets).left_out == said


# --- ties ---------------------------------------------------------------------------------------------


@st.composite
def tied_problems(draw):
    """Scores with few distinct values and labels, of each of the three tasks, in each precision."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.integers(2, 120)), draw(st.sampled_from([1, 2, 4]))
    scores = rng.integers(-3, 4, (rows, columns)) * draw(st.sampled_from([0.1, 0.5, 20.0]))
    scores[rng.random((rows, columns)) < draw(st.sampled_from([0.0, 0.1]))] = -np.inf
    multi_label = draw(st.booleans())
    shape, classes = ((rows, columns), 2) if multi_label else (rows, max(columns, 2))
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16]))
    return scores.astype(dtype), rng.integers(0, classes, shape), rng.permutation(rows)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(tied_problems(), st.booleans(), st.sampled_from([0.01, 0.1, 0.37]))
def test_no_metric_depends_on_the_order_of_the_rows(problem, by_column, budget):
    scores, labels, order = problem
    given_, other = (
        evaluate(scores[rows], labels[rows], by_column=by_column, budget=budget)
        for rows in (slice(None), order)
    )
    for name in METRICS:
        np.testing.assert_allclose(other[name], given_[name], rtol=1e-6, atol=1e-12, err_msg=name)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 5),
    st.sampled_from([np.float64, np.float32]),
    st.sampled_from(["a step of a half", "logarithms of probabilities", "shifted rows"]),
)
def test_rows_of_the_same_probability_are_tied(seed, classes, dtype, sort):
    rng = np.random.default_rng(seed)
    rows, ids = 80, rng.permutation(np.arange(80) % classes)
    tenths = rng.multinomial(10, np.ones(classes) / classes, rows)  # probabilities of whole tenths
    if sort == "a step of a half":
        logits = rng.integers(0, 4, (rows, classes)) * 0.5
        probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    else:
        probability = tenths / 10
        with np.errstate(divide="ignore"):
            logits = np.log(probability.astype(dtype))
    if sort == "shifted rows":
        logits = logits + 20.0 * rng.normal(size=(rows, 1))
    got, exact = evaluate(logits.astype(dtype), ids), np.round(probability, 10)
    for c in range(classes):
        assert got["auroc"][c] == pytest.approx(roc_auc_score(ids == c, exact[:, c]), abs=1e-6)
        precision = average_precision_score(ids == c, exact[:, c])
        assert got["average_precision"][c] == pytest.approx(precision, abs=1e-6)


@pytest.mark.parametrize(("dtype", "finest"), [(np.float64, 1e-12), (np.float32, 1e-3)])
def test_probabilities_that_round_to_1_keep_their_order(dtype, finest):
    top = (60.0 + finest * np.arange(200)).astype(dtype)
    logits = np.stack([top, np.zeros(200, dtype)], axis=1)
    ids = (np.arange(200) < 100).astype(int)  # the class's rows are the most certain of it
    assert evaluate(logits, ids)["auroc"].tolist() == [1.0, 1.0]


def test_many_close_scores_do_not_become_one_tie():
    # 200,000 rows within one unit lie closer than the rounding of 32 bits at 100.
    rng = np.random.default_rng(0)
    margin, shift = rng.random(200_000), 100.0 * rng.random(200_000)
    ids = (rng.random(200_000) < margin).astype(int)
    logits = np.stack([shift, shift + margin], axis=1).astype(np.float32)
    assert evaluate(logits, ids)["auroc"][1] == pytest.approx(roc_auc_score(ids, margin), abs=1e-4)


def test_tied_rows_share_a_bin_of_the_calibration_error():
    rng = np.random.default_rng(1)
    p = rng.choice([0.01, 0.1, 0.5], 6000, p=[0.8, 0.15, 0.05])
    labels = (rng.random(6000) < p).astype(int)
    exact = sum((p == v).mean() * abs(v - labels[p == v].mean()) for v in np.unique(p))
    assert evaluate(np.log(p / (1 - p)), np.sort(labels))["rows"] == 6000
    assert evaluate(np.log(p / (1 - p)), labels)["calibration_error"][0] == pytest.approx(exact, rel=1e-5)


def test_the_calibration_error_of_distinct_scores_is_that_of_bins_of_equal_count():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=1003), rng.integers(0, 2, 1003)
    order, p = np.argsort(logits), 1 / (1 + np.exp(-logits))
    gaps = [len(part) * abs(p[part].mean() - labels[part].mean()) for part in np.array_split(order, 15)]
    expected = sum(gaps) / 1003
    assert evaluate(logits, labels)["calibration_error"][0] == pytest.approx(expected, rel=1e-6)


def test_classes_of_a_sequence_may_come_last():
    generator = np.random.default_rng(0)
    scores, ids = generator.standard_normal((5, 7, 3)), generator.integers(3, size=(5, 7))
    last, second = evaluate(scores, ids), evaluate(np.moveaxis(scores, -1, 1), ids)
    for name, value in second.items():
        np.testing.assert_array_equal(last[name], value, err_msg=name)
