"""Ridge regression beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier
from toys import toy_features

from tlx.probes import ridge_classification
from tlx.probes.standard import Standard

L2 = (10.0, 1e-6, 0.1)


@pytest.mark.parametrize("shape", [(60, 8), (20, 40)], ids=["many", "few"])
@pytest.mark.parametrize("scale", ["common", "each"])
def test_it_finds_what_scikit_learn_finds(shape, scale):
    features, labels = toy_features(*shape)
    path = ridge_classification(features, labels, 3, L2, scale=scale)
    standard = Standard.of(features, scale)
    scaled = (features.astype(np.float64) - standard.mean[None]) / standard.scale[None]
    for index, l2 in enumerate(L2):
        alpha = len(labels) * l2
        theirs = Ridge(alpha=alpha).fit(scaled, 2.0 * np.eye(3)[labels] - 1)
        logits = features.astype(np.float64) @ path.kernel[index] + path.bias[index][None]
        np.testing.assert_allclose(path.kernel[index] * standard.scale[:, None], theirs.coef_.T, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(logits, theirs.predict(scaled), rtol=1e-4, atol=1e-4)
        classifier = RidgeClassifier(alpha=alpha).fit(scaled, labels)
        assert logits.argmax(1).tolist() == classifier.predict(scaled).tolist()


def test_few_examples_and_many_agree_where_they_meet():
    """Sixteen examples are solved by their inner products, and the same with a constant feature less by covariance."""
    features, labels = toy_features(16, 17)
    kept = np.delete(features, 1, axis=1)
    by_products, by_covariance = (ridge_classification(f, labels, 3, (0.1,), scale="each") for f in (features, kept))
    np.testing.assert_allclose(np.delete(by_products.kernel, 1, axis=1), by_covariance.kernel, rtol=1e-4, atol=1e-6)


def test_the_bias_is_not_regularised():
    features, labels = toy_features(20, 40)
    plain, moved = (ridge_classification(f, labels, 3, (1e3,)) for f in (features, features + np.float32(7)))
    np.testing.assert_allclose(plain.kernel, moved.kernel, atol=1e-5 * np.abs(plain.kernel).max() + 1e-9)
    np.testing.assert_allclose(moved.bias, plain.bias - 7 * plain.kernel.sum(1), atol=1e-5)


def test_odd_examples_are_fitted():
    for features, labels in ((np.ones((1, 3)), [2]), (np.zeros((4, 3), np.float16), [0, 1, 2, 0])):
        path = ridge_classification(features, np.array(labels), 3, (1.0,))
        np.testing.assert_array_equal(path.kernel, 0)
        np.testing.assert_allclose(path.bias[0], (2 * np.eye(3)[labels] - 1).mean(0), rtol=1e-6)
