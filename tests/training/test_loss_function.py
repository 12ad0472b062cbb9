"""A function is a loss where it gives each example its own."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tlx
from tlx.errors import ConfigError
from tlx.training import Loss
from tlx.training.loss_function import LossFunction, as_loss

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 1, 0], np.int32)
MASK = np.array([True, True, False, True, False])
CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels


@pytest.mark.parametrize("mask", [None, MASK])
def test_it_adds_up_as_the_loss_does(mask):
    own, expected = as_loss(CROSS_ENTROPY), Loss()
    np.testing.assert_allclose(own(LOGITS, LABELS, mask), expected(LOGITS, LABELS, mask), rtol=1e-6)
    np.testing.assert_allclose(own.sums(LOGITS, LABELS, mask), expected.sums(LOGITS, LABELS, mask), rtol=1e-6)


def test_what_is_a_loss_stays_so():
    loss = Loss(0.1)
    assert as_loss(loss) is loss
    assert as_loss(None) == Loss()
    assert as_loss(CROSS_ENTROPY) == LossFunction(CROSS_ENTROPY)
    assert hash(as_loss(CROSS_ENTROPY)) == hash(LossFunction(CROSS_ENTROPY))  # programs are shared


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (
            lambda logits, labels: CROSS_ENTROPY(logits, labels).mean(),
            r"returns \(\), expected the loss of each example",
        ),
        (lambda logits, labels: jnp.square(logits), r"returns \(B, 3\), expected"),
        (lambda logits, labels: {"loss": logits[:, 0]}, "returns dict, expected"),
        (lambda logits: logits[:, 0], r"cannot take logits \(B, 3\) float32 and labels .*TypeError"),
        (lambda logits, labels: logits @ labels, r"cannot take logits"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(function, said):
    with pytest.raises(ConfigError, match=said):
        as_loss(function).check(3)


@pytest.mark.parametrize("value", [Loss, "cross_entropy", 0.5])
def test_what_is_no_function_is_refused(value):
    with pytest.raises(ConfigError, match=r"is neither a tlx\.Loss nor a function"):
        as_loss(value)


def test_the_functions_of_optax_fit():
    for name in ("softmax_cross_entropy_with_integer_labels", "losses.multiclass_hinge_loss"):
        function = optax
        for part in name.split("."):
            function = getattr(function, part)
        as_loss(function).check(4)
    assert tlx.Loss is Loss
