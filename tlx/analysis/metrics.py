"""Count what a classifier got right and wrong: per class, pair by pair, mistake by mistake."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassFigures:
    """Hold arrays (C,): precision, recall and F1 (NaN where undefined) and support, the examples of each class."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


@dataclass(frozen=True)
class Confusion:
    """Hold one kind of mistake: `count` of the `support` examples of class `label` were taken for `predicted`."""

    label: int
    predicted: int
    count: int
    support: int


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count the examples of each class (rows) that were taken for each class (columns): (classes, classes) int.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    from sklearn import metrics

    labels, predicted = _pair(labels, predicted)
    if not len(labels):  # which scikit-learn refuses
        return np.zeros((classes, classes), int)
    return np.asarray(metrics.confusion_matrix(labels, predicted, labels=np.arange(classes)))


def class_figures(labels: np.ndarray, predicted: np.ndarray, classes: int) -> ClassFigures:
    """Measure precision, recall and F1 of each of `classes` classes, from (N,) labels and predictions.

    A figure is NaN where it has no meaning: the precision of a class never predicted, the recall of a class without
    examples, the F1 of a class with neither.

    >>> figures = class_figures(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=3)
    >>> figures.recall.tolist(), figures.support.tolist()
    ([0.5, 1.0, nan], [2, 1, 0])
    """
    from sklearn import metrics

    labels, predicted = _pair(labels, predicted)
    if not len(labels):
        nan = np.full(classes, np.nan)
        return ClassFigures(nan, nan, nan, np.zeros(classes, int))
    figures = metrics.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(classes), zero_division=np.nan
    )
    return ClassFigures(*(np.asarray(figure) for figure in figures))


def most_confused(labels: np.ndarray, predicted: np.ndarray, most: int = 10) -> tuple[Confusion, ...]:
    """List the kinds of mistake made most often, at most `most`; of equals, the larger share of its class first.

    >>> most_confused(np.array([4, 4, 9]), np.array([9, 9, 4]), most=1)
    (Confusion(label=4, predicted=9, count=2, support=2),)
    """
    labels, predicted = _pair(labels, predicted)
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    support = np.bincount(labels)[pairs[:, 0]] if len(pairs) else counts
    order = np.lexsort((-counts / support, -counts))[:most]
    return tuple(Confusion(int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i]), int(support[i])) for i in order)


def accuracy_interval(accuracy: float, examples: int) -> tuple[float, float]:
    """Bound an accuracy measured on `examples` examples by its 95% Wilson interval.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> [round(bound, 3) for bound in accuracy_interval(0.9, 100)]
    [0.826, 0.945]
    """
    z = 1.959964  # of the normal distribution, for 95%
    middle = accuracy + z**2 / (2 * examples)
    spread = z * math.sqrt(accuracy * (1 - accuracy) / examples + (z / (2 * examples)) ** 2)
    scale = 1 + z**2 / examples
    return max((middle - spread) / scale, 0.0), min((middle + spread) / scale, 1.0)


def _pair(labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        raise ValueError(f"labels {labels.shape} and predicted {predicted.shape} must be (N,) of one length")
    return labels, predicted
