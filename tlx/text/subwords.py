"""Vectors of words from the rows of their character n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.files.opening import RegularFile, shown
from tlx.text.fasttext_rows import Rows
from tlx.text.ngrams import hashed_ngrams

_ROWS = 8192  # that are in memory at once


@dataclass(frozen=True, eq=False)
class Subwords:
    """Make the vector of any word from a fastText file's n-grams; the rows stay in the file until they are asked for.

    Args:
        file: the file; it must stay where it is, as it is.
        rows: all rows of the input matrix: words first, then buckets.
        minn: characters of the shortest n-grams.
        maxn: characters of the longest n-grams.
        bucket: how many buckets n-grams are hashed into.
        word_rows: how many rows stand before the first bucket's.
        whole: words that have no n-grams, whatever their characters.
        pruned: the rows of those buckets that were kept, counted from the first; None where all were.
    """

    file: RegularFile
    rows: Rows
    minn: int
    maxn: int
    bucket: int
    word_rows: int
    whole: frozenset[bytes] = frozenset()
    pruned: Mapping[int, int] | None = None

    def vector(self, word: str) -> np.ndarray | None:
        """Return the mean (D,) float32 of the rows of a word's n-grams, or None where it has none.

        Raises:
            DataError: where it is not finite, or the file has changed since it was opened.
        """
        try:
            encoded = word.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # another surrogate: no bytes of a file decode to it
            return None
        owners, rows = self._ngram_rows([encoded])
        return self._means([encoded], owners, rows)[0] if len(owners) else None

    def means(self, words: Sequence[bytes], own_rows: Sequence[int]) -> np.ndarray:
        """Return for words of the vocabulary the mean (B, D) float32 of the word's own row and its n-grams' rows."""
        owners, rows = self._ngram_rows(words)
        owners = np.concatenate([np.arange(len(words)), owners])
        order = np.argsort(owners, kind="stable")
        return self._means(words, owners[order], np.concatenate([np.asarray(own_rows, np.int64), rows])[order])

    def _ngram_rows(self, words: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        owners, buckets = hashed_ngrams(words, self.minn, self.maxn, self.bucket)
        if self.whole:
            cut = np.array([word not in self.whole for word in words], bool)[owners]
            owners, buckets = owners[cut], buckets[cut]
        if self.pruned is not None:
            kept = np.array([self.pruned.get(bucket, -1) for bucket in buckets.tolist()], np.int64)
            owners, buckets = owners[kept >= 0], kept[kept >= 0]
        return owners, self.word_rows + buckets

    def _means(self, words: Sequence[bytes], owners: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Average rows by their owners, which do not decrease, some thousands at a time."""
        sums = np.zeros((len(words), self.rows.dim), np.float32)
        for start in range(0, len(rows), _ROWS):
            block = owners[start : start + _ROWS]
            begins = np.flatnonzero(np.diff(block, prepend=-1))
            with np.errstate(invalid="ignore", over="ignore"):  # of damaged rows; they are looked for below
                sums[block[begins]] += np.add.reduceat(self.rows.take(rows[start : start + _ROWS]), begins, axis=0)
        means = sums / np.maximum(np.bincount(owners, minlength=len(words)), 1)[:, None].astype(np.float32)
        finite = np.isfinite(means).all(axis=1)
        if not finite.all():
            word = words[int(np.argmin(finite))].decode("utf-8", "surrogateescape")
            raise self.file.fault(f"the vector of the word '{shown(word)}' holds a number that is not finite")
        return means
