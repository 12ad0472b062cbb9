"""Evaluate: run a model over a source without training it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tlx.data.pipeline import Feed, batches, steps_per_epoch
from tlx.data.share import Share
from tlx.data.source import Relabelled, Source, check_source
from tlx.devices.compiler import forward_options, jit
from tlx.devices.parallel import ONE, Placement
from tlx.errors import ConfigError, DataError
from tlx.images.preprocess import Preprocess
from tlx.progress import doing
from tlx.stop import Stop, check, never
from tlx.training.accepts_pretrained import accepts_pretrained
from tlx.training.loss import cross_entropy
from tlx.tree.paths import Tree


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What a model says of N examples: `labels` (N,) int32, `probabilities` (N, C) float32, `losses` (N,) float32."""

    labels: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray

    def __repr__(self) -> str:
        return f"Evaluation({len(self.labels):,} examples: accuracy {self.accuracy:.4f}, loss {self.loss:.4f})"

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


@accepts_pretrained
def evaluate(
    model: Any,
    variables: Tree,
    source: Source,
    preprocess: Preprocess,
    batch_size: int = 128,
    *,
    after: str | None = None,
    workers: int | None = None,
    stop: Stop = never,
    placement: Placement = ONE,
    classes: Sequence[str] | None = None,
) -> Evaluation:
    """Evaluate a model on every example of a source, in the source's order.

    A `tlx.Pretrained`, or what `tlx.fit` returned, can take the place of `model`, `variables` and `preprocess`:
    `evaluate(pretrained, source)`. A source whose classes stand in another order than the model's `classes`, which a
    `Pretrained` knows, is matched by their names.

    With `after` the examples are what that stage makes of pictures (`tlx.training.activations`).

    The same variables, source and batch size give the same bits on the same devices (`placement`), whatever the number
    of `workers` (`tlx.data.Feed`). `stop` is asked before each batch (`tlx.StopOnSignals`). Raise `DataError` for no
    examples and for classes that the model does not know, `ConfigError` for a `Pretrained` without a head, and
    `StoppedError`.

    >>> import tlx
    >>> data = tlx.load_data("digits", labels_per_class=2)
    >>> evaluate(tlx.load("mlp-mnist"), data.train).probabilities.shape
    (20, 10)
    """
    check_source(source, "source")
    if classes is not None and tuple(source.classes) != tuple(classes):
        if not classes:
            raise ConfigError("the model has no head to evaluate: give it one (with_head) and train it")
        source = Relabelled(source, classes)
    if not len(source):
        raise DataError("no examples to evaluate on: give some, or change the shares kept for validation and testing")
    placement, size = placement.jitted, min(batch_size, len(source))
    variables = placement.parameters(variables)
    feed = Feed(size, pad=True, workers=workers, share=Share.of(placement))
    parts = []
    for number, batch in enumerate(batches(source, preprocess, feed)):
        doing("testing", number, steps_per_epoch(len(source), size))
        check(stop)
        given = placement.rows({name: batch[name] for name in ("image", "label")})
        parts.append(_scores(model, after, placement, variables, given["image"], given["label"]))
    columns = ([rows[:size] for rows in jax.device_get(column)] for column in zip(*parts, strict=True))
    return Evaluation(*(np.concatenate(column)[: len(source)] for column in columns))


def predict_arrays(model: Any, variables: Tree, images: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Return the class probabilities (N, C) float32 of preprocessed images (N, H, W, C) float32, N at least 1."""
    images = np.asarray(images)
    if images.dtype.kind in "biu":
        raise DataError(
            f"images: type {images.dtype}, expected preprocessed ones of floats: call the model's "
            "preprocess(images) first, or predict(pretrained, images), which does"
        )
    variables, size = jax.device_put(variables), min(batch_size, len(images))
    labels = np.zeros(size, np.int32)
    parts = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        filled = np.concatenate([part, np.repeat(part[:1], size - len(part), axis=0)]) if len(part) < size else part
        parts.append(_scores(model, None, ONE, variables, filled, labels)[1])
    probabilities: np.ndarray = np.concatenate(jax.device_get(parts))[: len(images)]
    return probabilities


def lower_scores(model: Any, after: str | None, placement: Placement, variables: Tree, images: Any, labels: Any) -> Any:
    """Trace what `evaluate` compiles, for arrays of these shapes."""
    placement = placement.jitted
    given = placement.rows({"image": images, "label": labels})
    return _scores.lower(model, after, placement, placement.parameters(variables), given["image"], given["label"])


def start_after(stage: str | None) -> dict[str, str]:
    """Return what a model is called with to start after a stage; a model of one's own need not know of it.

    >>> start_after("conv1"), start_after(None)
    ({'after': 'conv1'}, {})
    """
    return {} if stage is None else {"after": stage}


@functools.partial(jit, options=forward_options, static_argnums=(0, 1, 2))
def _scores(
    model: Any, after: str | None, placement: Placement, variables: Tree, images: jax.Array, labels: jax.Array
) -> tuple[jax.Array, ...]:
    """Return labels, probabilities and losses, of all rows on each device."""
    logits = model.apply(variables, images, **start_after(after))
    found: tuple[jax.Array, ...] = placement.replicated((labels, jax.nn.softmax(logits), cross_entropy(logits, labels)))
    return found
