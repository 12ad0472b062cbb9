"""Activations: what the frozen stages make of a source's examples, as a source of their own."""

import functools
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data.inputs import InputSpec
from tlx.data.pipeline import Batch, Feed, batches, gather, steps_per_epoch
from tlx.data.share import Share
from tlx.data.source import Columns, Example, Source, TargetKind, sizes_of
from tlx.devices.compiler import forward_options, jit
from tlx.devices.parallel import ONE, Placement
from tlx.models.frozen import frozen_stages
from tlx.models.head import Head, pooled
from tlx.models.staged import StagedModel
from tlx.progress import doing
from tlx.tree.paths import Tree

PIECES = 1 << 13  # of a batch of texts; of these more take longer each, for they leave the cache, too
POSITIONS = 1 << 19  # of a batch that goes through the frozen stages: pixels, tokens; more of them leave the cache


@dataclass(frozen=True)
class Stored:
    """The input spec of activations: the device casts them to the `dtypes` in which the stage computed them.

    Of leaves that are `ragged`, as long as each text is, batches are padded with zeros.
    """

    dtypes: tuple[str, ...]
    ragged: tuple[bool, ...] = ()

    def collate(self, inputs: Tree, length: int | None = None) -> Tree:
        if not any(self.ragged):
            return inputs
        leaves, structure = jax.tree.flatten(inputs, is_leaf=lambda each: isinstance(each, list))
        made = [_padded(leaf, length) if ragged else leaf for leaf, ragged in zip(leaves, self.ragged, strict=True)]
        return jax.tree.unflatten(structure, made)

    def on_device(self, arrays: Tree) -> Tree:
        leaves, structure = jax.tree.flatten(arrays)
        return jax.tree.unflatten(
            structure, [leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True)]
        )

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "activations", "dtypes": list(self.dtypes)}


def _padded(rows: list[np.ndarray], length: int | None) -> np.ndarray:
    width = max(map(len, rows)) if length is None else length
    made = np.zeros((len(rows), width, *rows[0].shape[1:]), rows[0].dtype)
    for place, row in enumerate(rows):
        made[place, : len(row)] = row
    return made


@dataclass(frozen=True)
class Places:
    """Where the rows of examples are kept that are as long as each text is.

    Args:
        order: (N,), the example whose rows come first, second, …: by length, so that little was computed in vain.
        starts: (N + 1,), where the rows of each begin, in that order.
        sizes: (N,), to which length each example is padded.
    """

    order: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @functools.cached_property
    def of_example(self) -> np.ndarray:
        """Which place in the order each example has, (N,)."""
        places: np.ndarray = np.argsort(self.order, kind="stable")
        return places


@dataclass(frozen=True)
class Activations:
    """What stage `after` makes of each of a source's N examples: `rows`, arrays (V, N, …) of V views or a dict of such.

    A source itself: in epoch e it gives view (e - 1) mod V (`of_epoch`). What the last stage makes is pooled already
    where a `tlx.models.Head` follows. `columns` are the source's other columns, (N, …); `spec` knows the types in which
    the stage computed, whatever those of `rows` are.
    """

    after: str
    rows: Tree
    columns: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    target_kind: TargetKind
    spec: Stored
    view: int = 0
    places: Places | None = None

    @property
    def views(self) -> int:
        return len(jax.tree.leaves(self.rows)[0])

    @property
    def targets(self) -> np.ndarray | None:
        return self.columns.get("target")

    @property
    def sizes(self) -> np.ndarray | None:
        """To which length each example is padded, (N,), where they are of different ones."""
        return self.places.sizes if self.places is not None and any(self.spec.ragged) else None

    def __len__(self) -> int:
        length: int = jax.tree.leaves(self.rows)[0].shape[1]
        return length if self.places is None else len(self.places.order)

    def __getitem__(self, index: int) -> Example:
        columns = {name: column[index] for name, column in self.columns.items()}
        one = jax.tree.map(lambda each: each[0], self._inputs(np.array([index])), is_leaf=lambda x: isinstance(x, list))
        return {"input": one, **columns}

    def take(self, indices: np.ndarray) -> Columns:
        """Gather activations (B, …) and the other columns at once; lists of what is as long as each text is."""
        columns = {name: column[indices] for name, column in self.columns.items()}
        return {"input": self._inputs(np.asarray(indices)), **columns}

    def _inputs(self, indices: np.ndarray) -> Tree:
        leaves, structure = jax.tree.flatten(self.rows)
        if self.places is None:
            return jax.tree.unflatten(structure, [np.asarray(rows[self.view][indices]) for rows in leaves])
        places, starts = self.places.of_example[indices], self.places.starts
        ragged = self.spec.ragged or (False,) * len(leaves)
        taken = [
            [np.asarray(rows[self.view][starts[place] : starts[place + 1]]) for place in places.tolist()]
            if is_ragged
            else np.asarray(rows[self.view][places])
            for rows, is_ragged in zip(leaves, ragged, strict=True)
        ]
        return jax.tree.unflatten(structure, taken)

    def of_epoch(self, epoch: int) -> "Activations":
        return replace(self, view=(epoch - 1) % self.views)


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


def batch_shapes(source: Source, spec: InputSpec, size: int | None = None) -> dict[str, Any]:
    """Return the shapes and types of a batch of one example: what every batch has, but for its first axis.

    Where examples are padded to different lengths it is one of `size`, by default the largest.
    """
    sizes, row = sizes_of(source), 0
    if sizes is not None:
        row = int(sizes.argmax() if size is None else (sizes == size).argmax())
        size = int(sizes[row])
    return example_of(gather(source, spec, np.array([row]), length=size))


def example_of(batch: Batch) -> dict[str, Any]:
    """Return the shapes and types of a batch of one example, of those of a batch."""
    one: dict[str, Any] = jax.tree.map(lambda leaf: leaf[:1], dict(batch))
    shapes: dict[str, Any] = _shapes(one)
    return shapes


def input_shapes(spec: InputSpec, collated: Tree) -> Tree:
    """Return the shapes and types of what the model takes, of what a spec collates as shapes."""
    return jax.eval_shape(spec.on_device, collated)


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.result_type(leaf)), tree)


def shapes_after(model: StagedModel, variables: Tree, spec: InputSpec, collated: Tree, stage: str) -> Tree:
    """Return shapes and types of what is kept of a stage's output for one example, without running it."""
    through = functools.partial(_through, model, (stage,), None, spec, ONE)
    (outputs,) = jax.eval_shape(through, variables, collated)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), outputs)


def program_sha256(model: StagedModel, variables: Tree, spec: InputSpec, collated: Tree, stage: str) -> str:
    """Hash the operations that lead from an input to what is kept of a stage, and their constants."""
    through = functools.partial(_through, model, (stage,), None, spec, ONE)
    program = jax.make_jaxpr(through)(variables, collated)
    text = re.sub(r" at 0x[0-9a-f]+", "", str(program.jaxpr))
    return hashlib.sha256(text.encode() + b"".join(np.asarray(each).tobytes() for each in program.consts)).hexdigest()


def compute(
    model: StagedModel,
    variables: Tree,
    source: Source,
    spec: InputSpec,
    feed: Feed,
    stages: tuple[str, ...],
    *,
    after: str | None = None,
    epoch: int = 0,
    first: int = 0,
    placement: Placement = ONE,
) -> Iterator[tuple[Tree, ...]]:
    """Yield what each of `stages`, from input to output, makes of a source's examples: arrays (B, …), batch by batch.

    The source holds what stage `after` gives, or raw inputs; `feed` pads. It begins with batch number `first`.
    """
    placement = placement.jitted
    variables, left = placement.parameters(variables), len(source) - first * feed.batch_size
    size, waiting = feed.batch_size, None
    total = steps_per_epoch(len(source), size)
    stream = batches(source, spec, replace(feed, share=Share.of(placement)), epoch=epoch, first=first)
    for number, batch in enumerate(stream, first):
        doing("computing the features", number, total)
        ready, waiting = waiting, _through(model, stages, after, spec, placement, variables, _placed(placement, batch))
        if ready is not None:
            yield tuple(jax.tree.map(lambda leaf: np.asarray(leaf)[:size], ready))
            left -= size
    if waiting is not None:
        yield tuple(jax.tree.map(lambda leaf: np.asarray(leaf)[:left], waiting))


def _placed(placement: Placement, batch: Batch) -> Tree:
    return placement.rows(batch["input"])


def batch_of(inputs: Tree) -> int:
    """Return how many examples go through the frozen stages at once, of what the model takes of one, as shapes.

    >>> image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    >>> batch_of(jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)), batch_of(image)
    (256, 10)
    """
    if isinstance(inputs, Mapping) and "ids" in inputs:
        return int(max(8, min(256, PIECES // inputs["ids"].shape[1])))
    positions = max(math.prod(leaf.shape[1:3]) for leaf in jax.tree.leaves(inputs))
    return int(max(8, min(256, POSITIONS // max(positions, 1))))


@functools.partial(jit, options=forward_options, static_argnums=(0, 1, 2, 3, 4))
def _through(
    model: StagedModel,
    stages: tuple[str, ...],
    after: str | None,
    spec: InputSpec,
    placement: Placement,
    variables: Tree,
    collated: Tree,
) -> tuple[Tree, ...]:
    values, x = [], spec.on_device(collated)
    for stage in stages:
        x = model.apply(variables, x, after=after, until=stage, method="features")
        pools = stage == model.base.stage_names[-1] and isinstance(model.head, Head)
        values.append(pooled(x, model.head.pool) if pools else x)
        after = stage
    return tuple(placement.replicated(values))
