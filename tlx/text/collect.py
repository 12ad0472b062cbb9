"""What is taken from a file of word vectors: which words, each once, and their numbers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tlx.errors import ConfigError
from tlx.files.opening import RegularFile, shown
from tlx.progress import doing
from tlx.text.subwords import Subwords
from tlx.text.word_vectors import WordVectors

MAX_DIM = 1 << 18
"""The most numbers that a vector may have; those that are published have a thousand at most."""

MAX_WORD = 4096
"""The most bytes that a word may have."""


class Collector:
    """Choose words row by row, and hold their numbers; memory grows with what is taken.

    Args:
        file: where the rows come from.
        limit: the first so many rows alone are looked at; None for all.
        words: these words alone are taken; None for all.
        announced: how many rows the file says it holds, for the progress; 0 where it does not say.
    """

    def __init__(self, file: RegularFile, limit: int | None, words: Collection[str] | None, announced: int = 0) -> None:
        self._file = file
        self._limit = limit
        self._wanted = None if words is None else frozenset(words)
        self._rows: dict[str, int] = {}
        self._numbers = bytearray()  # grows in place; a list of arrays would need twice the memory in the end
        self._duplicates = self._not_utf8 = 0
        self._announced = announced if limit is None else min(announced, limit)
        self.seen = 0

    @property
    def full(self) -> bool:
        """Whether no further row is to be looked at."""
        return self._limit is not None and self.seen >= self._limit

    def wants(self, encoded: bytes) -> bool:
        """Look at the next row's word; where it is to be taken, `add` is to follow with its vector, sooner or later."""
        self.seen += 1
        word = encoded.decode("utf-8", "surrogateescape")
        if self._wanted is not None and word not in self._wanted:
            return False
        if word in self._rows:
            self._duplicates += 1
            return False
        self._rows[word] = self.seen
        if not word.isascii() and any("\udc80" <= character <= "\udcff" for character in word):
            self._not_utf8 += 1
        return True

    def add(self, vectors: np.ndarray) -> None:
        """Take the vectors (K, D) float32 of the words that were wanted since the last call."""
        self._numbers += np.ascontiguousarray(vectors, np.float32).data.cast("B") if vectors.size else b""
        doing(f"reading word vectors from {shown(self._file.path.name)}", self.seen, self._announced)

    def check_finite(self, vectors: np.ndarray) -> None:
        """Raise `DataError` for vectors that hold a number that is not finite; they are the next that `add` takes."""
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            words = list(self._rows)
            word = words[len(words) - len(vectors) + int(np.argmin(finite))]
            raise self._file.fault(
                f"row {self._rows[word]:,}: the vector of the word '{shown(word)}' holds a number that is not finite"
            )

    def finish(self, dim: int, notes: list[str], subwords: Subwords | None = None) -> WordVectors:
        """Return what was taken.

        Raises `DataError` where the file has no row.
        """
        if not self.seen:
            raise self._file.fault("holds no word")
        if self._duplicates:
            notes.append(f"{_counted(self._duplicates, 'row')} of a word that stands there already, left out")
        if self._not_utf8:
            notes.append(f"{_counted(self._not_utf8, 'word')} not UTF-8, kept byte for byte (surrogateescape)")
        if self._wanted is not None:
            notes.append(f"{len(self._rows):,} of the {_counted(len(self._wanted), 'word')} asked for")
        matrix = np.frombuffer(self._numbers, np.float32).reshape(len(self._rows), dim)
        matrix.flags.writeable = False
        return WordVectors(tuple(self._rows), matrix, tuple(notes), subwords)


def check_choice_of_words(limit: int | None, words: Collection[str] | None) -> None:
    """Raise `ConfigError` for a limit that is no positive whole number, and for a text in place of several words."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit: {limit!r:.40} is no whole number above 0; give one, or None for all words")
    if isinstance(words, str | bytes) or not all(isinstance(word, str) for word in words or ()):
        raise ConfigError("words: give a collection of texts, as {'the', 'cat'}, or None for all words")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
