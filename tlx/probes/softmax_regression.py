"""Softmax regression: one class for each example, over a path of regularisation."""

from collections.abc import Sequence

import numpy as np
import optax

from tlx.probes.lbfgs_path import LinearPath, lbfgs_path
from tlx.probes.standard import Scale, check_examples, check_path


def softmax_regression(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    l2: Sequence[float],
    *,
    scale: Scale = "common",
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
) -> LinearPath:
    """Fit multinomial logistic regression to features and labels, once for each value of `l2`, by `lbfgs_path`.

    Minimise the mean cross-entropy plus l2 / 2 times the sum of the kernel's squares; the bias is not regularised.
    (scikit-learn's `LogisticRegression` has `C`, which is 1 / (N * l2).)

    Args:
        features: (N, D) of any floating type.
        labels: (N,) int, the numbers of the classes.
        classes: how many there are.
        l2: the path of regularisation, different numbers above 0.
        scale: what features are divided by, once they are centred (`tlx.probes.standard`).
        tolerance: of the objective, relative.
        max_iterations: gradients of one fit.

    Returns:
        A model for each value of `l2`.

    Raises:
        DataError: for features or labels that are wrong.
        ConfigError: for a bad path or bad limits.

    >>> features = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.5], [3.0, 0.1]], np.float32)
    >>> path = softmax_regression(features, np.array([0, 0, 1, 1]), 2, [10.0, 0.01])
    >>> path.kernel.shape, path.converged.tolist()
    ((2, 2, 2), [True, True])
    >>> (features @ path.kernel[1] + path.bias[1]).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    l2, features, labels = tuple(map(float, l2)), np.asarray(features), np.asarray(labels)
    check_path(l2)
    check_examples(features, labels, classes)
    return lbfgs_path(
        features,
        labels.astype(np.int32),
        classes,
        l2,
        optax.softmax_cross_entropy_with_integer_labels,
        scale=scale,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
