"""How the pieces of a text, or of two, become a row of at most so many: what is left out, or cut into windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tlx.errors import DataError
from tlx.text.tokenizer import Template

Long = Literal["error", "head", "head+tail", "windows"]
HEAD = 0.25  # of what "head+tail" keeps: 128 of 510 pieces, which Sun et al. 2019 found best
MOST_WINDOWS = 32_767  # of a text: they are numbered in 16 bits


@dataclass(frozen=True)
class Row:
    """The pieces of one row, where its second text begins, and how many pieces of the texts it keeps."""

    ids: np.ndarray
    second: int
    kept: int
    windows: np.ndarray | None = None


def fit_row(template: Template, max_length: int, long: Long, ids: np.ndarray, other: np.ndarray | None = None) -> Row:
    """Put the special pieces around one text or two, and leave out what is too long.

    Args:
        template: the special pieces.
        max_length: the most pieces of the row, or of each window, special ones included.
        long: what becomes of longer texts, as of `Tokens`; "error" is for the caller, and cuts as "head" does.
        ids: the pieces of the text, (L,) int32.
        other: those of the second text of a pair.

    Raises:
        DataError: for a text of more windows than can be numbered.

    >>> template = Template(before=(101,), between=(), after=(102,))
    >>> fit_row(template, 5, "head", np.arange(9)).ids.tolist()
    [101, 0, 1, 2, 102]
    """
    room = max_length - template.size
    total = len(ids) + (0 if other is None else len(other))
    if total > room and long == "windows":
        return _in_windows(template, room, ids, other)
    if total > room:
        cut = _with_tail if long == "head+tail" else _head
        if other is None:
            ids = cut(ids, room)
        else:
            here, there = _shares(len(ids), len(other), room)
            ids, other = cut(ids, here), cut(other, there)
    return _joined(template, ids, other)


def _joined(template: Template, ids: np.ndarray, other: np.ndarray | None) -> Row:
    before, between, after = (np.array(each, np.int32) for each in template)
    if other is None:
        row = np.concatenate([before, ids, after])
        return Row(row, len(row), len(ids))
    row = np.concatenate([before, ids, between, other, after])
    return Row(row, len(before) + len(ids) + len(between), len(ids) + len(other))


def _in_windows(template: Template, room: int, ids: np.ndarray, other: np.ndarray | None) -> Row:
    """Cut what is long into windows, each with special pieces of its own; of a pair the second text, behind the first.

    The first text of a pair has half of each window at most.
    """
    if other is None:
        parts = [_joined(template, ids[at : at + room], None) for at in range(0, len(ids), room)]
    else:
        ids = ids[: max(room // 2, room - len(other))]
        step = room - len(ids)
        parts = [_joined(template, ids, other[at : at + step]) for at in range(0, max(len(other), 1), step)]
    if len(parts) > MOST_WINDOWS:
        raise DataError(
            f"a text makes {len(parts):,} windows of {room} pieces, more than {MOST_WINDOWS:,}: raise max_length "
            "(--max-length), or say --long head"
        )
    windows = [np.full(len(part.ids), number, np.int16) for number, part in enumerate(parts, 1)]
    kept = sum(part.kept for part in parts) - (len(parts) - 1) * (0 if other is None else len(ids))
    row = np.concatenate([part.ids for part in parts])
    return Row(row, parts[0].second if other is not None else len(row), kept, np.concatenate(windows))


def _head(ids: np.ndarray, room: int) -> np.ndarray:
    return ids[:room]


def _with_tail(ids: np.ndarray, room: int) -> np.ndarray:
    if len(ids) <= room:
        return ids
    head = round(HEAD * room)
    return np.concatenate([ids[:head], ids[len(ids) - (room - head) :]])


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many pieces each text of a pair keeps: pieces go from the longer one, as in Hugging Face's tokenizers.

    >>> _shares(10, 3, 8), _shares(10, 9, 7), _shares(9, 9, 7)
    ((5, 3), (4, 3), (3, 4))
    """
    shorter = min(first, second, room // 2)
    longer = room - shorter
    return (longer, shorter) if first > second else (shorter, longer)
