"""Count what a classifier got right and wrong: per class, pair by pair, mistake by mistake, by how sure it was."""

import math
from dataclasses import dataclass

import numpy as np

from tlx.errors import ConfigError


@dataclass(frozen=True)
class ClassFigures:
    """Hold arrays (C,): precision, recall and F1 (NaN where undefined) and support, the examples of each class."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Hold arrays, a value for each bin of confidence: its examples, their accuracy and their mean confidence.

    The last two are NaN where a bin has no examples.
    """

    count: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray


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


def calibration(correct: np.ndarray, confidence: np.ndarray, bins: int = 15) -> Calibration:
    """Compare accuracy and confidence in bins of equal width: bin i holds the confidences above i / bins.

    `correct` (N,) says which predictions are right, `confidence` (N,) is their probability. Raise `ConfigError` for
    fewer than one bin.

    >>> calibration(np.array([True, True, False]), np.array([0.9, 0.7, 0.6]), bins=2).accuracy.round(2).tolist()
    [nan, 0.67]
    """
    if bins < 1:
        raise ConfigError(f"bins: {bins} is not 1 or more")
    correct, confidence = (each.astype(np.float64) for each in _pair(correct, confidence))
    place = np.clip(np.ceil(np.nan_to_num(confidence) * bins) - 1, 0, bins - 1).astype(int)
    count = np.bincount(place, minlength=bins)
    occupied = np.where(count > 0, count, np.nan)
    means = [np.bincount(place, weights=each, minlength=bins) / occupied for each in (correct, confidence)]
    return Calibration(count, *means)


def expected_calibration_error(correct: np.ndarray, confidence: np.ndarray, bins: int = 15) -> float:
    """Measure how far confidence is from accuracy: the mean distance of the two over bins, weighed by their examples.

    Arguments are those of `calibration`; NaN without examples or where a confidence is NaN. (C. Guo et al., On
    calibration of modern neural networks, 2017, arXiv:1706.04599.)

    >>> round(expected_calibration_error(np.array([True, True, False, False]), np.array([0.9, 0.9, 0.9, 0.2])), 3)
    0.225
    """
    found = calibration(correct, confidence, bins)
    held = found.count > 0
    distances = np.abs(found.accuracy - found.confidence)[held]
    return float(np.average(distances, weights=found.count[held])) if held.any() else math.nan


def top_k_accuracy(labels: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Measure the share of examples whose label is among the k most probable classes.

    `labels` is (N,), `probabilities` (N, C); of equal probabilities the lower class counts as the more probable, as for
    `argmax`. NaN without examples. Raise `ConfigError` for k below 1.

    >>> top_k_accuracy(np.array([0, 2]), np.array([[0.3, 0.6, 0.1], [0.5, 0.4, 0.1]]), k=2)
    0.5
    """
    if k < 1:
        raise ConfigError(f"k: {k} is not 1 or more")
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities):
        raise ValueError(f"labels {labels.shape} must be (N,), probabilities {probabilities.shape} (N, C)")
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean()) if len(labels) else math.nan


def _pair(labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        raise ValueError(f"labels {labels.shape} and predicted {predicted.shape} must be (N,) of one length")
    return labels, predicted
