"""Mapping: which row of a grown or exchanged vocabulary keeps an old row, and how the others begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from tlx.errors import ConfigError
from tlx.optim.memory import Memory
from tlx.tree.paths import SEPARATOR

Begin = Literal["mean", "fresh", "vector"]
VOCABULARY_LEAVES = ("word/embedding", "mlm/bias")
"""How the paths end of leaves that have a row a piece: the embedding, and the bias of the decoder tied to it."""


class NewPiece(NamedTuple):
    """A piece that the old vocabulary lacks: its number, the numbers of its old pieces, and how its row began.

    "mean" is that of its old pieces' rows, "fresh" is random, "vector" came from a word vector.
    """

    text: str
    id: int
    pieces: tuple[int, ...]
    begin: Begin


@dataclass(frozen=True, repr=False)
class Mapping:
    """How the rows of one vocabulary become those of another.

    Args:
        old_size: rows of the model before.
        new_size: rows after.
        kept: (new_size,) for each new row the old one that it keeps, or -1.
        new: the pieces whose rows begin otherwise.

    Raises:
        ConfigError: for rows that contradict one another.

    >>> Mapping(2, 3, (0, 1, -1), (NewPiece("films", 2, (0, 1), "mean"),))
    Mapping(2 -> 3 rows, 2 kept, 1 new)
    """

    old_size: int
    new_size: int
    kept: tuple[int, ...]
    new: tuple[NewPiece, ...]

    def __post_init__(self) -> None:
        if len(self.kept) != self.new_size:
            raise ConfigError(f"mapping: {len(self.kept)} rows for a vocabulary of {self.new_size}")
        others = {row for row, old in enumerate(self.kept) if old < 0}
        if others != {each.id for each in self.new} or len(others) != len(self.new):
            raise ConfigError("mapping: each row that keeps none must have a new piece, and no other row may")
        olds = [*self.kept, *(piece for each in self.new for piece in each.pieces)]
        if max(olds, default=-1) >= self.old_size or not all(each.pieces for each in self.new):
            raise ConfigError("mapping: each new piece has old pieces, and none is above the old size")

    def __repr__(self) -> str:
        kept = self.new_size - len(self.new)
        return f"Mapping({self.old_size:,} -> {self.new_size:,} rows, {kept:,} kept, {len(self.new):,} new)"

    @property
    def changes(self) -> bool:
        """Whether any row becomes another."""
        return self.old_size != self.new_size or self.kept != tuple(range(self.old_size))

    def mean_rows(self, rows: Any) -> np.ndarray:
        """Return rows (new_size, …) of old ones (old_size, …): kept as they are, others the mean of their old pieces'.

        >>> Mapping(2, 3, (1, 0, -1), (NewPiece("films", 2, (0, 1), "mean"),)).mean_rows(np.array([1.0, 3.0]))
        array([3., 1., 2.])
        """
        rows = np.asarray(rows)
        made = rows[np.maximum(np.array(self.kept, np.int64), 0)]
        for each in self.new:
            made[each.id] = rows[list(each.pieces)].astype(np.float64).mean(0).astype(rows.dtype)
        return made


def has_rows(path: str) -> bool:
    """Tell whether a leaf has a row for each piece, by the end of its path (`VOCABULARY_LEAVES`).

    >>> has_rows("base/embeddings/word/embedding"), has_rows("base/embeddings/position/embedding")
    (True, False)
    """
    return any(path == end or path.endswith(SEPARATOR + end) for end in VOCABULARY_LEAVES)


def map_memory(memory: Memory, mapping: Mapping) -> Memory:
    """Return the optimizer's memory for a model whose vocabulary was mapped, so that a fit can go on.

    The moments of kept rows stay; those of new rows are the mean of their old pieces' rows, however the rows themselves
    began: with moments of zero Adam's next step would be several times too long.

    Args:
        memory: that of a `tlx.Fit`.
        mapping: what `add_words` or `swap_tokenizer` returned.

    Raises:
        ConfigError: for a memory of another vocabulary.

    >>> leaves = {"base/embeddings/word/embedding": {"mu": np.array([[2.0], [4.0]])}}
    >>> shapes, cohorts = {"base/embeddings/word/embedding": (2, 1)}, {"base/embeddings/word/embedding": "0:all@0"}
    >>> memory = Memory(leaves, {"0:all@0": {}}, cohorts, {"0:all@0": 1}, shapes)
    >>> mapped = map_memory(memory, Mapping(2, 3, (0, 1, -1), (NewPiece("films", 2, (0, 1), "mean"),)))
    >>> mapped.leaves["base/embeddings/word/embedding"]["mu"].tolist()
    [[2.0], [4.0], [3.0]]
    """
    leaves, shapes = dict(memory.leaves), dict(memory.shapes)
    for path in filter(has_rows, memory.shapes):
        shape = memory.shapes[path]
        if shape[0] != mapping.old_size:
            raise ConfigError(
                f"memory: {path!r} has {shape[0]:,} rows, and the mapping is of {mapping.old_size:,}: take the memory "
                "of the fit whose model was mapped"
            )
        # A factored moment (Adafactor) has one number a row, or one a column: only the former are rows of pieces.
        rows = {name for name, slot in leaves[path].items() if np.shape(slot) in (shape, shape[:1])}
        leaves[path] = {
            name: _like(slot, mapping.mean_rows(slot)) if name in rows else slot for name, slot in leaves[path].items()
        }
        shapes[path] = (mapping.new_size, *shape[1:])
    return memory.replace(leaves=leaves, shapes=shapes)


def _like(old: Any, made: np.ndarray) -> Any:
    """Return an array of JAX's where the old one was."""
    if isinstance(old, np.ndarray):
        return made
    import jax.numpy as jnp

    return jnp.asarray(made)
