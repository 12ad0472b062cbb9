"""Figures of a classifier, against counts made by hand."""

import math

import numpy as np
import pytest

from tlx.analysis import (
    Confusion,
    accuracy_interval,
    class_figures,
    confusion_matrix,
    most_confused,
)

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
