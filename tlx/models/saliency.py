"""Gradient x input: which pieces of a text spoke for a class."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.devices.compiler import jit
from tlx.errors import ConfigError, DataError
from tlx.models.staged import StagedModel
from tlx.tree.paths import Tree

_BATCH = 8  # texts at a time, so that memory stays small


def saliency(model: StagedModel, variables: Tree, inputs: Mapping[str, Any], classes: np.ndarray) -> np.ndarray:
    """Score how much each piece of a text speaks for a class (above 0) or against it (below 0), to first order.

    The score is the gradient of the class's logit with respect to what the base's first stage (the embeddings) gives
    for a piece, times that output, summed over the width: the change of the logit that the gradient predicts if the
    output became zero, with the sign turned round. (M. Denil, A. Demiraj and N. de Freitas, Extraction of Salient
    Sentences from Labelled Documents, 2014, arXiv:1412.6815; after K. Simonyan, A. Vedaldi and A. Zisserman, Deep
    Inside Convolutional Networks, 2013, arXiv:1312.6034.) `gradcam` does the like for images.

    Args:
        model: a `Classifier` whose first stage gives `hidden` (B, T, C) and `mask` (B, T).
        variables: the model's.
        inputs: what the input spec's `on_device` gives for B texts, arrays (B, T); B at least 1.
        classes: (B,), the index of a class for each text.

    Returns:
        (B, T) float32; 0 at padding.

    Raises:
        ConfigError: for a base of other inputs than texts.
        DataError: for classes that the model does not have.

    >>> import tlx
    >>> from tlx.text import WordVectors
    >>> base = tlx.word_base(WordVectors(("good", "bad"), np.eye(2, dtype=np.float32))).with_head(("-", "+"))
    >>> inputs = base.preprocess.on_device(base.preprocess.collate(["good bad good", "bad"]))
    >>> saliency(base.model, base.variables, inputs, np.array([0, 1])).shape[0]
    2
    """
    inputs = jax.tree.map(np.asarray, dict(inputs))
    classes = np.asarray(classes)
    count = len(jax.tree.leaves(inputs)[0])
    known = jax.eval_shape(model.apply, variables, inputs).shape[-1]
    if classes.shape != (count,) or classes.min() < 0 or classes.max() >= known:
        raise DataError(f"classes: give each of the {count} texts the index of a class, 0 to {known - 1}")
    variables = jax.device_put(variables)
    size, scores = min(_BATCH, count), []
    for start in range(0, count, size):
        part = np.arange(count)[start : start + size]
        filled = np.resize(part, size)  # so that one shape is compiled
        batch = {name: array[filled] for name, array in inputs.items()}
        scores.append(jax.device_get(_scores(model, variables, batch, classes[filled]))[: len(part)])
    return np.concatenate(scores)


@functools.partial(jit, static_argnums=(0,))
def _scores(model: StagedModel, variables: Tree, inputs: Mapping[str, jax.Array], classes: jax.Array) -> jax.Array:
    first = model.base.stage_names[0]
    state = model.apply(variables, inputs, until=first, method="features")
    if not isinstance(state, Mapping) or "hidden" not in state:
        raise ConfigError(f"stage {first!r} gives no hidden states of pieces: gradient x input needs a base of texts")

    def score(hidden: jax.Array) -> jax.Array:
        """Sum the logits of all texts' classes: no text's logit depends on another text."""
        features = model.apply(variables, {**state, "hidden": hidden}, after=first, method="features")
        logits = model.apply(variables, features, method="logits")
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()

    hidden = state["hidden"]
    products = (jax.grad(score)(hidden) * hidden).astype(jnp.float32).sum(-1)
    return jnp.where(state["mask"].astype(bool), products, 0)
