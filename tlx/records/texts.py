"""What a run on texts keeps of them in `evaluation.npz`: lengths, what was left out, and mistakes with their words."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlx.records.evaluation import read_arrays
from tlx.records.fields import fault

_ARRAYS = {  # name in evaluation.npz -> the kinds of dtype that it may have
    "text_parts": "U",
    "text_counts": "iu",
    "text_lengths": "iu",
    "mistake_texts": "U",
    "mistake_pairs": "U",
    "mistake_words": "iu",
    "mistake_scores": "f",
}
_AXES = {"text_counts": 2, "text_lengths": 2, "mistake_words": 2}  # of the others 1
_MOST = 1 << 60  # of a count: sums of these fit an int64


class Counts(NamedTuple):
    """How many of a part's texts, and of their pieces, there are, and what is lost of them."""

    texts: int
    pieces: int
    """Special ones included, and without those that are lost."""
    positions: int
    """That are computed: the pieces with their padding."""
    cut: int
    """Texts that are too long."""
    lost: int
    """Pieces that are left out of these."""
    unknown: int
    """Pieces that the vocabulary does not know."""
    special: int
    """Texts that hold names of special pieces, such as [MASK]."""


@dataclass(frozen=True)
class Part:
    """The texts of a part of the data: `counts`, and how many texts have each length (length, count), (L, 2) int64."""

    counts: Counts
    lengths: np.ndarray


@dataclass(frozen=True)
class MistakenText:
    """A text that a model mistook: itself, its pair ("" without), and words with what these said for the answer.

    `words` is (W, 3) int64: the text (0, or 1 of the pair), where the word begins and ends. `scores` is (W,) float32.
    """

    text: str
    pair: str
    words: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class TextRecord:
    """Hold what a run keeps of its texts: `parts` by name, and K mistakes in the order of `Evaluation.mistakes`.

    >>> counts = Counts(2, 9, 16, 0, 0, 1, 0)
    >>> mistake = MistakenText("bad film", "", np.array([[0, 0, 3]]), np.ones(1, np.float32))
    >>> record = TextRecord({"test": Part(counts, np.array([[4, 1], [5, 1]]))}, (mistake,))
    >>> {name: array.shape for name, array in record.to_arrays().items()}["mistake_words"]
    (1, 4)
    """

    parts: Mapping[str, Part]
    mistakes: tuple[MistakenText, ...] = ()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the record as plain arrays by name; `read_texts` is the inverse.

        `text_counts` has a row for each of `text_parts`; rows of `text_lengths` are part, length and count, and those
        of `mistake_words` mistake, text, begin and end.
        """
        lengths = [_numbered(number, part.lengths) for number, part in enumerate(self.parts.values())]
        words = [_numbered(number, mistake.words) for number, mistake in enumerate(self.mistakes)]
        return {
            "text_parts": np.array(list(self.parts), np.str_),
            "text_counts": np.array([part.counts for part in self.parts.values()], np.int64).reshape(-1, 7),
            "text_lengths": np.concatenate([np.zeros((0, 3), np.int64), *lengths]),
            "mistake_texts": np.array([mistake.text for mistake in self.mistakes], np.str_),
            "mistake_pairs": np.array([mistake.pair for mistake in self.mistakes], np.str_),
            "mistake_words": np.concatenate([np.zeros((0, 4), np.int64), *words]),
            "mistake_scores": np.concatenate(
                [np.zeros(0, np.float32), *(each.scores.astype(np.float32) for each in self.mistakes)]
            ),
        }


def _numbered(number: int, rows: np.ndarray) -> np.ndarray:
    return np.insert(np.asarray(rows, np.int64), 0, number, axis=1)


def read_texts(path: Path, mistakes: int) -> TextRecord | None:
    """Read and check what an `evaluation.npz` holds of texts; None where it is of other inputs, or of an older version.

    Args:
        path: the file.
        mistakes: how many mistakes the evaluation beside it has.

    Raises:
        CheckpointError: for a file that is missing, cut short, altered or at odds with itself.
        UnsafeFileError: for arrays of Python objects, and such as would unpack to more than 1 GiB.
    """
    empty = dict.fromkeys(_ARRAYS, np.zeros(0))
    arrays = read_arrays(path, _ARRAYS, empty, (set(), set(_ARRAYS)))
    if all(array is empty[name] for name, array in arrays.items()):
        return None
    for name, array in arrays.items():
        axes = _AXES.get(name, 1)
        if array.ndim != axes:
            raise fault(path, f"{name!r} must have {'one axis' if axes == 1 else f'{axes} axes'}, found {array.shape}")
    names, texts, pairs = (
        _texts(path, name, arrays[name]) for name in ("text_parts", "mistake_texts", "mistake_pairs")
    )
    counts, lengths, words = (arrays[name] for name in ("text_counts", "text_lengths", "mistake_words"))
    if counts.shape != (len(names), len(Counts._fields)) or len(set(names)) != len(names):
        raise fault(path, f"'text_counts' has shape {counts.shape}, 'text_parts' {len(names)} names")
    for name, array, columns in (("text_lengths", lengths, 3), ("mistake_words", words, 4)):
        if array.shape[1] != columns:
            raise fault(path, f"{name!r} must have {columns} columns, found {array.shape}")
    for name, array in (("text_counts", counts), ("text_lengths", lengths), ("mistake_words", words)):
        if array.size and (array.min() < 0 or array.max() > _MOST):
            raise fault(path, f"{name!r} holds {array.min()} to {array.max()}: not counts")
    if len(texts) not in (0, mistakes) or len(pairs) != len(texts):
        raise fault(path, f"'mistake_texts' has {len(texts)} rows, 'mistake_pairs' {len(pairs)}, 'mistakes' {mistakes}")
    if lengths.size and lengths[:, 0].max() >= len(names):
        raise fault(path, f"'text_lengths' names part {lengths[:, 0].max()} of {len(names)}")
    scores = arrays["mistake_scores"]
    if len(scores) != len(words):
        raise fault(path, f"'mistake_scores' has {len(scores)} rows, 'mistake_words' has {len(words)}")
    if not np.isfinite(scores).all():
        raise fault(path, "'mistake_scores' holds numbers that are not finite")
    _check_words(path, words, texts, pairs)
    lengths, words = lengths.astype(np.int64), words.astype(np.int64)
    parts = {
        name: Part(Counts(*counts[number].tolist()), lengths[lengths[:, 0] == number, 1:])
        for number, name in enumerate(names)
    }
    mistaken = []
    for number, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
        own = words[:, 0] == number
        mistaken.append(MistakenText(text, pair, words[own, 1:], scores[own]))
    return TextRecord(parts, tuple(mistaken))


def _check_words(path: Path, words: np.ndarray, texts: tuple[str, ...], pairs: tuple[str, ...]) -> None:
    """Raise `CheckpointError` for words that lie in no text."""
    for row, (mistake, text, begin, end) in enumerate(words.tolist()):
        if mistake >= len(texts) or text > 1 or not begin <= end <= len((texts, pairs)[text][mistake]):
            raise fault(path, f"'mistake_words' row {row} is {words[row].tolist()}, outside of the texts")


def _texts(path: Path, name: str, array: np.ndarray) -> tuple[str, ...]:
    if (array.view(f"{array.dtype.str[0]}u4") > sys.maxunicode).any():  # which Python could not even print
        raise fault(path, f"{name!r} holds characters that do not exist")
    return tuple(array.tolist())
