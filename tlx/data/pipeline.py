"""Turn a source into batches: an order drawn once an epoch, a gather for one or several batches, threads by Grain."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tlx.data.inputs import InputSpec
from tlx.data.share import Share
from tlx.data.source import Source, is_numeric, labels_of, names_of, sizes_of, take
from tlx.data.views import in_memory
from tlx.errors import ConfigError, DataError, check_flags
from tlx.files.opening import shown
from tlx.images.augment import generator_of
from tlx.images.augment_function import as_augment

ALL = Share()

LIGHT = 2**20
"""Bytes that are made of arrays sooner than threads could hand them over: a batch, or several small ones at once."""

Batch = dict[str, Any]
"""`input`, what an input spec collates (B, …), and, where there are such, `target` (B, …), further columns of numbers
(B, …), and `mask`, bool (B,), false where a row is padding."""


class Varies(Protocol):
    """An augmentation: it takes the place of `InputSpec.collate` for a training example, and draws from a generator."""

    def __call__(self, value: Any, spec: Any, generator: np.random.Generator) -> Any: ...

    def check(self, spec: Any) -> None: ...

    def to_dict(self) -> dict[str, Any]: ...


def gather(
    source: Source,
    spec: InputSpec,
    rows: np.ndarray,
    augmented: Callable[[int, Any], Any] | None = None,
    length: int | None = None,
) -> Batch:
    """Make one batch of the examples at `rows`, in that order; columns that are no numbers are left out.

    `augmented(place, input)`, if given, takes the place of `spec.collate`, `place` counting within the batch. `length`
    is what a spec of texts pads to.

    >>> from tlx.data import ArraySource
    >>> from tlx.images import Preprocess
    >>> source = ArraySource(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    >>> batch = gather(source, Preprocess(8, 8, 1), np.array([2, 0]))
    >>> batch["input"].shape, batch["target"].tolist()
    ((2, 8, 8, 1), [2, 0])
    """
    columns = take(source, rows)
    inputs = columns.pop("input")
    padding: dict[str, Any] = {} if length is None else {"length": length}
    stack: Any = getattr(spec, "stack", _stacked)
    if augmented is None and (hasattr(inputs, "dtype") or isinstance(inputs, dict)):
        collated = spec.collate(inputs, **padding)
    else:
        collated = stack([_one(source, spec, rows, augmented, *each) for each in enumerate(_listed(inputs))], **padding)
    return {"input": collated, **{name: column for name, column in columns.items() if is_numeric(column)}}


def _listed(inputs: Any) -> Any:
    """Return inputs one by one, those that are columns, too."""
    if not isinstance(inputs, dict):
        return inputs
    count = len(next(iter(inputs.values())))
    return [{name: column[row] for name, column in inputs.items()} for row in range(count)]


def _one(
    source: Source,
    spec: InputSpec,
    rows: np.ndarray,
    augmented: Callable[[int, Any], Any] | None,
    place: int,
    value: Any,
) -> Any:
    """Collate one input; an error about it names it."""
    try:
        if augmented is not None:
            return augmented(place, value)
        return map_arrays(lambda array: array[0], spec.collate([value]))
    except DataError as error:
        names, row = names_of(source), int(rows[place])
        name = f"example {row}" if names is None else shown(names[row])
        raise DataError(f"{name}: {str(error).removeprefix('images: ')}") from error


def map_arrays(function: Callable[..., Any], tree: Any, *more: Any) -> Any:
    """Apply a function to the arrays of nested dicts; `jax.tree.map` without JAX, which threads need not import."""
    if isinstance(tree, dict):
        return {name: map_arrays(function, each, *(other[name] for other in more)) for name, each in tree.items()}
    return function(tree, *more)


def arrays_of(tree: Any) -> list[Any]:
    """List the arrays of nested dicts."""
    return [array for each in tree.values() for array in arrays_of(each)] if isinstance(tree, dict) else [tree]


def _stacked(trees: list[Any]) -> Any:
    return map_arrays(lambda *arrays: np.stack(arrays), *trees)


@dataclass(frozen=True)
class Feed:
    """Say how examples are fed: their order, what is done to them, and how many threads make batches.

    With `shuffle`, the order of an epoch is a permutation; with `balanced` besides, every class comes equally often,
    those with few examples by repetition. `pad` fills the last batch up to the full size with copies of its first
    example; then every batch of a source that does not divide evenly has a `mask`, true for real examples. `workers`
    threads make batches ahead (0: none; None: one a core, at most 16, and none where a batch is a small copy of what is
    in memory). `share` says which rows of a batch are made here; more rows of padding it needs are marked likewise.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = False
    balanced: bool = False
    augment: Varies | Callable[..., Any] | None = None
    pad: bool = False
    workers: int | None = None
    share: Share = ALL

    def __post_init__(self) -> None:
        steps_per_epoch(0, self.batch_size)  # checks it
        object.__setattr__(self, "augment", as_augment(self.augment) or None)
        check_flags(shuffle=self.shuffle, balanced=self.balanced, pad=self.pad)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed: {self.seed!r} is not an integer of 0 or more")
        if self.balanced and not self.shuffle:
            raise ConfigError("balanced: examples are drawn from the classes at random; say shuffle=True, too")
        workers = self.workers
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
            raise ConfigError(f"workers: {workers!r} is not an integer of 0 or more, nor None")


def batches(source: Source, spec: InputSpec, feed: Feed, *, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
    """Go through an epoch in batches, from batch number `first` on; the last one holds what is left, or is padded.

    Order and inputs depend on the seed, the epoch and the example's number only: neither on the threads nor on where
    an epoch is taken up again. Raises `ConfigError` for a negative epoch or first batch.

    >>> from tlx.data import ArraySource
    >>> from tlx.images import Preprocess
    >>> source = ArraySource(np.zeros((5, 8, 8), np.uint8), [0, 1, 2, 3, 4])
    >>> [batch["target"].tolist() for batch in batches(source, Preprocess(8, 8, 1), Feed(2))]
    [[0, 1], [2, 3], [4]]
    """
    for name, value in (("epoch", epoch), ("first", first)):
        if value < 0:
            raise ConfigError(f"{name}: {value} is negative; give an integer of 0 or more")
    return _batches(source, spec, feed, epoch, first)


def _batches(source: Source, spec: InputSpec, feed: Feed, epoch: int, first: int) -> Iterator[Batch]:
    steps = steps_per_epoch(len(source), feed.batch_size)
    if first >= steps:
        return

    def make(step: int) -> Batch:
        keys = order[step * feed.batch_size : (step + 1) * feed.batch_size]
        return _make(source, spec, feed, epoch, keys, np.arange(len(keys)) if padded is None else padded)

    order = _order(source, feed, epoch)
    padded = feed.share.rows(feed.batch_size) if feed.pad else None
    at_once = _at_once(source, spec, feed)
    workers = min(
        (0 if at_once else min(os.cpu_count() or 1, 16)) if feed.workers is None else feed.workers, steps - first
    )
    if not workers:
        alone = padded is None or np.array_equal(padded, np.arange(feed.batch_size))  # this host makes all rows
        whole = len(source) // feed.batch_size if at_once > 1 and alone else 0  # batches
        for step in range(first, whole, at_once or 1):
            yield from _make_at_once(source, spec, feed, order, step, min(step + at_once, whole))
        yield from map(make, range(max(first, whole), steps))
        return
    import grain

    read = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=workers + 1)
    yield from grain.MapDataset.range(first, steps).map(make).to_iter_dataset(read)


def _at_once(source: Source, spec: InputSpec, feed: Feed) -> int:
    """Return how many batches are quick to make together, without threads: 0 where not even one is."""
    if feed.augment is not None or not in_memory(source):
        return 0
    read, made = (
        feed.batch_size * sum(getattr(each, "nbytes", 1) for each in arrays_of(tree))
        for tree in (source[0]["input"], gather(source, spec, np.zeros(1, np.int64))["input"])
    )
    return 0 if made > LIGHT else max(LIGHT // max(made, read), 1)


def _order(source: Source, feed: Feed, epoch: int) -> np.ndarray:
    """Return the epoch's order as keys, (N,) int64: row + len(source) * how often the row came before."""
    if not feed.shuffle:
        return np.arange(len(source))
    random = np.random.default_rng(np.random.SeedSequence((feed.seed, epoch)))
    keys = _balanced(labels_of(source), random) if feed.balanced else random.permutation(len(source))
    sizes = sizes_of(source)
    return keys if sizes is None else _grouped(keys, sizes[keys % len(source)], feed.batch_size, random)


def _grouped(keys: np.ndarray, sizes: np.ndarray, batch_size: int, random: np.random.Generator) -> np.ndarray:
    """Put keys into an order in which most batches hold examples of one size, and these batches come at random.

    What fills no whole batch is drawn first, whatever its size, and comes last. As many batches as there are sizes, but
    one, may hold several.
    """
    whole = len(keys) // batch_size * batch_size
    order = np.argsort(sizes[:whole], kind="stable").reshape(-1, batch_size)
    shuffled = order[random.permutation(len(order))].reshape(-1)
    return np.concatenate([keys[:whole][shuffled], keys[whole:]])


def _balanced(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw as many keys as there are examples, as many of each class that has any, give or take one."""
    total = len(labels)
    present = random.permutation(np.unique(labels))
    keys = []
    for place, label in enumerate(present):
        rows = np.flatnonzero(labels == label)
        count = total // len(present) + (place < total % len(present))
        rounds = [random.permutation(rows) + total * again for again in range(-(-count // len(rows)))]
        keys.append(np.concatenate(rounds)[:count])
    return random.permutation(np.concatenate(keys))


def _make_at_once(
    source: Source, spec: InputSpec, feed: Feed, order: np.ndarray, first: int, end: int
) -> Iterator[Batch]:
    """Make the whole batches from `first` to `end` by one gather, which leaves the cores to the steps."""
    size = feed.batch_size
    made = gather(source, spec, order[first * size : end * size] % len(source))  # inputs of one size
    if _has_mask(source, feed):
        made["mask"] = np.ones((end - first) * size, bool)
    for place in range(0, (end - first) * size, size):
        yield map_arrays(lambda array, place=place: array[place : place + size], made)


def _has_mask(source: Source, feed: Feed) -> bool:
    return feed.pad and bool(len(source) % feed.batch_size or feed.share.pads(feed.batch_size))


def _make(source: Source, spec: InputSpec, feed: Feed, epoch: int, keys: np.ndarray, rows: np.ndarray) -> Batch:
    """Make of a batch, whose examples are `keys`, these rows; those past its end are padding."""
    augment, whole = feed.augment, keys
    real = rows < len(keys)
    keys = keys[rows[real]] if real.any() else keys[:1]  # padding must look like something

    def augmented(place: int, value: Any) -> Any:
        assert augment is not None
        return augment(value, spec, generator_of(feed.seed, epoch, int(keys[place])))

    sizes = sizes_of(source)
    length = None if sizes is None else int(sizes[whole % len(source)].max())
    batch = gather(source, spec, keys % len(source), augmented if augment else None, length)
    if not real.all():
        made = np.where(real, np.cumsum(real) - 1, 0)
        batch = map_arrays(lambda array: array[made], batch)
    if _has_mask(source, feed):
        batch["mask"] = real
    return batch


def rows_of_epoch(source: Source, feed: Feed, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows of each batch of an epoch, (S, B) int32, and the mask, (S, B) bool, or None where none is padded.

    They are those of `batches` with a padding feed, for a program that has all examples at hand.

    >>> from tlx.data import ArraySource
    >>> source = ArraySource(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    >>> rows, mask = rows_of_epoch(source, Feed(2, pad=True), 1)
    >>> rows.tolist(), mask.tolist()
    ([[0, 1], [2, 2]], [[True, True], [True, False]])
    """
    count, size = len(source), feed.batch_size
    rows = _order(source, feed, epoch) % count
    missing = steps_per_epoch(count, size) * size - count
    first = rows[count // size * size :][:1]
    filled = np.concatenate([rows, np.repeat(first, missing)]).astype(np.int32).reshape(-1, size)
    return filled, (np.arange(filled.size) < count).reshape(filled.shape) if missing else None


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Count the batches of one epoch, the last partial one included.

    >>> steps_per_epoch(10, 4)
    3
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size: {batch_size!r} is not an integer of 1 or more")
    return -(-examples // batch_size)
