"""Figures of a classifier, against counts made by hand."""

import math

import numpy as np
import pytest

from tlx.analysis import (
    Confusion,
    accuracy_interval,
    calibration,
    class_figures,
    confusion_matrix,
    expected_calibration_error,
    most_confused,
    top_k_accuracy,
)
from tlx.errors import ConfigError

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 0, 2, 2, 2, 0])


def test_confusion_matrix_rows_are_the_true_classes() -> None:
    assert confusion_matrix(LABELS, PREDICTED, 4).tolist() == [[1, 2, 0, 0], [1, 1, 0, 0], [1, 0, 3, 0], [0, 0, 0, 0]]


def test_class_figures() -> None:
    figures = class_figures(LABELS, PREDICTED, 4)
    np.testing.assert_allclose(figures.precision, [1 / 3, 1 / 3, 1, np.nan])
    np.testing.assert_allclose(figures.recall, [1 / 3, 1 / 2, 3 / 4, np.nan])
    np.testing.assert_allclose(figures.f1, [1 / 3, 2 / 5, 6 / 7, np.nan])
    assert figures.support.tolist() == [3, 2, 4, 0]


def test_a_class_that_was_never_predicted_scores_zero_not_nothing() -> None:
    figures = class_figures(np.array([0, 1]), np.array([0, 0]), 2)
    assert figures.f1[1] == 0
    assert figures.recall[1] == 0
    assert math.isnan(figures.precision[1])


def test_no_examples_at_all() -> None:
    none = np.array([], int)
    assert confusion_matrix(none, none, 2).tolist() == [[0, 0], [0, 0]]
    assert np.isnan(class_figures(none, none, 2).f1).all()
    assert most_confused(none, none) == ()


def test_most_confused_orders_by_count_then_by_share() -> None:
    assert most_confused(LABELS, PREDICTED) == (
        Confusion(0, 1, count=2, support=3),
        Confusion(1, 0, count=1, support=2),
        Confusion(2, 0, count=1, support=4),
    )
    assert len(most_confused(LABELS, PREDICTED, most=2)) == 2
    assert most_confused(LABELS, LABELS) == ()


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="of one length"):
        most_confused(np.zeros(2, int), np.zeros(3, int))


@pytest.mark.parametrize(("right", "examples"), [(0, 10), (81, 263), (10, 10), (521, 540)])
def test_interval_is_wilsons(right: int, examples: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(right, examples).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(accuracy_interval(right / examples, examples), expected, atol=1e-6)


CORRECT = np.array([True, False, True, True, False, True])
CONFIDENCE = np.array([0.05, 0.2, 0.5, 0.6, 0.95, 1.0])


def test_calibration_by_hand() -> None:
    """Bins hold their upper edge and not their lower one: (0, 0.25], (0.25, 0.5], (0.5, 0.75], (0.75, 1]."""
    found = calibration(CORRECT, CONFIDENCE, bins=4)
    assert found.count.tolist() == [2, 1, 1, 2]
    np.testing.assert_allclose(found.accuracy, [0.5, 1, 1, 0.5])
    np.testing.assert_allclose(found.confidence, [0.125, 0.5, 0.6, 0.975])
    error = (2 * 0.375 + 0.5 + 0.4 + 2 * 0.475) / 6
    assert expected_calibration_error(CORRECT, CONFIDENCE, bins=4) == pytest.approx(error)


def test_calibration_errors_of_one_bin_of_fifteen_and_of_perfection() -> None:
    assert expected_calibration_error(CORRECT, CONFIDENCE, bins=1) == pytest.approx(4 / 6 - 3.3 / 6)
    assert expected_calibration_error(CORRECT[:4], CONFIDENCE[:4]) == pytest.approx((0.95 + 0.2 + 0.5 + 0.4) / 4)
    shared = expected_calibration_error(np.array([True, False]), np.array([0.94, 0.96]))  # a bin of fifteen
    assert shared == pytest.approx(0.95 - 0.5)
    assert expected_calibration_error(np.arange(10) < 7, np.full(10, 0.7)) == pytest.approx(0)


def test_calibration_of_float32_at_the_ends() -> None:
    found = calibration(np.array([False, True]), np.array([0, 1], np.float32))
    assert found.count[[0, 14]].tolist() == [1, 1]
    assert expected_calibration_error(np.array([False, True]), np.array([0, 1], np.float32)) == 0


def test_no_calibration_of_nothing_and_of_no_numbers() -> None:
    assert math.isnan(expected_calibration_error(np.array([], bool), np.array([])))
    assert math.isnan(expected_calibration_error(np.array([True, True]), np.array([0.5, np.nan])))
    with pytest.raises(ConfigError, match="bins: 0 is not 1 or more"):
        calibration(CORRECT, CONFIDENCE, bins=0)
    with pytest.raises(ValueError, match="of one length"):
        calibration(CORRECT, CONFIDENCE[:2])


PROBABILITIES = np.array([[0.1, 0.2, 0.7], [0.4, 0.4, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])


@pytest.mark.parametrize(("k", "right"), [(1, 1), (2, 3), (3, 4), (9, 4)])
def test_top_k_accuracy_by_hand(k: int, right: int) -> None:
    """Of equals the first class comes first: the label of the second row is second, that of the last third."""
    labels = np.array([2, 1, 1, 1])
    assert top_k_accuracy(labels, PROBABILITIES, k) == right / 4


def test_top_1_is_the_accuracy_and_top_k_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    labels, probabilities = draw.integers(0, 6, 200), draw.dirichlet(np.ones(6), 200).astype(np.float32)
    assert top_k_accuracy(labels, probabilities, 1) == (probabilities.argmax(-1) == labels).mean()
    for k in (2, 5):
        expected = metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=np.arange(6))
        assert top_k_accuracy(labels, probabilities, k) == expected


def test_top_k_accuracy_of_nothing_and_of_what_does_not_fit() -> None:
    assert math.isnan(top_k_accuracy(np.array([], int), np.zeros((0, 3)), 1))
    with pytest.raises(ConfigError, match="k: 0 is not 1 or more"):
        top_k_accuracy(np.zeros(4, int), PROBABILITIES, 0)
    with pytest.raises(ValueError, match=r"must be \(N,\)"):
        top_k_accuracy(np.zeros(3, int), PROBABILITIES, 1)
