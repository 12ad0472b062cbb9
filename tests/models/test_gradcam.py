"""Grad-CAM is what the paper's formula says, image by image, and the class activation map where that exists."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASE, ConvNorm, Pool

from tlx.errors import ConfigError, DataError
from tlx.models import Base, Classifier, Head, ModelConfig, Stage, build_model, init_variables
from tlx.models.gradcam import gradcam, last_spatial_stage


class Same(nn.Module):
    """A stage that changes nothing: its activations are the image."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return x


def linear(kernel):
    """Return a model that averages the channels of an image and weighs them by `kernel`, and its variables."""
    kernel = jnp.asarray(kernel, jnp.float32)
    variables = {"params": {"base": {}, "head": {"logits": {"kernel": kernel, "bias": jnp.zeros(kernel.shape[1])}}}}
    return Classifier(Base((Stage("same", Same()),)), Head(kernel.shape[1])), variables


def largest_is_one(maps):
    largest = maps.max((1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def test_maps_made_by_hand():
    """Class 0 weighs the channels (1, -1), class 1 (0, 2): ReLU(A0 - A1) and ReLU(2 A1), divided by their largest."""
    model, variables = linear([[1, 0], [-1, 2]])
    image = np.array([[[4, 0], [1, 3]], [[2, 0], [5, 4]]], np.float32)
    found = gradcam(model, variables, np.stack([image, image]), np.array([0, 1]))
    np.testing.assert_allclose(found, [[[1, 0], [0.5, 0.25]], [[0, 0.75], [0, 1]]], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.slow
def test_a_linear_head_on_averages_gives_the_class_activation_map():
    model = Classifier(Base((Stage("stem", ConvNorm(4)), Stage("pool", Pool()), Stage("block", ConvNorm(5)))), Head(3))
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    classes = np.array([0, 1, 2, 0, 1, 2])
    variables = jax.jit(model.init)(jax.random.key(0), images)
    activations = np.asarray(model.apply(variables, images, method="features"))
    kernel = np.asarray(variables["params"]["head"]["logits"]["kernel"])
    expected = largest_is_one(np.maximum(np.einsum("bhwk,kb->bhw", activations, kernel[:, classes]), 0))
    assert expected.shape == (6, 4, 4)
    np.testing.assert_allclose(gradcam(model, variables, images, classes), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [None, "stem", "pool"])
def test_the_formula_image_by_image(stage):
    """On a head that is not linear, at any stage, and on more images than go through at a time."""
    case = CASE["norm"]
    variables, images = case.variables(), np.asarray(case.batch(size=11)["input"])
    classes = np.arange(11) % case.classes

    @jax.jit
    @jax.grad
    def gradient(activations, label):
        features = case.model.apply(variables, activations, after=stage or "block", method="features")
        return case.model.apply(variables, features, method="logits")[0, label]

    whole = np.asarray(case.model.apply(variables, images, until=stage or "block", method="features"))
    expected = []
    for activations, label in zip(whole, classes, strict=True):
        weights = np.asarray(gradient(activations[None], label))[0].mean((0, 1))
        expected.append(np.maximum((activations * weights).sum(-1), 0))
    found = gradcam(case.model, variables, images, classes, stage=stage)
    np.testing.assert_allclose(found, largest_is_one(np.stack(expected)), atol=1e-5)
    assert len({each.tobytes() for each in found}) > 5


def test_what_speaks_for_nothing_is_zero():
    """A class whose weights are negative on features above zero; and what is not finite."""
    model, variables = linear([[-1, 1], [-2, 1]])
    images = np.ones((2, 3, 3, 2), np.float32)
    images[1, 0, 0, 0] = np.nan
    found = gradcam(model, variables, images, np.array([0, 1]))
    assert not found.any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "pools", "stage", "left"),
    [((8, 4), 2, "pool2", (2, 1)), ((4, 4), 2, "pool1", (2, 2)), ((2, 2), 1, "stem", (2, 2))],
)
def test_the_last_stage_larger_than_a_pixel(size, pools, stage, left):
    stages = (Stage("stem", ConvNorm(2)), *(Stage(f"pool{n + 1}", Pool()) for n in range(pools)))
    model, images = Classifier(Base(stages), Head(2)), np.ones((1, *size, 1), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    assert last_spatial_stage(model, variables, (*size, 1)) == stage
    assert gradcam(model, variables, images, np.array([1])).shape == (1, *left)


@pytest.mark.slow
def test_a_model_in_half_precision_gives_float32():
    config = ModelConfig("cnn", 3, (28, 28, 1), pool="flatten")
    variables, images = init_variables(config), np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    half = build_model(dataclasses.replace(config, dtype="bfloat16"))
    found, whole = (gradcam(model, variables, images, np.array([0, 2])) for model in (half, build_model(config)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole, atol=0.1)


@pytest.mark.slow
def test_what_has_no_map_is_refused():
    mlp, model = CASE["mlp"], CASE["norm"]
    with pytest.raises(ConfigError, match="needs a convolutional base"):
        gradcam(mlp.model, mlp.variables(), mlp.batch()["input"], np.zeros(4, int))
    with pytest.raises(ConfigError, match="stage 'dense1' has neither height nor width"):
        gradcam(mlp.model, mlp.variables(), mlp.batch()["input"], np.zeros(4, int), stage="dense1")
    with pytest.raises(ConfigError, match="unknown stage 'conv9'"):
        gradcam(model.model, model.variables(), model.batch()["input"], np.zeros(4, int), stage="conv9")
    for classes in (np.zeros(3, int), np.full(4, 3), np.full(4, -1), np.zeros((4, 1), int)):
        with pytest.raises(DataError, match="each of the 4 images the index of a class, 0 to 2"):
            gradcam(model.model, model.variables(), model.batch()["input"], classes)
