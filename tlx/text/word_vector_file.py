"""Open a file of word vectors, whatever its layout, which its content tells."""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Collection

from tlx.files import home
from tlx.files.opening import DATA, RegularFile, shown
from tlx.files.true_type import true_type
from tlx.text.collect import MAX_DIM, check_choice_of_words
from tlx.text.content import chunks, is_gzip
from tlx.text.fasttext_bin import fasttext_version, read_fasttext_bin
from tlx.text.word2vec_binary import read_word2vec_binary
from tlx.text.word_vector_text import MAX_LINE, read_text, trailing_numbers
from tlx.text.word_vectors import WordVectors

_HEADER = re.compile(rb"\s*(\d{1,18})[ \t]+(\d{1,18})\s*")
_LINES = 100  # by which the layout is told
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1f]")


def open_word_vectors(
    path: str | os.PathLike[str], *, limit: int | None = None, words: Collection[str] | None = None
) -> WordVectors:
    r"""Read word vectors from a file of GloVe, word2vec (text or binary) or fastText (`.vec`, `.bin`, `.ftz`).

    The layout is told by the content, not by the name; all but fastText's binary may be in gzip. The file is read as a
    stream: memory grows with the words that are taken.

    Args:
        path: the file.
        limit: take from the first so many rows alone; files are sorted by frequency as a rule.
        words: take these words alone, as far as the file has them, in the file's order.

    Returns:
        Words and their vectors (V, D) float32. Of a word that stands there twice the first row is taken; `notes` say
        so, and which layout was read.

    Raises:
        DataError: for what is no such file, damaged or cut short, naming line or row; for numbers that are not finite.
        UnsafeFileError: for gzip that unpacks to more than any real file does.
        ConfigError: for a limit below 1, and for `words` that is a text.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"the 0.1 0.2\ncat 0.3 0.4\n") and file.flush()
    ...     vectors = open_word_vectors(file.name, words={"cat", "dog"})
    >>> vectors.words, vectors.matrix.tolist(), vectors.notes[0]
    (('cat',), [[0.30000001192092896, 0.4000000059604645]], "read as GloVe's text layout (no header), 2 numbers a word")
    """
    check_choice_of_words(limit, words)
    file = RegularFile.at(home(path), DATA)
    head = next(chunks(file), b"")
    if fasttext_version(head[:64]) is not None:
        if is_gzip(file):
            raise file.kind.error(f"{shown(file.path)}: a fastText binary in gzip; unpack it first (gunzip)")
        return read_fasttext_bin(file, limit, words)
    lines = _lines(head)
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        return read_text(file, None, _dim_of(lines, head, file), limit, words)
    count, dim = map(int, header.groups())
    if count < 1 or not 0 < dim <= MAX_DIM:
        raise file.fault(f"line 1: the header announces {count:,} words of {dim:,} numbers")
    # A binary file may begin with a word and numbers that look like text for a while, a text hold a control character:
    # the first whole row decides before that.
    is_text = len(lines) > 1 and trailing_numbers(lines[1]) >= dim
    if not is_text and (_BINARY.search(head) or not _is_utf8(_first_numbers(head, dim))):
        return read_word2vec_binary(file, count, dim, limit, words)
    return read_text(file, count, dim, limit, words)


def _first_numbers(head: bytes, dim: int) -> bytes:
    """Return the bytes where word2vec's binary layout has its first vector."""
    return head.partition(b"\n")[2].partition(b" ")[2][: 4 * dim]


def _is_utf8(content: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # its end may be cut within a character
    except UnicodeDecodeError:
        return False
    return True


def _lines(head: bytes) -> list[bytes]:
    """Return the first lines that are whole, or the only one."""
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", _LINES)
    return lines[:-1] if len(lines) > 1 and lines[-1] else [line for line in lines if line]


def _dim_of(lines: list[bytes], head: bytes, file: RegularFile) -> int:
    """Return how many numbers most of the first lines end with, a word before them; the more where it is a draw.

    Raises `DataError` where that is fewer than two: a list of words with their counts has one each.
    """
    counts = Counter(trailing_numbers(line) for line in lines[:_LINES] if len(line) <= MAX_LINE)
    dim = max(counts, key=lambda number: (counts[number], number), default=0)
    if dim < 2 or _BINARY.search(lines[0]):
        raise file.kind.error(
            f"{shown(file.path)}: no word vectors but {true_type(head[:512])}; name a file of GloVe, word2vec or "
            "fastText (text, or their binary layouts)"
        )
    return dim
