"""Numbers: standardised inside, told in their units, metrics beside scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from tlx.data import ColumnSource
from tlx.errors import ConfigError
from tlx.objectives import Regression

DRAW = np.random.default_rng(0)
TARGETS = (DRAW.normal(size=(30, 2)) * [10.0, 0.1] + [100.0, -1.0]).astype(np.float32)
GUESSES = (TARGETS + DRAW.normal(size=(30, 2)) * [3.0, 0.05]).astype(np.float32)
SOURCE = ColumnSource({"input": np.zeros((30, 1)), "target": TARGETS}, ("height", "tilt"), "regression")
FITTED = Regression().fitted(SOURCE)


def test_mean_and_deviation_are_those_of_the_training_targets():
    np.testing.assert_allclose(FITTED.mean, TARGETS.mean(0), rtol=1e-5)
    np.testing.assert_allclose(FITTED.std, TARGETS.std(0), rtol=1e-5)
    assert FITTED.fitted(SOURCE) is FITTED
    constant = ColumnSource({"input": np.zeros((2, 1)), "target": [3.0, 3.0]}, ("x",), "regression")
    assert Regression().fitted(constant).std == (1.0,)


def test_a_head_that_begins_at_zero_predicts_the_mean():
    np.testing.assert_allclose(FITTED.predict(jnp.zeros((1, 2)))[0], TARGETS.mean(0), rtol=1e-5)


def test_the_metrics_are_scikit_learns():
    assert FITTED.measure(GUESSES, TARGETS) == pytest.approx(
        {
            "mae": mean_absolute_error(TARGETS, GUESSES),
            "rmse": root_mean_squared_error(TARGETS, GUESSES),
            "r2": r2_score(TARGETS, GUESSES),
        },
        rel=1e-5,
    )
    assert FITTED.measure(GUESSES[:1], np.ones((1, 2)))["r2"] == 0.0  # a single example has no variance to explain


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [
        (Regression("squared"), lambda e: e**2),
        (Regression("absolute"), np.abs),
        (Regression("huber", 1.5), lambda e: np.where(np.abs(e) < 1.5, e**2 / 2, 1.5 * (np.abs(e) - 0.75))),
    ],
    ids=["squared", "absolute", "huber"],
)
def test_the_loss_is_in_standard_deviations(objective, wanted):
    outputs = DRAW.normal(size=(30, 2)).astype(np.float32) * 3
    fitted = objective.fitted(SOURCE)
    errors = outputs - (TARGETS - TARGETS.mean(0)[None]) / TARGETS.std(0)[None]
    terms = fitted(jnp.asarray(outputs), {"target": jnp.asarray(TARGETS)}, jax.random.key(0))
    np.testing.assert_allclose(terms["loss"], wanted(errors).mean(1), rtol=1e-3)
    predicted = np.asarray(fitted.predict(jnp.asarray(outputs)))
    np.testing.assert_allclose(terms["mae"], np.abs(predicted - TARGETS).mean(1), rtol=1e-5)


def test_what_does_not_fit_is_refused():
    FITTED.check(jax.ShapeDtypeStruct((1, 2), jnp.float32), SOURCE)
    with pytest.raises(ConfigError, match=r"2 numbers to predict, and the model's outputs are \(1, 3\)"):
        FITTED.check(jax.ShapeDtypeStruct((1, 3), jnp.float32), SOURCE)
    with pytest.raises(ConfigError, match="mean and std go together"):
        Regression(mean=(1.0,))
    with pytest.raises(ConfigError, match="unknown loss 'hinge'"):
        Regression("hinge")
