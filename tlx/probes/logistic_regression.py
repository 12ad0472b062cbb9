"""Logistic regression: whether each of several labels applies, over a path of regularisation."""

from collections.abc import Sequence

import jax
import numpy as np
import optax

from tlx.errors import DataError
from tlx.probes.lbfgs_path import LinearPath, lbfgs_path
from tlx.probes.standard import Scale, check_features, check_path


def logistic_regression(
    features: np.ndarray,
    targets: np.ndarray,
    l2: Sequence[float],
    *,
    scale: Scale = "common",
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
) -> LinearPath:
    """Fit a logistic regression for each of several labels, once for each value of `l2`, by `lbfgs_path`.

    Minimise the sum over labels of the mean binary cross-entropy, plus l2 / 2 times the sum of the kernel's squares, so
    that each label is fitted for itself; the bias is not regularised. (scikit-learn's `LogisticRegression` of one label
    has `C`, which is 1 / (N * l2).)

    Args:
        features: (N, D) of any floating type.
        targets: (N, K) bool, whether each label applies.
        l2: the path of regularisation, different numbers above 0.
        scale: what features are divided by, once they are centred (`tlx.probes.standard`).
        tolerance: of the objective, relative.
        max_iterations: gradients of one fit.

    Returns:
        A model for each value of `l2`.

    Raises:
        DataError: for features or targets that are wrong.
        ConfigError: for a bad path or bad limits.

    >>> features = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.5], [3.0, 0.1]], np.float32)
    >>> targets = np.array([[0, 1], [0, 0], [1, 1], [1, 0]], bool)
    >>> path = logistic_regression(features, targets, [10.0, 0.01])
    >>> (features @ path.kernel[1] + path.bias[1] > 0).astype(int).tolist()
    [[0, 1], [0, 0], [1, 1], [1, 0]]
    """
    l2, features, targets = tuple(map(float, l2)), np.asarray(features), np.asarray(targets)
    check_path(l2)
    check_features(features)
    if targets.ndim != 2 or len(targets) != len(features) or not np.isin(targets, (0, 1)).all():
        raise DataError(f"targets: shape {targets.shape}, expected ({len(features)}, K) of 0 and 1")
    return lbfgs_path(
        features,
        targets.astype(np.float32),
        targets.shape[1],
        l2,
        _losses,
        scale=scale,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def _losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(-1)
