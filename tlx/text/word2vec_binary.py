"""Read word vectors in word2vec's binary layout."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tlx.files.opening import RegularFile
from tlx.text.collect import MAX_WORD, Collector
from tlx.text.content import CHUNK, Cursor, chunks, is_gzip
from tlx.text.word_vectors import WordVectors


def read_word2vec_binary(
    file: RegularFile, count: int, dim: int, limit: int | None, words: Collection[str] | None
) -> WordVectors:
    r"""Read a line "V D", then for each word its bytes, a space and D float32; a line feed may follow each.

    The layout is that of T. Mikolov's `word2vec -binary 1`; gensim writes it without the line feeds.

    Args:
        file: the file, plain or in gzip.
        count: V, as its first line says.
        dim: D.
        limit: the first so many rows alone.
        words: these words alone.

    Raises:
        DataError: for a file that is cut short (with the bytes that are missing), that goes on behind its last word,
            or whose vectors are not finite.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.NamedTemporaryFile() as saved:
    ...     _ = saved.write(b"1 2\ncat " + np.array([1, 2], "<f4").tobytes()) and saved.flush()
    ...     read_word2vec_binary(RegularFile.at(Path(saved.name)), 1, 2, None, None).vector("cat").tolist()
    [1.0, 2.0]
    """
    width = 4 * dim
    collector = Collector(file, limit, words, count)
    cursor = Cursor(chunks(file))
    header = cursor.until(b"\n", MAX_WORD) or b""
    if not is_gzip(file) and limit is None and count * (width + 1) > file.size - len(header) - 1:
        lacking = count * (width + 1) - (file.size - len(header) - 1)
        raise file.fault(f"the header announces {count:,} words of {dim} numbers: at least {lacking:,} bytes missing")
    pending: list[bytes] = []
    for row in range(1, count + 1):
        if collector.full:
            break
        word = cursor.until(b" ", MAX_WORD)
        if word is None:
            rest = cursor.take(MAX_WORD)
            if len(rest) == MAX_WORD:
                raise file.fault(f"row {row:,} has no end of its word in {MAX_WORD} bytes at byte {cursor.offset:,}")
            lacking = (count - row + 1) * (width + 1) - len(rest.lstrip(b"\n"))
            raise file.fault(f"ends before row {row:,} of {count:,}: at least {max(lacking, 1):,} bytes missing")
        numbers = cursor.take(width)
        if len(numbers) < width:
            lacking = width - len(numbers) + (count - row) * (width + 1)
            least = "" if row == count else "at least "
            raise file.fault(f"ends within row {row:,} of {count:,}: {least}{lacking:,} bytes missing")
        if collector.wants(word.lstrip(b"\n")):
            pending.append(numbers)
            if len(pending) * width >= CHUNK:
                _add(collector, pending, dim)
    _add(collector, pending, dim)
    if not collector.full and cursor.take(2).strip(b"\n"):
        raise file.fault(f"bytes follow the {count:,} words that the header announces")
    return collector.finish(dim, [f"read as word2vec's binary layout, {count:,} words of {dim} numbers"])


def _add(collector: Collector, pending: list[bytes], dim: int) -> None:
    vectors = np.frombuffer(b"".join(pending), "<f4").reshape(-1, dim)
    collector.check_finite(vectors)
    collector.add(vectors)
    pending.clear()
