"""Rows of pieces: texts as a base takes them, one after the other, and what was left out of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Texts as pieces, special ones included: `ids` of all, one after the other, and where each text begins.

    Args:
        ids: (P,) int32.
        starts: (N + 1,) int64; the pieces of text i are `ids[starts[i] : starts[i + 1]]`.
        second: (N,) int32, the place in its row where the second text of a pair begins; the row's length without one.
        windows: (P,) int16, the number of each piece's window from 1; None where no text is cut into windows.
        lost: (N,) int32, how many pieces of each text are left out because it is too long.
        unknown: (N,) int32, how many pieces are the one for what is unknown.
        special: (N,) int32, how many special pieces stand in the text itself.
        words: (P,) int32, of texts that are split into words: the number of the word, from 0, whose first piece a piece
            is, and -1 for other pieces; None for other texts.
        counts: (N,) int32, how many words such a text has, those without a piece included; None for other texts.
    """

    ids: np.ndarray
    starts: np.ndarray
    second: np.ndarray
    windows: np.ndarray | None
    lost: np.ndarray
    unknown: np.ndarray
    special: np.ndarray
    words: np.ndarray | None = None
    counts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.second)

    @property
    def lengths(self) -> np.ndarray:
        """How many pieces each text has, (N,) int64."""
        lengths: np.ndarray = np.diff(self.starts)
        return lengths

    @functools.cached_property
    def most_words(self) -> int:
        """One more than the largest number of a word that has a piece, and 1 at least; W of `places`."""
        return 1 if self.words is None else max(int(self.words.max(initial=0)) + 1, 1)

    @functools.cached_property
    def words_kept(self) -> np.ndarray:
        """How many words of each text have a piece, (N,) int64; the others are cut off, or made of nothing known."""
        assert self.words is not None
        ends = np.concatenate([[0], np.cumsum(self.words >= 0)])
        kept: np.ndarray = np.diff(ends[self.starts])
        return kept

    def places(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return where the first piece of each word stands in its row, (B, W) int32; -1 where there is none."""
        assert self.words is not None
        made = np.full((len(rows), self.most_words), -1, np.int32)
        for own, row in zip(made, np.asarray(rows).tolist(), strict=True):
            words = self.words[self.starts[row] : self.starts[row + 1]]
            firsts = np.flatnonzero(words >= 0)
            own[words[firsts]] = firsts
        return made

    def take(self, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return rows as `Tokens.collate` takes them, without looking at texts again."""
        spans = [slice(self.starts[row], self.starts[row + 1]) for row in np.asarray(rows).tolist()]
        taken: dict[str, Any] = {"ids": [self.ids[span] for span in spans], "second": self.second[rows]}
        if self.windows is not None:
            taken["windows"] = [self.windows[span] for span in spans]
        if self.words is not None:
            taken["places"] = self.places(rows)
        return taken


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, one after the other."""
    ends = np.cumsum([0, *(part.starts[-1] for part in parts)])
    starts = np.concatenate([[0], *(part.starts[1:] + end for part, end in zip(parts, ends, strict=False))])
    has_windows = any(part.windows is not None for part in parts)
    windows = [np.ones(len(p.ids), np.int16) if p.windows is None else p.windows for p in parts] if has_windows else []
    of_words = all(part.words is not None for part in parts)

    def of(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return Rows(
        of("ids"),
        starts.astype(np.int64),
        of("second"),
        np.concatenate(windows) if windows else None,
        of("lost"),
        of("unknown"),
        of("special"),
        of("words") if of_words else None,
        of("counts") if of_words else None,
    )
