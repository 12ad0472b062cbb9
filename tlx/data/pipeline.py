"""Turn a source into batches: an order drawn once an epoch, a gather for one or several batches, threads by Grain."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tlx.data.share import Share
from tlx.data.source import Source, in_memory, labels_of, names_of, take
from tlx.errors import ConfigError, DataError, check_flags
from tlx.files.regular import shown
from tlx.images.augment import Augment, generator_of
from tlx.images.preprocess import Preprocess

if TYPE_CHECKING:
    from PIL.Image import Image

ALL = Share()

LIGHT = 2**20
"""Bytes that are made of arrays sooner than threads could hand them over: a batch, or several small ones at once."""

Batch = dict[str, np.ndarray]
"""`image`, float32 (B, H, W, C), `label`, int32 (B,), and perhaps `mask`, bool (B,), false where a row is padding."""


def gather(
    source: Source,
    preprocess: Preprocess,
    rows: np.ndarray,
    augmented: Callable[[int, np.ndarray | Image], np.ndarray] | None = None,
) -> Batch:
    """Make one batch of the examples at `rows`, in that order.

    `augmented(place, image)`, if given, takes the place of `preprocess.frame_one`, `place` counting within the batch.

    >>> from tlx.data import ArraySource
    >>> source = ArraySource(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    >>> batch = gather(source, Preprocess(8, 8, 1), np.array([2, 0]))
    >>> batch["image"].shape, batch["label"].tolist()
    ((2, 8, 8, 1), [2, 0])
    """
    images, labels = take(source, rows)
    if augmented is None and isinstance(images, np.ndarray):
        frames = preprocess.frame(images)
    else:
        frames = np.stack([_framed(source, preprocess, rows, augmented, *each) for each in enumerate(images)])
    return {"image": preprocess.normalise(frames), "label": labels}


def _framed(
    source: Source,
    preprocess: Preprocess,
    rows: np.ndarray,
    augmented: Callable[[int, np.ndarray | Image], np.ndarray] | None,
    place: int,
    image: np.ndarray | Image,
) -> np.ndarray:
    """Make one frame; an error about the image names it."""
    try:
        return preprocess.frame_one(image) if augmented is None else augmented(place, image)
    except DataError as error:
        names, row = names_of(source), int(rows[place])
        name = f"example {row}" if names is None else shown(names[row])
        raise DataError(f"{name}: {str(error).removeprefix('images: ')}") from error


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
    augment: Augment | None = None
    pad: bool = False
    workers: int | None = None
    share: Share = ALL

    def __post_init__(self) -> None:
        steps_per_epoch(0, self.batch_size)  # checks it
        check_flags(shuffle=self.shuffle, balanced=self.balanced, pad=self.pad)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed: {self.seed!r} is not an integer of 0 or more")
        if self.balanced and not self.shuffle:
            raise ConfigError("balanced: examples are drawn from the classes at random; say shuffle=True, too")
        workers = self.workers
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
            raise ConfigError(f"workers: {workers!r} is not an integer of 0 or more, nor None")


def batches(source: Source, preprocess: Preprocess, feed: Feed, *, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
    """Go through an epoch in batches, from batch number `first` on; the last one holds what is left, or is padded.

    Order and pictures depend on the seed, the epoch and the example's number only: neither on the threads nor on where
    an epoch is taken up again. Raises `ConfigError` for a negative epoch or first batch.

    >>> from tlx.data import ArraySource
    >>> source = ArraySource(np.zeros((5, 8, 8), np.uint8), [0, 1, 2, 3, 4])
    >>> [batch["label"].tolist() for batch in batches(source, Preprocess(8, 8, 1), Feed(2))]
    [[0, 1], [2, 3], [4]]
    """
    for name, value in (("epoch", epoch), ("first", first)):
        if value < 0:
            raise ConfigError(f"{name}: {value} is negative; give an integer of 0 or more")
    return _batches(source, preprocess, feed, epoch, first)


def _batches(source: Source, preprocess: Preprocess, feed: Feed, epoch: int, first: int) -> Iterator[Batch]:
    steps = steps_per_epoch(len(source), feed.batch_size)
    if first >= steps:
        return

    def make(step: int) -> Batch:
        keys = order[step * feed.batch_size : (step + 1) * feed.batch_size]
        return _make(source, preprocess, feed, epoch, keys, np.arange(len(keys)) if padded is None else padded)

    order = _order(source, feed, epoch)
    padded = feed.share.rows(feed.batch_size) if feed.pad else None
    at_once = _at_once(source, preprocess, feed)
    workers = min(
        (0 if at_once else min(os.cpu_count() or 1, 16)) if feed.workers is None else feed.workers, steps - first
    )
    if not workers:
        alone = padded is None or np.array_equal(padded, np.arange(feed.batch_size))  # this host makes all rows
        whole = len(source) // feed.batch_size if at_once > 1 and alone else 0  # batches
        for step in range(first, whole, at_once or 1):
            yield from _make_at_once(source, preprocess, feed, order, step, min(step + at_once, whole))
        yield from map(make, range(max(first, whole), steps))
        return
    import grain

    read = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=workers + 1)
    yield from grain.MapDataset.range(first, steps).map(make).to_iter_dataset(read)


def _at_once(source: Source, preprocess: Preprocess, feed: Feed) -> int:
    """Return how many batches are quick to make together, without threads: 0 where not even one is."""
    if feed.augment is not None or not in_memory(source):
        return 0
    made = 4 * feed.batch_size * preprocess.height * preprocess.width * preprocess.channels
    if made > LIGHT:
        return 0
    return max(LIGHT // max(made, feed.batch_size * source[0]["image"].nbytes), 1)


def _order(source: Source, feed: Feed, epoch: int) -> np.ndarray:
    """Return the epoch's order as keys, (N,) int64: row + len(source) * how often the row came before."""
    random = np.random.default_rng(np.random.SeedSequence((feed.seed, epoch)))
    if feed.balanced:
        return _balanced(labels_of(source), random)
    return random.permutation(len(source)) if feed.shuffle else np.arange(len(source))


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
    source: Source, preprocess: Preprocess, feed: Feed, order: np.ndarray, first: int, end: int
) -> Iterator[Batch]:
    """Make the whole batches from `first` to `end` by one gather, which leaves the cores to the steps."""
    size = feed.batch_size
    made = gather(source, preprocess, order[first * size : end * size] % len(source))
    if _has_mask(source, feed):
        made["mask"] = np.ones((end - first) * size, bool)
    for place in range(0, (end - first) * size, size):
        yield {name: found[place : place + size] for name, found in made.items()}


def _has_mask(source: Source, feed: Feed) -> bool:
    return feed.pad and bool(len(source) % feed.batch_size or feed.share.pads(feed.batch_size))


def _make(source: Source, preprocess: Preprocess, feed: Feed, epoch: int, keys: np.ndarray, rows: np.ndarray) -> Batch:
    """Make of a batch, whose examples are `keys`, these rows; those past its end are padding."""
    augment = feed.augment
    real = rows < len(keys)
    keys = keys[rows[real]] if real.any() else keys[:1]  # padding must look like something

    def augmented(place: int, image: np.ndarray | Image) -> np.ndarray:
        assert augment is not None
        return augment(image, preprocess, generator_of(feed.seed, epoch, int(keys[place])))

    batch = gather(source, preprocess, keys % len(source), augmented if augment else None)
    if not real.all():
        made = np.where(real, np.cumsum(real) - 1, 0)
        batch = {name: found[made] for name, found in batch.items()}
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
