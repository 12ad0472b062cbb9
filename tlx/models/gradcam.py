"""Grad-CAM: where in an image a convolutional model saw a class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tlx.devices.compiler import jit
from tlx.errors import ConfigError, DataError
from tlx.models.staged import StagedModel
from tlx.tree.paths import Tree

_BATCH = 8  # images at a time, so that memory stays small


def gradcam(
    model: StagedModel, variables: Tree, images: np.ndarray, classes: np.ndarray, *, stage: str | None = None
) -> np.ndarray:
    """Map how much each place of an image speaks for a class: (B, h, w) float32 in 0..1, h and w those of the stage.

    `model` is a `Classifier`, `images` are preprocessed images (B, H, W, C), B at least 1, `classes` (B,) the index
    of a class for each. The activations of `stage`, by default the last that still has a height and a width, are
    weighted by the spatial mean of the gradient of the class's logit, summed over the channels, cut off below zero and
    divided by the largest; an image in which nothing speaks for its class gets zeros. (R. Selvaraju et al., Grad-CAM,
    2017, arXiv:1610.02391.)

    Raise `ConfigError` for a base or a stage without spatial axes, `DataError` for classes that the model has not.

    >>> import tlx
    >>> trained = tlx.load("cnn-mnist")
    >>> gradcam(trained.model, trained.variables, np.ones((2, 28, 28, 1), np.float32), [3, 8]).shape
    (2, 3, 3)
    """
    images, classes = np.asarray(images), np.asarray(classes)
    known = jax.eval_shape(model.apply, variables, images[:1]).shape[-1]
    if classes.shape != images.shape[:1] or classes.min() < 0 or classes.max() >= known:
        raise DataError(f"classes: give each of the {len(images)} images the index of a class, 0 to {known - 1}")
    stage = stage or last_spatial_stage(model, variables, images.shape[1:])
    if stage is None:
        raise ConfigError("no stage of the base has a height and a width: Grad-CAM needs a convolutional base")
    variables = jax.device_put(variables)
    size, maps = min(_BATCH, len(images)), []
    for start in range(0, len(images), size):
        part = np.arange(len(images))[start : start + size]
        filled = np.resize(part, size)  # so that one shape is compiled
        maps.append(jax.device_get(_maps(model, variables, images[filled], classes[filled], stage))[: len(part)])
    return np.concatenate(maps)


def last_spatial_stage(model: StagedModel, variables: Tree, shape: tuple[int, ...]) -> str | None:
    """Name the last stage whose output for images of a shape (H, W, C) is larger than 1x1; None if there is none.

    >>> import tlx
    >>> [last_spatial_stage(tlx.load(name).model, tlx.load(name).variables, (28, 28, 1))
    ...  for name in ("cnn-mnist", "mlp-mnist")]
    ['conv3', None]
    """

    def outputs(variables: Tree, x: jax.Array) -> dict[str, jax.Array]:
        found, before = {}, None
        for name in model.base.stage_names:
            found[name] = x = model.apply(variables, x, after=before, until=name, method="features")
            before = name
        return found

    shapes = jax.eval_shape(outputs, variables, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    return next((name for name in reversed(model.base.stage_names) if _is_spatial(shapes[name].shape)), None)


def _is_spatial(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] * shape[2] > 1


@functools.partial(jit, static_argnums=(0, 4))
def _maps(model: StagedModel, variables: Tree, images: jax.Array, classes: jax.Array, stage: str) -> jax.Array:
    activations = model.apply(variables, images, until=stage, method="features")
    if not _is_spatial(activations.shape):
        raise ConfigError(f"stage {stage!r} has neither height nor width: use one whose output is larger than 1x1")

    def score(activations: jax.Array) -> jax.Array:
        """Sum the logits of all images' classes: no image's logit depends on another image."""
        features = model.apply(variables, activations, after=stage, method="features")
        logits = model.apply(variables, features, method="logits")
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()

    weights = jax.grad(score)(activations).astype(jnp.float32).mean((1, 2), keepdims=True)
    maps = jax.nn.relu((weights * activations).sum(-1))
    largest = maps.max((1, 2), keepdims=True)
    return jnp.where(jnp.isfinite(largest) & (largest > 0), maps / largest, 0)
