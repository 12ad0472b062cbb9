"""The record of word vectors: words, their matrix, and what makes vectors of other words."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from tlx.errors import DataError
from tlx.text.subwords import Subwords


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Hold the vectors of words, row i of `matrix` being that of `words[i]`.

    Args:
        words: V words, each once; bytes that are not UTF-8 stand in them as "surrogateescape" decodes them.
        matrix: (V, D) float32.
        notes: what one should know of the file: its layout, duplicates, words that are not UTF-8.
        subwords: what makes the vector of a word that is not among `words` (fastText's n-grams), or None.

    Raises:
        DataError: for a matrix of another shape or type, and for a word that is there twice.

    >>> vectors = WordVectors(("the", "cat"), np.eye(2, 3, dtype=np.float32))
    >>> vectors.vector("cat").tolist(), vectors.vector("dog"), vectors.index["cat"]
    ([0.0, 1.0, 0.0], None, 1)
    """

    words: tuple[str, ...]
    matrix: np.ndarray
    notes: tuple[str, ...] = ()
    subwords: Subwords | None = None

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or len(self.matrix) != len(self.words) or self.matrix.dtype != np.float32:
            raise DataError(
                f"word vectors: a matrix {self.matrix.shape} of {self.matrix.dtype} for {len(self.words)} words; give "
                "one row of float32 for each word"
            )
        if len(self.index) != len(self.words):
            raise DataError("word vectors: a word is there twice; keep one row of each word")

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """The row of each word in `matrix`."""
        return {word: row for row, word in enumerate(self.words)}

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return int(self.matrix.shape[1])

    def vector(self, word: str) -> np.ndarray | None:
        """Return the vector (D,) float32 of a word.

        Args:
            word: as it stands in the file; tlx neither lowers nor strips it.

        Returns:
            The word's row. For a word that is not among `words`, the mean of its n-grams' vectors where the file has
            n-grams, and None where it has none.

        Raises:
            DataError: for n-grams' vectors that are not finite, and for a file that has changed since.
        """
        row = self.index.get(word)
        if row is not None:
            return self.matrix[row]
        return self.subwords.vector(word) if self.subwords else None

    def __repr__(self) -> str:
        more = ", with n-grams" if self.subwords else ""
        return f"WordVectors({len(self.words):,} words, {self.dim} numbers each{more})"
