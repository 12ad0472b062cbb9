"""Turn a source into batches: order, shuffling and batching by Grain, then one gather a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tlx.data.source import Source, take
from tlx.errors import ConfigError

Batch = dict[str, np.ndarray]
"""`image`, float32 (B, H, W, C), and `label`, int32 (B,)."""


def gather(source: Source, preprocess: Callable[[np.ndarray], np.ndarray], indices: np.ndarray) -> Batch:
    """Make one batch of the examples at `indices`, in that order.

    >>> from tlx.data import ArraySource, Preprocess
    >>> source = ArraySource(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    >>> batch = gather(source, Preprocess(8, 8, 1), np.array([2, 0]))
    >>> batch["image"].shape, batch["label"].tolist()
    ((2, 8, 8, 1), [2, 0])
    """
    images, labels = take(source, indices)
    if isinstance(images, np.ndarray):
        return {"image": preprocess(images), "label": labels}
    return {"image": np.concatenate([preprocess(image[None]) for image in images]), "label": labels}


def batches(
    source: Source,
    preprocess: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = False,
) -> Iterator[Batch]:
    """Go through every example once, in batches of `batch_size`; the last batch holds what is left.

    The order is the source's own, or with `shuffle` a permutation that depends on (seed, epoch) and the number of
    examples only. Raises `ConfigError` for a batch size below 1 or a negative seed or epoch.

    >>> from tlx.data import ArraySource, Preprocess
    >>> source = ArraySource(np.zeros((5, 8, 8), np.uint8), [0, 1, 2, 3, 4])
    >>> [batch["label"].tolist() for batch in batches(source, Preprocess(8, 8, 1), 2)]
    [[0, 1], [2, 3], [4]]
    """
    steps = steps_per_epoch(len(source), batch_size)
    for name, value in (("seed", seed), ("epoch", epoch)):
        if value < 0:
            raise ConfigError(f"{name}: {value} is negative; give an integer of 0 or more")
    return _batches(source, preprocess, batch_size, steps, (seed, epoch) if shuffle else None)


def _batches(
    source: Source,
    preprocess: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    steps: int,
    entropy: tuple[int, int] | None,
) -> Iterator[Batch]:
    if not steps:
        return
    import grain

    order = grain.MapDataset.range(len(source))
    if entropy is not None:
        order = order.shuffle(seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]))
    order = order.batch(batch_size, batch_fn=np.asarray)
    for step in range(steps):
        yield gather(source, preprocess, order[step])


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Count the batches of one epoch, the last partial one included.

    >>> steps_per_epoch(10, 4)
    3
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size: {batch_size!r} is not an integer of 1 or more")
    return -(-examples // batch_size)
