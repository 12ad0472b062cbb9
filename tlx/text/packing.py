"""Packing: several texts in one row of a fixed length, so that hardly any position is padding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tlx.errors import ConfigError, DataError
from tlx.text.rows import Rows
from tlx.text.truncation import MOST_WINDOWS


class Packed(NamedTuple):
    """Texts that share rows.

    Args:
        rows: of them all; `windows` numbers the texts of a row from 1. A `Tokens` with `long="windows"` makes batches
            of `rows.take(…)`, in which texts do not see each other and the positions of each begin with 0.
        row: (N,) int64, in which row each text lies.
        window: (N,) int16, its number there.
    """

    rows: Rows
    row: np.ndarray
    window: np.ndarray


def pack(rows: Rows, length: int) -> Packed:
    """Put texts into as few rows of at most `length` pieces as best fit, the longest first, finds.

    It is for objectives that look at every position, such as masked words: a row has no class of its own. The rows
    depend on the texts alone, not on a seed (such packings are compared in M. M. Krell et al., Efficient Sequence
    Packing without Cross-contamination, 2021).

    Args:
        rows: texts as `Tokens.encode` returns them, N of them.
        length: the most pieces of a row.

    Raises:
        ConfigError: for a length under 1.
        DataError: for a text of more pieces, pairs, texts in windows, and texts that are split into words.

    >>> from tlx.text import Tokenizer, Tokens
    >>> spec = Tokens(Tokenizer.from_vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"]), max_length=8)
    >>> packed = pack(spec.encode(["a b a", "a", "b", "a b"]), 8)
    >>> packed.rows.lengths.tolist(), packed.row.tolist(), packed.rows.windows.tolist()
    ([8, 7], [0, 0, 1, 1], [1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2])
    """
    if length < 1:
        raise ConfigError(f"length: {length} is no number of pieces")
    if rows.windows is not None or rows.words is not None or (rows.second != rows.lengths).any():
        raise DataError("only single texts that are whole can share rows: leave out pairs, windows and tags")
    sizes = rows.lengths
    if len(sizes) and (longest := int(sizes.max())) > length:
        raise DataError(f"text {int(sizes.argmax())} has {longest:,} pieces, and a row {length:,}: cut it (max_length)")
    row_of, window_of, texts_of = _best_fit(sizes, length)
    order = np.lexsort((window_of, row_of))
    spans = [rows.ids[rows.starts[text] : rows.starts[text + 1]] for text in order.tolist()]
    filled = np.bincount(row_of, sizes, minlength=texts_of).astype(np.int64)

    def total(counts: np.ndarray) -> np.ndarray:
        summed: np.ndarray = np.bincount(row_of, counts, minlength=texts_of).astype(np.int32)
        return summed

    packed = Rows(
        ids=np.concatenate([np.empty(0, np.int32), *spans]),
        starts=np.concatenate([[0], np.cumsum(filled)]).astype(np.int64),
        second=filled.astype(np.int32),
        windows=np.repeat(window_of[order], sizes[order]),
        lost=total(rows.lost),
        unknown=total(rows.unknown),
        special=total(rows.special),
    )
    return Packed(packed, row_of, window_of)


def _best_fit(sizes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the row of each text, its number there from 1, and how many rows there are."""
    row_of, window_of = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.int16)
    texts: list[int] = []  # of each row, how many
    with_room: list[list[int]] = [[] for _ in range(length + 1)]  # by how many pieces still go in
    rooms = 0  # bit r is set where `with_room[r]` has a row
    for text in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[text])
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = length, len(texts)
            texts.append(0)
        texts[row] += 1
        row_of[text], window_of[text] = row, texts[row]
        left = room - size
        if left and texts[row] < MOST_WINDOWS:
            with_room[left].append(row)
            rooms |= 1 << left
    return row_of, window_of, len(texts)
