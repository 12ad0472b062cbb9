"""What is kept of a stage: the rows of each array that it returns, in memory or on disk."""

import hashlib
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
    """The rows that are kept of a stage: those of each leaf of what it returns."""

    def __init__(self, structure: Any, shapes: list[Any], types: list[np.dtype]) -> None:
        self.structure, self.shapes, self.types = structure, shapes, types
        self.rows: list[Rows] = []

    @classmethod
    def of(cls, shapes: Tree, kept: KeptType) -> "Kept":
        leaves, structure = jax.tree.flatten(shapes)
        return cls(structure, leaves, [kept_type(kept, leaf.dtype) for leaf in leaves])

    def in_memory(self, leading: tuple[int, int]) -> None:
        pairs = zip(self.shapes, self.types, strict=True)
        self.rows = [MemoryRows((*leading, *leaf.shape), dtype) for leaf, dtype in pairs]

    def on_disk(self, leading: tuple[int, int], folder: Path, key: str, limit: int) -> Iterator[DiskRows]:
        """Open the file of each leaf, one after the other, so that the caller can close those before a failure."""
        for number, (leaf, dtype) in enumerate(zip(self.shapes, self.types, strict=True)):
            own = key if not number else hashlib.sha256(f"{key}/{number}".encode()).hexdigest()
            rows = DiskRows(folder, own, (*leading, *leaf.shape), dtype, limit)
            self.rows.append(rows)
            yield rows

    @property
    def done(self) -> int:
        return min(each.done for each in self.rows)

    def put(self, stage: str, place: int, output: Tree) -> None:
        for rows, leaf, dtype in zip(self.rows, jax.tree.leaves(output), self.types, strict=True):
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
