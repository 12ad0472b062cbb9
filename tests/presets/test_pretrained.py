"""Surgery on a pretrained model: other inputs, other heads, and what cannot be."""

import numpy as np
import pytest

import tlx
from tlx.errors import ConfigError


@pytest.fixture(scope="module")
def mlp():
    return tlx.load("mlp-mnist")


@pytest.mark.parametrize("head", [True, False])
def test_a_dense_base_keeps_its_size(mlp, head):
    model = mlp if head else mlp.without_head()
    with pytest.raises(ConfigError, match=r"its base is made for images of .*dense1/kernel"):
        model.with_input((14, 14))


def test_a_head_for_one_size_must_come_off_first():
    cnn = tlx.load("cnn-mnist")
    with pytest.raises(ConfigError, match=r"its head is made for .*\(without_head\)"):
        cnn.with_input((32, 32))
    assert cnn.without_head().with_input((32, 32), 3).config.input_shape == (32, 32, 3)


def test_no_channels_are_refused(mlp):
    with pytest.raises(ConfigError, match="input_shape: sizes must be"):
        mlp.with_input(channels=0)


def test_equal_channels_give_the_response_of_before():
    grey = tlx.load("cnn-mnist")
    colour = grey.with_input(channels=3)
    image = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    before = grey.model.apply(grey.variables, image)
    assert np.allclose(before, colour.model.apply(colour.variables, image.repeat(3, axis=3)), atol=1e-4)


@pytest.mark.parametrize(("classes", "words"), [(("a", "a"), "'a' come more than once"), ("abc", "is one string")])
def test_classes_are_different_names(mlp, classes, words):
    with pytest.raises(ConfigError, match=words):
        mlp.with_head(classes)


def test_a_base_keeps_where_it_comes_from(mlp):
    assert mlp.cut("dense1").card == mlp.without_head().card == {"licence": "Apache-2.0"}
