"""Evaluate: run a model over a source without training it."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tlx.data.pipeline import batches
from tlx.data.preprocess import Preprocess
from tlx.data.source import Source
from tlx.errors import DataError
from tlx.training.loss import cross_entropy
from tlx.tree.paths import Tree


@dataclass(frozen=True)
class Evaluation:
    """What a model says of N examples: `labels` (N,) int32, `probabilities` (N, C) float32, `losses` (N,) float32."""

    labels: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each example, (N,) int32."""
        return self.probabilities.argmax(-1).astype(np.int32)

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, (N,) float32."""
        return self.probabilities.max(-1)

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.labels).mean())

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats, without smoothing or class weights."""
        return float(self.losses.mean(dtype=np.float64))


def evaluate(model: Any, variables: Tree, source: Source, preprocess: Preprocess, batch_size: int = 128) -> Evaluation:
    """Evaluate a model on every example of a source, in the source's order.

    The same variables, source and batch size give the same bits on the same machine. Raise `DataError` for no examples.
    """
    if not len(source):
        raise DataError("no examples to evaluate on: give some, or change the shares kept for validation and testing")
    variables = jax.device_put(variables)
    parts = [
        (batch["label"], *jax.device_get(_scores(model, variables, batch["image"], batch["label"])))
        for batch in batches(source, preprocess, batch_size)
    ]
    labels, probabilities, losses = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Evaluation(labels, probabilities, losses)


def predict(model: Any, variables: Tree, images: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Return the class probabilities (N, C) float32 of preprocessed pictures (N, H, W, C) float32, N at least 1."""
    variables = jax.device_put(variables)

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            yield jax.device_get(_scores(model, variables, part, np.zeros(len(part), np.int32)))[0]

    return np.concatenate(list(parts()))


@functools.partial(jax.jit, static_argnums=0)
def _scores(model: Any, variables: Tree, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits = model.apply(variables, images)
    return jax.nn.softmax(logits), cross_entropy(logits, labels)
