import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.errors import ConfigError
from tlx.training.loss import Loss, cross_entropy

DRAW = np.random.default_rng(0)
LOGITS = (3 * DRAW.normal(size=(6, 4))).astype(np.float32)
LABELS = np.array([0, 3, 1, 1, 2, 3], np.int32)
WEIGHTS = (1.0, 2.0, 0.5, 4.0)


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
    np.testing.assert_allclose(Loss(smoothing)(LOGITS, LABELS), by_hand(smoothing).mean(), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_weighted_by_class(smoothing):
    weights = np.array(WEIGHTS)[LABELS]
    wanted = (weights * by_hand(smoothing)).sum() / weights.sum()
    np.testing.assert_allclose(Loss(smoothing, WEIGHTS)(LOGITS, LABELS), wanted, rtol=1e-5)
    assert abs(wanted - by_hand(smoothing).mean()) > 0.05


def test_equal_weights_are_no_weights():
    np.testing.assert_allclose(Loss(class_weights=(3.0,) * 4)(LOGITS, LABELS), Loss()(LOGITS, LABELS), rtol=1e-6)


@pytest.mark.parametrize("loss", [Loss(), Loss(0.1), Loss(0.1, WEIGHTS)], ids=str)
def test_logits_far_apart_do_not_overflow(loss):
    logits = jnp.array([[1e4, -1e4, 0, 0]])
    value, gradient = jax.value_and_grad(loss)(logits, jnp.array([1]))
    assert float(value) > 1e4
    assert bool(jnp.isfinite(gradient).all())


def test_a_label_out_of_range_makes_the_loss_not_a_number():
    assert jnp.isnan(Loss()(LOGITS, jnp.array([0, 1, 2, 3, 3, 4])))


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(value):
    with pytest.raises(ConfigError, match=f"Loss: label_smoothing must be at least 0 and under 1, not {value}"):
        Loss(label_smoothing=value)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(value):
    with pytest.raises(ConfigError, match=rf"class_weights\[1\] must be a finite number above 0, not {value}"):
        Loss(class_weights=(1.0, value))


def test_weights_must_be_one_a_class():
    Loss().check(10)
    Loss(class_weights=WEIGHTS).check(4)
    for classes in (3, 5):
        with pytest.raises(ConfigError, match=f"4 class weights for {classes} classes"):
            Loss(class_weights=WEIGHTS).check(classes)


@pytest.mark.parametrize("loss", [Loss(), Loss(0.1), Loss(0.1, WEIGHTS)], ids=["plain", "smoothed", "weighted"])
def test_rows_outside_the_mask_do_not_count(loss):
    mask = np.array([True, False, True, True, False, True])
    wanted = loss(LOGITS[mask], LABELS[mask])
    np.testing.assert_allclose(loss(LOGITS, LABELS, mask), wanted, rtol=1e-6)
    assert abs(float(wanted - loss(LOGITS, LABELS))) > 0.01
