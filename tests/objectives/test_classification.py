"""Classification: each term by hand, beside optax and scikit-learn, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tlx.data import ArraySource, ColumnSource
from tlx.errors import ConfigError
from tlx.objectives import Classification, mean_of, sums_of
from tlx.objectives.classification import cross_entropy

DRAW = np.random.default_rng(0)
LOGITS = jnp.asarray((3 * DRAW.normal(size=(6, 4))).astype(np.float32))
LABELS = np.array([0, 3, 1, 1, 2, 3], np.int32)
WEIGHTS = (1.0, 2.0, 0.5, 4.0)
KEY = jax.random.key(0)
SOURCE = ArraySource(np.zeros((4, 2, 2), np.uint8), [0, 1, 2, 3])


def trained_by(objective, logits=LOGITS, targets=LABELS, mask=None):
    """Return the loss that training takes the gradient of."""
    return mean_of(sums_of(objective(logits, {"target": jnp.asarray(targets)}, KEY), mask))


def by_hand(smoothing=0.0):
    """Compute each example's cross-entropy from its definition."""
    shares = np.exp(np.float64(LOGITS)) / np.exp(np.float64(LOGITS)).sum(1, keepdims=True)
    targets = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    return -(targets * np.log(shares)).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_of_each_example(smoothing):
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS, smoothing), by_hand(smoothing), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean(smoothing):
    np.testing.assert_allclose(trained_by(Classification(smoothing)), by_hand(smoothing).mean(), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_weighted_by_class(smoothing):
    weights = np.array(WEIGHTS)[LABELS]
    wanted = (weights * by_hand(smoothing)).sum() / weights.sum()
    np.testing.assert_allclose(trained_by(Classification(smoothing, WEIGHTS)), wanted, rtol=1e-5)
    assert abs(wanted - by_hand(smoothing).mean()) > 0.05


def test_equal_weights_are_no_weights():
    weighted = trained_by(Classification(class_weights=(3.0,) * 4))
    np.testing.assert_allclose(weighted, trained_by(Classification()), rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_weighs_by_what_is_missing(gamma):
    plain = by_hand()
    wanted = ((1 - np.exp(-plain)) ** gamma * plain).mean()
    np.testing.assert_allclose(trained_by(Classification(focal=gamma)), wanted, rtol=1e-5)


def test_soft_labels_that_are_sure_are_classes():
    objective = Classification()
    np.testing.assert_allclose(trained_by(objective, targets=np.eye(4)[LABELS]), trained_by(objective), rtol=1e-6)
    mixed = np.full((6, 4), 0.25, np.float32)
    wanted = optax.softmax_cross_entropy(LOGITS, mixed).mean()
    np.testing.assert_allclose(trained_by(objective, targets=mixed), wanted, rtol=1e-6)
    terms = objective(LOGITS, {"target": jnp.asarray(np.eye(4)[LABELS])})
    assert terms["accuracy"].tolist() == (np.argmax(LOGITS, 1) == LABELS).tolist()


def test_evaluation_measures_the_plain_cross_entropy():
    for objective in (Classification(0.1, WEIGHTS), Classification(focal=2.0)):
        np.testing.assert_allclose(objective(LOGITS, {"target": LABELS})["loss"], by_hand(), rtol=1e-5)


OBJECTIVES = [Classification(), Classification(0.1), Classification(0.1, WEIGHTS), Classification(focal=2.0)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_logits_far_apart_do_not_overflow(objective):
    logits = jnp.array([[1e4, -1e4, 0, 0]])
    value, gradient = jax.value_and_grad(lambda logits: trained_by(objective, logits, [1]))(logits)
    assert float(value) > 1e4
    assert bool(jnp.isfinite(gradient).all())


def test_a_label_out_of_range_makes_the_loss_not_a_number():
    assert jnp.isnan(trained_by(Classification(), targets=[0, 1, 2, 3, 3, 4]))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_rows_outside_the_mask_do_not_count(objective):
    mask = jnp.array([True, False, True, True, False, True])
    wanted = trained_by(objective, LOGITS[mask], LABELS[mask])
    np.testing.assert_allclose(trained_by(objective, mask=mask), wanted, rtol=1e-6)
    assert abs(float(wanted - trained_by(objective))) > 0.01


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(value):
    with pytest.raises(ConfigError, match=f"label_smoothing must be at least 0 and under 1, not {value}"):
        Classification(label_smoothing=value)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(value):
    with pytest.raises(ConfigError, match=rf"class_weights\[1\] must be a finite number above 0, not {value}"):
        Classification(class_weights=(1.0, value))


def test_balanced_weights_come_from_the_training_labels():
    source = ArraySource(np.zeros((4, 8, 8), np.uint8), [0, 0, 0, 1])
    assert Classification(class_weights="balanced").fitted(source).class_weights == (4 / 6, 2.0)
    assert Classification().fitted(source) == Classification()
    with pytest.raises(ConfigError, match="'even' is not a tuple of numbers, nor 'balanced'"):
        Classification(class_weights="even")


def shapes(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_weights_must_be_one_a_class():
    Classification().check(shapes(2, 10), SOURCE)
    Classification(class_weights=WEIGHTS).check(shapes(2, 4), SOURCE)
    with pytest.raises(ConfigError, match="4 class weights for 5 classes"):
        Classification(class_weights=WEIGHTS).check(shapes(2, 5), SOURCE)


SOFT = ColumnSource({"input": np.zeros((1, 2)), "target": [[0.5, 0.5]]}, ("a", "b"), "soft")


@pytest.mark.parametrize(
    ("outputs", "source", "said"),
    [
        (shapes(2, 3), SOURCE, "the data have 4 classes and the model 3: give it a new head"),
        (shapes(2, 7, 4), SOURCE, r"expected logits \(B, classes\)"),
        ({"a": shapes(2, 4)}, SOURCE, r"expected logits \(B, classes\)"),
        (shapes(2, 3), SOFT, "soft labels of 2 classes, and the model has 3"),
    ],
)
def test_outputs_that_do_not_fit_the_data_are_refused(outputs, source, said):
    with pytest.raises(ConfigError, match=said):
        Classification().check(outputs, source)


# A loss of one's own

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels


@pytest.mark.parametrize("mask", [None, jnp.array([True, True, False, True, False, True])])
def test_a_loss_of_ones_own_adds_up_as_tlxs_does(mask):
    own = trained_by(Classification(loss=CROSS_ENTROPY), mask=mask)
    np.testing.assert_allclose(own, trained_by(Classification(), mask=mask), rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (
            lambda logits, labels: CROSS_ENTROPY(logits, labels).mean(),
            r"returns \(\), expected the loss of each example",
        ),
        (lambda logits, labels: jnp.square(logits), r"returns \(B, 4\), expected"),
        (lambda logits, labels: {"loss": logits[:, 0]}, "returns dict, expected"),
        (lambda logits: logits[:, 0], r"cannot take logits \(B, 4\) float32 and labels .*TypeError"),
        (lambda logits, labels: logits @ labels, r"cannot take logits"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(function, said):
    with pytest.raises(ConfigError, match=said):
        Classification(loss=function).check(shapes(2, 4), SOURCE)


@pytest.mark.parametrize("value", [Classification, "cross_entropy", 0.5])
def test_what_is_no_function_is_refused(value):
    with pytest.raises(ConfigError, match=r"loss: .* is no function of logits and labels"):
        Classification(loss=value)


def test_the_functions_of_optax_fit():
    for function in (CROSS_ENTROPY, optax.losses.multiclass_hinge_loss):
        Classification(loss=function).check(shapes(2, 4), SOURCE)
