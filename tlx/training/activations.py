"""Activations: what the frozen stages make of a source's examples, as a source of their own."""

import functools
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from tlx.data.pipeline import Feed, batches, steps_per_epoch
from tlx.data.share import Share
from tlx.data.source import Example, Source
from tlx.devices.compiler import forward_options, jit
from tlx.devices.parallel import ONE, Placement
from tlx.images.preprocess import Preprocess
from tlx.models.frozen import frozen_stages
from tlx.models.head import Head, pooled
from tlx.progress import doing
from tlx.tree.paths import Tree

PIXELS = 1 << 19  # of a batch that goes through the frozen stages, 8 to 256 pictures; more of them leave the cache


class AsStored:
    """What `tlx.data.batches` asks of a `Preprocess`, for activations: they are only cast."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def frame(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def normalise(self, rows: np.ndarray) -> np.ndarray:
        return rows.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class Activations:
    """What stage `after` makes of each of a source's N examples: `rows`, an array (V, N, …) of V views.

    A source itself: in epoch e it gives view (e - 1) mod V (`of_epoch`). What the last stage makes is pooled already
    where a `tlx.models.Head` follows. `dtype` is the type that the stage computes in, whatever that of `rows` is.
    """

    after: str
    rows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    dtype: Any
    view: int = 0

    @property
    def preprocess(self) -> Any:
        """What stands where the preprocessing of pictures would (`AsStored`)."""
        return AsStored(self.dtype)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return {"image": self.rows[self.view][index], "label": int(self.labels[index])}

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gather activations (B, …) and labels (B,) int32 at once."""
        return np.asarray(self.rows[self.view][indices]), self.labels[indices]

    def of_epoch(self, epoch: int) -> "Activations":
        return replace(self, view=(epoch - 1) % len(self.rows))


def frozen_until(labels: Tree, stage_names: Sequence[str]) -> str | None:
    """Name the last stage up to which every stage is frozen; None if the first one trains.

    >>> frozen_until({"base": {"a": {"w": "frozen"}, "b": {"w": "base"}}, "head": {"w": "head"}}, ("a", "b"))
    'a'
    """
    frozen, last = frozen_stages(labels, tuple(stage_names)), None
    for name in stage_names:
        if name not in frozen:
            break
        last = name
    return last


def shape_after(model: Any, variables: Tree, preprocess: Preprocess, stage: str) -> Any:
    """Return the shape and dtype of what is kept of a stage's output for one picture, without running it."""
    picture = jax.ShapeDtypeStruct((1, preprocess.height, preprocess.width, preprocess.channels), "float32")
    (found,) = jax.eval_shape(functools.partial(_through, model, (stage,), None, ONE), variables, picture)
    return jax.ShapeDtypeStruct(found.shape[1:], found.dtype)


def program_sha256(model: Any, variables: Tree, preprocess: Preprocess, stage: str) -> str:
    """Hash the operations that lead from a picture to what is kept of a stage, and their constants."""
    picture = jax.ShapeDtypeStruct((1, preprocess.height, preprocess.width, preprocess.channels), "float32")
    program = jax.make_jaxpr(functools.partial(_through, model, (stage,), None, ONE))(variables, picture)
    text = re.sub(r" at 0x[0-9a-f]+", "", str(program.jaxpr))
    return hashlib.sha256(text.encode() + b"".join(np.asarray(each).tobytes() for each in program.consts)).hexdigest()


def compute(
    model: Any,
    variables: Tree,
    source: Source,
    preprocess: Any,
    feed: Feed,
    stages: tuple[str, ...],
    *,
    after: str | None = None,
    epoch: int = 0,
    first: int = 0,
    placement: Placement = ONE,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield what each of `stages`, from input to output, makes of a source's examples: arrays (B, …), batch by batch.

    The source holds what stage `after` gives, or pictures; `feed` pads. It begins with batch number `first`.
    """
    placement = placement.jitted
    variables, left = placement.parameters(variables), len(source) - first * feed.batch_size
    size, waiting = feed.batch_size, None
    total = steps_per_epoch(len(source), size)
    stream = batches(source, preprocess, replace(feed, share=Share.of(placement)), epoch=epoch, first=first)
    for number, batch in enumerate(stream, first):
        doing("computing the features", number, total)
        ready, waiting = waiting, _through(model, stages, after, placement, variables, placement.rows(batch["image"]))
        if ready is not None:
            yield tuple(np.asarray(found)[:size] for found in ready)
            left -= size
    if waiting is not None:
        yield tuple(np.asarray(found)[:left] for found in waiting)


def batch_of(preprocess: Preprocess) -> int:
    """Return how many pictures go through the frozen stages at once.

    >>> batch_of(Preprocess(32, 32, 3)), batch_of(Preprocess(224, 224, 3))
    (256, 10)
    """
    return max(8, min(256, PIXELS // (preprocess.height * preprocess.width)))


@functools.partial(jit, options=forward_options, static_argnums=(0, 1, 2, 3))
def _through(
    model: Any, stages: tuple[str, ...], after: str | None, placement: Placement, variables: Tree, x: jax.Array
) -> tuple[jax.Array, ...]:
    found = []
    for stage in stages:
        x = model.apply(variables, x, after=after, until=stage, method="features")
        pools = stage == model.base.stage_names[-1] and isinstance(model.head, Head)
        found.append(pooled(x, model.head.pool) if pools else x)
        after = stage
    return tuple(placement.replicated(found))
