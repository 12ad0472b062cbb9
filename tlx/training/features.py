"""Run a model over examples without targets: what it predicts, or features of any stage."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from tlx.data.inputs import InputSpec
from tlx.data.pipeline import Feed, batches
from tlx.data.source import Source, check_source, sizes_of
from tlx.data.tokenized import by_length, tokenized_for_use
from tlx.data.views import Subset
from tlx.devices.compiler import forward_options, jit
from tlx.errors import check_choice
from tlx.models.classifier import Classifier
from tlx.models.head import POOLS, WHOLE, Pool, pooled
from tlx.objectives import Objective
from tlx.training.accepts_pretrained import accepts_pretrained
from tlx.tree.paths import Tree

SORTED = 64  # batches whose texts are sorted by length together


@accepts_pretrained
def features(
    model: Classifier,
    variables: Tree,
    source: Source,
    preprocess: InputSpec,
    *,
    stage: str | None = None,
    pool: Pool | None = "average",
    batch_size: int = 64,
    workers: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield the features (B, D) float32 of a source's examples, batch by batch, in the source's order.

    They are the output of `stage` (the base's last by default), pooled as a head would (`tlx.models.Head`); with None,
    and no stage, as the model's own head does, which normalises them where the model says so. Raise
    `ConfigError` for an unknown stage or pool. A `tlx.Pretrained`, or what `tlx.fit` returned, can take the place of
    `model`, `variables` and `preprocess`.

    >>> import tlx
    >>> base, data = tlx.load("cnn-mnist"), tlx.load_data("digits", labels_per_class=2)
    >>> parts = list(features(base, data.train, stage="conv2", batch_size=16))
    >>> [part.shape for part in parts]
    [(16, 64), (4, 64)]
    """
    model.base.span(until=stage)
    check_choice("pool", pool or "average", POOLS)
    yield from _over(_features, (model, preprocess, stage, pool), variables, source, preprocess, batch_size, workers)


def predictions(
    model: Classifier,
    variables: Tree,
    source: Source,
    preprocess: InputSpec,
    objective: Objective,
    *,
    batch_size: int = 64,
    workers: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield what an objective predicts (B, …) of a source's examples, batch by batch, in the source's order."""
    static = (model, preprocess, objective)
    yield from _over(_predictions, static, variables, source, preprocess, batch_size, workers)


def features_of(model: Classifier, variables: Tree, spec: InputSpec, collated: Tree, *, pool: Pool) -> np.ndarray:
    """Return the features (B, D) float32 of one batch of collated inputs, as `features` does."""
    return np.asarray(_features(model, spec, None, pool, variables, collated))


def _over(
    function: Any,
    static: tuple[Any, ...],
    variables: Tree,
    source: Source,
    spec: InputSpec,
    batch_size: int,
    workers: int | None,
) -> Iterator[np.ndarray]:
    """Apply a jitted function to batches; while one is computed, the next is on its way."""
    check_source(source, "source")
    variables, source = jax.device_put(variables), tokenized_for_use(source, spec)
    feed = Feed(min(batch_size, max(len(source), 1)), pad=True, workers=workers)
    if sizes_of(source) is None:
        yield from _in_order(function, static, variables, source, spec, feed)
        return
    for first in range(0, len(source), SORTED * feed.batch_size):
        rows = np.arange(first, min(first + SORTED * feed.batch_size, len(source)))
        view = by_length(Subset(source, rows))
        found = np.concatenate(list(_in_order(function, static, variables, view.source, spec, feed)))
        ordered = view.restored(found)
        yield from (ordered[at : at + feed.batch_size] for at in range(0, len(rows), feed.batch_size))


def _in_order(
    function: Any, static: tuple[Any, ...], variables: Tree, source: Source, spec: InputSpec, feed: Feed
) -> Iterator[np.ndarray]:
    waiting, left = None, len(source)
    for batch in batches(source, spec, feed):
        ready, waiting = waiting, function(*static, variables, batch["input"])
        if ready is not None:
            yield np.asarray(ready)
            left -= len(ready)
    if waiting is not None:
        yield np.asarray(waiting)[:left]


@functools.partial(jit, options=forward_options, static_argnums=(0, 1, 2, 3))
def _features(
    model: Classifier, spec: InputSpec, stage: str | None, pool: Pool | None, variables: Tree, collated: Tree
) -> jax.Array:
    values = model.apply(variables, spec.on_device(collated), until=stage, method="features")
    found: Any
    if pool is None and stage is None and not getattr(model.head, "classes", 1):
        found = model.apply(variables, values, method="logits")  # which pools, and normalises
    else:
        own: Any = getattr(model.head, "pool", "average")
        found = pooled(values, plain_pool(pool or own))
    features: jax.Array = found.astype("float32")
    return features


def plain_pool(pool: Pool) -> Pool:
    """Return a pool, or 'average' for one that has weights of its own.

    >>> plain_pool("cnn"), plain_pool("max")
    ('average', 'max')
    """
    return "average" if pool in WHOLE else pool


@functools.partial(jit, options=forward_options, static_argnums=(0, 1, 2))
def _predictions(
    model: Classifier, spec: InputSpec, objective: Objective, variables: Tree, collated: Tree
) -> jax.Array:
    found: jax.Array = objective.predict(model.apply(variables, spec.on_device(collated)))
    return found
