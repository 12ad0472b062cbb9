"""What is kept of a stage: the rows of each array that it returns, in memory or on disk."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from tlx.errors import ConfigError
from tlx.training.cache_options import Kept as KeptType
from tlx.training.store import DiskRows, MemoryRows, Rows
from tlx.tree.paths import Tree


class Kept:
    """The rows that are kept of a stage: those of each leaf of what it returns, for so many views of the examples.

    Args:
        shapes: what the stage returns for one example, as shapes.
        kept: the type to keep it in.
        views: how many views of each example there are.
        starts: (N + 1,), where the rows of each example begin in leaves that are as long as each text is.
        ragged: which of the leaves these are.
    """

    def __init__(
        self, shapes: Tree, kept: KeptType, views: int, starts: np.ndarray, ragged: tuple[bool, ...] = ()
    ) -> None:
        self.shapes, self.structure = jax.tree.flatten(shapes)
        self.types = [kept_type(kept, leaf.dtype) for leaf in self.shapes]
        self.views, self.starts = views, starts
        self.ragged = ragged or (False,) * len(self.shapes)
        self.rows: list[Rows] = []

    @property
    def _count(self) -> int:
        return len(self.starts) - 1

    @property
    def leading(self) -> list[tuple[int, ...]]:
        """The shape in which each leaf is kept: views, then examples, or of ragged leaves the rows of all of these."""
        total = int(self.starts[-1])
        pairs = zip(self.shapes, self.ragged, strict=True)
        return [
            (self.views, total, *leaf.shape[1:]) if ragged else (self.views, self._count, *leaf.shape)
            for leaf, ragged in pairs
        ]

    @property
    def nbytes(self) -> int:
        """How many bytes all of it takes."""
        pairs = zip(self.leading, self.types, strict=True)
        return sum(math.prod(shape) * dtype.itemsize for shape, dtype in pairs)

    def in_memory(self) -> None:
        self.rows = [MemoryRows(shape, dtype) for shape, dtype in zip(self.leading, self.types, strict=True)]

    def on_disk(self, folder: Path, key: str, limit: int) -> Iterator[DiskRows]:
        """Open the file of each leaf, one after the other, so that the caller can close those before a failure."""
        for number, (shape, dtype) in enumerate(zip(self.leading, self.types, strict=True)):
            own = key if not number else hashlib.sha256(f"{key}/{number}".encode()).hexdigest()
            rows = DiskRows(folder, own, shape, dtype, limit)
            self.rows.append(rows)
            yield rows

    @property
    def done(self) -> int:
        """How many examples are there, those of all views together."""
        return min(self._examples(rows.done) if ragged else rows.done for rows, ragged in self._each())

    def _examples(self, rows: int) -> int:
        """Return how many examples are whole in so many rows of a ragged leaf."""
        view, rest = divmod(rows, max(int(self.starts[-1]), 1))
        return view * self._count + int(np.searchsorted(self.starts, rest, side="right")) - 1

    def _each(self) -> Iterator[tuple[Rows, bool]]:
        return zip(self.rows, self.ragged, strict=True)

    def put(self, stage: str, view: int, first: int, output: Tree) -> None:
        """Keep what a stage made of a batch: rows (B, …) of the examples of a view from `first` on."""
        leaves = jax.tree.leaves(output)
        for (rows, ragged), leaf, dtype in zip(self._each(), leaves, self.types, strict=True):
            place = view * self._count + first
            if ragged:
                lengths = np.diff(self.starts[first : first + len(leaf) + 1])
                leaf = np.concatenate([row[:length] for row, length in zip(leaf, lengths, strict=True)])
                place = view * int(self.starts[-1]) + int(self.starts[first])
            rows.put(place, _narrowed(stage, leaf, dtype))

    def whole(self) -> Tree:
        return jax.tree.unflatten(self.structure, [each.whole() for each in self.rows])


def kept_type(kept: KeptType, computed: Any) -> np.dtype:
    """Return the type in which what is computed in another is kept."""
    if kept == "computed" or not jnp.issubdtype(computed, jnp.floating):  # masks and numbers of tokens stay
        dtype: np.dtype = np.dtype(computed)
        return dtype
    return np.dtype(ml_dtypes.bfloat16) if kept == "bfloat16" else np.dtype(kept)


def _narrowed(stage: str, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Cast activations; raise `ConfigError` where the type has no room for them."""
    if rows.dtype == dtype:
        return rows
    with np.errstate(over="ignore"):
        cast = rows.astype(dtype)
    if not np.isfinite(cast).all() and np.isfinite(rows).all():
        raise ConfigError(f"cache: activations of stage {stage!r} overflow {dtype}: keep them in bfloat16 or float32")
    return cast
