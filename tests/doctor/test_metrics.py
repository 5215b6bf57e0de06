"""The validation metrics are scikit-learn's, per class, under ties and at the edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from imbalance_doctor.metrics import METRICS, evaluate


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


def test_half_precision_and_nan_scores_are_taken_as_they_come():
    labels = torch.tensor([0, 1, 0, 1])
    assert evaluate(torch.tensor([0.1, 0.9, 0.2, 0.8], dtype=torch.bfloat16), labels)["auroc"][0] == 1
    assert np.isnan(evaluate(torch.tensor([0.1, float("nan"), 0.2, 0.8]), labels)["auroc"][0])


@pytest.mark.parametrize(
    ("scores", "targets", "budget", "message"),
    [
        (np.zeros((4, 3)), np.zeros((4, 2)), 0.1, r"got scores \[4, 3\] and targets \[4, 2\]"),
        (np.zeros(0), np.zeros(0), 0.1, "at least one row that counts; got none"),
        (np.zeros(3), np.array([0, 1, 2]), 0.1, "targets of 0 and 1"),
        (np.zeros((3, 3)), np.array([0, 1, 3]), 0.1, "class ids from 0 to 2; got 0 to 3"),
        (np.zeros((2, 2, 3)), np.zeros(2), 0.1, r"expected targets \[2, 3\] or of the scores' shape"),
        (np.zeros((2, 3)), np.full(2, -100), 0.1, "got 2 rows, all with the target -100"),
        (np.zeros(3), np.array([0, 1, 0]), 0.0, r"a budget in \(0, 1\], got 0.0"),
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


def test_an_overflow_is_no_score():
    scores = np.array([0.0, np.inf, 1.0, -1.0])
    assert np.isnan(evaluate(scores, np.array([0, 1, 1, 0]))["average_precision"]).all()


def test_classes_of_a_sequence_may_come_last():
    generator = np.random.default_rng(0)
    scores, ids = generator.standard_normal((5, 7, 3)), generator.integers(3, size=(5, 7))
    last, second = evaluate(scores, ids), evaluate(np.moveaxis(scores, -1, 1), ids)
    for name, value in second.items():
        np.testing.assert_array_equal(last[name], value, err_msg=name)
