"""Softmax regression beside scikit-learn's, and the laws that a path of it keeps."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from toys import toy_features

from tlx.errors import ConfigError, DataError
from tlx.probes import softmax_regression
from tlx.probes.standard import Standard

L2 = (1.0, 0.01, 0.1)  # in no order
EXACT = {"tolerance": 1e-7, "max_iterations": 3000}


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(60, 8), (20, 40)], ids=["many", "few"])
@pytest.mark.parametrize("scale", ["common", "each"])
def test_it_finds_what_scikit_learn_finds(shape, scale):
    features, labels = toy_features(*shape)
    path = softmax_regression(features, labels, 3, L2, scale=scale, **EXACT)
    standard = Standard.of(features, scale)
    scaled = (features.astype(np.float64) - standard.mean[None]) / standard.scale[None]
    for index, l2 in enumerate(L2):
        theirs = LogisticRegression(C=1 / (len(labels) * l2), tol=1e-10, max_iter=10_000).fit(scaled, labels)
        kernel = theirs.coef_.T / standard.scale[:, None]
        np.testing.assert_allclose(path.kernel[index], kernel, rtol=2e-2, atol=3e-3 * np.abs(kernel).max())
        np.testing.assert_allclose(
            centred(features @ path.kernel[index] + path.bias[index][None]),
            centred(theirs.decision_function(scaled)),
            atol=1e-2,
        )
        assert path.kernel[index][1].tolist() == [0.0] * 3  # of the constant feature
    assert path.l2 == L2


def test_what_does_not_vary_but_for_rounding_is_not_blown_up():
    for scale in ("common", "each"):
        standard = Standard.of(np.full((61, 2), 0.1), scale)
        assert (np.abs(standard.scale - 1) == 0).all()


@pytest.mark.parametrize("l2", [1e-3, 0.1, 10.0])
def test_the_objective_is_within_the_tolerance_of_its_least_value(l2):
    features, labels = toy_features(200, 12, classes=20)
    standard = Standard.of(features)

    def objective(path):
        logits = features.astype(np.float64) @ path.kernel[0] + path.bias[0][None]
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(200), labels]
        return losses.mean() + l2 / 2 * np.square(path.kernel[0] * standard.scale[:, None]).sum()

    loose, exact = (softmax_regression(features, labels, 20, (l2,), tolerance=each) for each in (1e-2, 1e-6))
    assert loose.iterations[0] < exact.iterations[0]
    assert 0 <= objective(loose) - objective(exact) < 1e-2 * objective(exact)


def centred(logits):
    """Take off each row what all its logits share, which no probability depends on."""
    return logits - logits.mean(1, keepdims=True)


@pytest.mark.parametrize("shape", [pytest.param((60, 8), marks=pytest.mark.slow), (20, 40)], ids=["many", "few"])
def test_a_path_is_what_each_value_gives_alone_in_any_order(shape):
    features, labels = toy_features(*shape)
    whole = softmax_regression(features, labels, 3, L2, **EXACT)
    for index, l2 in enumerate(L2):
        alone = softmax_regression(features, labels, 3, (l2,), **EXACT)
        np.testing.assert_allclose(alone.kernel[0], whole.kernel[index], atol=1e-3 * np.abs(whole.kernel[index]).max())


def test_the_order_of_the_rows_does_not_matter():
    features, labels = toy_features(20, 40)
    order = np.random.default_rng(1).permutation(20)
    one, other = (softmax_regression(features[o], labels[o], 3, (0.1,), **EXACT) for o in (np.arange(20), order))
    np.testing.assert_allclose(one.kernel, other.kernel, atol=1e-3 * np.abs(one.kernel).max())


@pytest.mark.parametrize("shape", [pytest.param((60, 8), marks=pytest.mark.slow), (20, 40)], ids=["many", "few"])
def test_the_bias_is_not_regularised(shape):
    """Features that all are larger by some number change the bias alone; and with no features, it fits the counts."""
    features, labels = toy_features(*shape)
    plain, moved = (softmax_regression(f, labels, 3, (1.0,), **EXACT) for f in (features, features + np.float32(7)))
    np.testing.assert_allclose(plain.kernel, moved.kernel, atol=1e-3 * np.abs(plain.kernel).max())
    np.testing.assert_allclose(moved.bias, plain.bias - 7 * plain.kernel.sum(1), atol=5e-3)
    bare = softmax_regression(np.ones((6, 2), np.float32), np.array([0, 0, 0, 1, 1, 2]), 3, (100.0,), **EXACT)
    np.testing.assert_allclose(np.exp(bare.bias[0] - bare.bias[0][2]), [3, 2, 1], rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.ones((1, 3), np.float32), [2]),
        (np.zeros((4, 3), np.float32), [0, 1, 2, 0]),
        (np.arange(12, dtype=np.float16).reshape(4, 3), [0, 1, 1, 0]),  # the third class has no example
        (1e4 * np.eye(4, 9, dtype=np.float32), [0, 1, 2, 0]),
    ],
    ids=["one example", "nothing varies", "an absent class", "large"],
)
def test_odd_examples_are_fitted(features, labels):
    path = softmax_regression(features, np.array(labels), 3, (10.0, 1e-3))
    assert np.isfinite(path.kernel).all()
    assert np.isfinite(path.bias).all()
    assert path.converged.all()


@pytest.mark.slow
def test_it_says_what_has_not_converged():
    features, labels = toy_features(60, 8)
    path = softmax_regression(features, labels, 3, (100.0, 1e-4), max_iterations=10)
    assert path.converged.tolist() == [True, False]
    assert path.iterations[1] == 10
    assert softmax_regression(features, labels, 3, (100.0, 1e-4)).converged.all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"l2": ()}, ConfigError, "l2: \\(\\) must be"),
        ({"l2": (1.0, 0.0)}, ConfigError, "above 0"),
        ({"l2": (np.nan,)}, ConfigError, "above 0"),
        ({"l2": (1.0, 1.0)}, ConfigError, "different"),
        ({"scale": "none"}, ConfigError, "unknown scale 'none': use one of 'common', 'each'"),
        ({"tolerance": 0.0}, ConfigError, "tolerance=0.0"),
        ({"max_iterations": 0}, ConfigError, "max_iterations=0"),
        ({"labels": np.array([0, 3])}, DataError, "row 1: label 3 is none of the 3 classes"),
        ({"labels": np.array([0, -1])}, DataError, "row 1: label -1"),
        ({"labels": np.array([0])}, DataError, "give \\(N, D\\) and \\(N,\\)"),
        ({"features": np.zeros((0, 2)), "labels": np.zeros(0, int)}, DataError, "at least 1"),
        ({"features": np.array([[1.0, 2.0], [np.inf, 0.0]])}, DataError, "row 1 has features that are not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, error, words):
    given = {"features": np.eye(2), "labels": np.array([0, 1]), "classes": 3, "l2": (1.0,), **change}
    with pytest.raises(error, match=words):
        softmax_regression(**given)
