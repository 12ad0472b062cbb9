"""Ridge regression, onto numbers and onto classes, in closed form over a path of regularisation."""

from collections.abc import Sequence

import numpy as np

from tlx.errors import DataError
from tlx.probes.lbfgs_path import LinearPath
from tlx.probes.standard import Scale, Standard, check_examples, check_features, check_path


def ridge_classification(
    features: np.ndarray, labels: np.ndarray, classes: int, l2: Sequence[float], *, scale: Scale = "common"
) -> LinearPath:
    """Fit `ridge_regression` to labels (N,) int: the targets are 1 for an example's class and -1 for the others.

    (scikit-learn's `RidgeClassifier`.) Raise `DataError` and `ConfigError` as it does, and for a label that is no
    class.

    >>> features = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.5], [3.0, 0.1]], np.float32)
    >>> path = ridge_classification(features, np.array([0, 0, 1, 1]), 2, [10.0, 0.01])
    >>> (features @ path.kernel[1] + path.bias[1]).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    labels = np.asarray(labels)
    check_examples(np.asarray(features), labels, classes)
    return ridge_regression(features, 2.0 * np.eye(classes)[labels] - 1.0, l2, scale=scale)


def ridge_regression(
    features: np.ndarray, targets: np.ndarray, l2: Sequence[float], *, scale: Scale = "common"
) -> LinearPath:
    """Fit least squares to features (N, D) and numbers (N, K), once for each value of `l2`.

    Minimise the mean over examples of half the sum of squared errors, plus l2 / 2 times the sum of the kernel's
    squares; the bias is not regularised. (scikit-learn's `Ridge` has `alpha`, which is N * l2.) The features are first
    centred and divided by their `scale` (`Standard`), which counts in the sum of squares, and the result is folded
    back.

    One eigendecomposition serves the whole path: of the features' (D, D) covariance, or, where there are fewer examples
    than features, of the examples' (N, N) inner products (A. Hoerl and R. Kennard, Ridge regression, 1970). It is
    computed in float64 by NumPy: in float32 the small eigenvalues would be lost in the large ones' rounding. Raise
    `DataError` for features or targets that are wrong, `ConfigError` for a bad path.

    >>> features = np.array([[0.0], [1.0], [2.0]], np.float32)
    >>> path = ridge_regression(features, np.array([[1.0], [3.0], [5.0]]), [1e-6])
    >>> (features @ path.kernel[0] + path.bias[0]).round(3).tolist()
    [[1.0], [3.0], [5.0]]
    """
    l2, features, targets = tuple(map(float, l2)), np.asarray(features), np.asarray(targets, np.float64)
    check_path(l2)
    check_features(features)
    if targets.ndim != 2 or len(targets) != len(features) or not np.isfinite(targets).all():
        raise DataError(f"targets: shape {targets.shape}, expected ({len(features)}, K) of finite numbers")
    standard = Standard.of(features, scale)
    bias = targets.mean(0)
    solve = _by_covariance if features.shape[0] >= features.shape[1] else _by_inner_products
    kernel = solve(features, standard, targets - bias[None], len(features) * np.array(l2))
    done = len(l2)
    return LinearPath(
        l2, *standard.fold(kernel, np.tile(bias, (done, 1))), np.ones(done, bool), np.ones(done, np.int32)
    )


def _by_covariance(features: np.ndarray, standard: Standard, targets: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return kernels (L, D, C): (X'X + alpha)^-1 X'Y for each alpha."""
    width = features.shape[1]
    squares, products = np.zeros((width, width)), np.zeros((width, targets.shape[1]))
    for part, block in standard.rows(features):
        squares += block.T @ block
        products += block.T @ targets[part]
    return _resolvents(squares, products, alphas)


def _by_inner_products(features: np.ndarray, standard: Standard, targets: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return the same as X' (XX' + alpha)^-1 Y."""
    duals = _resolvents(sum(block @ block.T for _, block in standard.columns(features)), targets, alphas)
    flat = duals.transpose(1, 0, 2).reshape(len(features), -1)
    found = np.empty((len(alphas), features.shape[1], targets.shape[1]))
    for part, block in standard.columns(features):
        found[:, part] = (block.T @ flat).reshape(block.shape[1], len(alphas), -1).transpose(1, 0, 2)
    return found


def _resolvents(matrix: np.ndarray, products: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return (matrix + alpha)^-1 products for each alpha, (L, …), of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    inverse = 1 / (np.maximum(values, 0.0)[None, :, None] + alphas[:, None, None])
    found: np.ndarray = vectors[None] @ (inverse * (vectors.T @ products)[None])
    return found
