"""Read word vectors in text: a word and its numbers in each line, as GloVe, word2vec and fastText write them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from tlx.errors import TlxError
from tlx.files.opening import RegularFile, shown
from tlx.text.collect import Collector
from tlx.text.content import CHUNK, chunks
from tlx.text.word_vectors import WordVectors

MAX_LINE = CHUNK
"""The most bytes that a line may have: 40,000 numbers."""

_SPACES = re.compile(rb"[ \t\r\v\f]+")
_UNUSUAL = (b"  ", b"\r", b"\v", b"\f")
_NUMBER = re.compile(rb"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_LIKE_A_NUMBER = re.compile(rb"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)


def trailing_numbers(line: bytes) -> int:
    """Count what looks like numbers at a line's end, decimal commas and "nan" among them; a word stands before them.

    >>> [trailing_numbers(line) for line in (b"the 0.1 0.2 ", b". . 0,1 nan", b"2010 1 2", b"to be or not")]
    [2, 2, 2, 0]
    """
    fields = _fields(line)
    count = 0
    while count < len(fields) - 1 and _LIKE_A_NUMBER.fullmatch(fields[-1 - count]):
        count += 1
    return count


def read_text(
    file: RegularFile, count: int | None, dim: int, limit: int | None, words: Collection[str] | None
) -> WordVectors:
    r"""Read lines of a word and D numbers, behind a line "V D" or without one.

    Numbers are split from the right: a word may hold spaces (glove.840B has some), but its last part is no number, for
    such a line has a number too many.

    Args:
        file: the file, plain or in gzip.
        count: V, where the first line is "V D" (word2vec, fastText), or None where there is no such line (GloVe).
        dim: D.
        limit: the first so many rows alone.
        words: these words alone; of other rows, only how many numbers they have is looked at.

    Raises:
        DataError: naming the line, for numbers too many or too few, what is no finite float32, lines that are empty or
            too long, and more or fewer rows than announced.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.NamedTemporaryFile() as saved:
    ...     _ = saved.write(b"the 1 2\nnew york 3 4\n") and saved.flush()
    ...     read_text(RegularFile.at(Path(saved.name)), None, 2, None, None).words
    ('the', 'new york')
    """
    collector = Collector(file, limit, words, count or 0)
    reader = _Rows(file, dim, collector)
    for first, lines, unusual in _blocks(file):
        header = int(first == 1 and count is not None)
        reader.read(lines[header:], first + header, unusual)
        if count is not None and collector.seen > count:
            raise file.fault(f"line {count + 2:,}: more rows than the {count:,} that the header announces")
        if collector.full:
            break
    if count is not None and not collector.full and collector.seen < count:
        raise file.fault(f"the header announces {count:,} words, but the file ends after {collector.seen:,}: cut short")
    layout = "GloVe's text layout (no header)" if count is None else "word2vec's text layout"
    return collector.finish(dim, [f"read as {layout}, {dim} numbers a word"])


class _Rows:
    """Read the rows of lines into a collector."""

    def __init__(self, file: RegularFile, dim: int, collector: Collector) -> None:
        self._file, self._dim, self._collector = file, dim, collector
        self._empty_line = 0

    def read(self, lines: Sequence[bytes], first: int, unusual: bool) -> None:
        """Read lines, of which `first` is the number of the first; `unusual` where spaces are not single ones."""
        taken: list[bytes] = []
        numbers: list[int] = []
        collector, dim = self._collector, self._dim
        for number, line in enumerate(lines, first):
            if collector.full:
                break
            line = line.rstrip()
            if self._empty_line or not line:
                if line:
                    raise self._fault(self._empty_line, "empty; leave the line out")
                self._empty_line = self._empty_line or number
                continue
            if unusual or line.count(b" ") != dim:
                word, rest = self._split(line, number)
            else:
                word, _, rest = line.partition(b" ")
                if not word:
                    raise self._fault(number, "begins with a space; a word is expected there")
            if collector.wants(word):
                taken.append(rest)
                numbers.append(number)
        collector.add(self._parsed(taken, numbers))

    def _split(self, line: bytes, number: int) -> tuple[bytes, bytes]:
        """Split a line whose word holds spaces, or whose spaces are unusual."""
        dim = self._dim
        fields = _fields(line)
        if len(fields) <= dim:
            expected = f"a word and {_numbers(dim)} are expected"
            raise self._fault(number, f"has {len(fields)} fields where {expected}")
        if len(fields) > dim + 1 and _LIKE_A_NUMBER.fullmatch(fields[-dim - 1]):
            found = trailing_numbers(line)
            raise self._fault(number, f"has {_numbers(found)} where {dim} are expected")
        rest = fields[len(fields) - dim :]
        return b" ".join(fields[: len(fields) - dim]), b" ".join(rest)

    def _parsed(self, texts: list[bytes], numbers: list[int]) -> np.ndarray:
        """Return the numbers (K, D) float32 of K lines; raise `DataError` for the first line with one that is none."""
        try:
            # Each text has D fields, none empty. Where all is read and there are K x D numbers, each field is one
            # number: a field of two ("1-2", which NumPy takes for 1 and -2) would need another one without any.
            with warnings.catch_warnings(), np.errstate(over="ignore"):
                warnings.simplefilter("error", DeprecationWarning)
                flat = np.fromstring(b" ".join(texts), np.float32, sep=" ")
        except (DeprecationWarning, ValueError):
            flat = np.empty(0, np.float32)
        if flat.size != len(texts) * self._dim or not np.isfinite(flat).all():
            for text, number in zip(texts, numbers, strict=True):
                for field in text.split(b" "):
                    self._check_number(field, number)
            raise self._fault(numbers[0] if numbers else 0, "or one that follows cannot be read")
        return flat.reshape(-1, self._dim)

    def _check_number(self, field: bytes, number: int) -> None:
        if _NUMBER.fullmatch(field):
            with np.errstate(over="ignore"):
                if np.isfinite(np.float32(float(field))):
                    return
        text = shown(field[:40].decode("utf-8", "backslashreplace"))
        if b"," in field and _LIKE_A_NUMBER.fullmatch(field):
            raise self._fault(number, f"'{text}' has a decimal comma; write numbers with a point")
        finite = _LIKE_A_NUMBER.fullmatch(field)
        raise self._fault(number, f"'{text}' is no {'finite float32' if finite else 'number'}")

    def _fault(self, number: int, what: str) -> TlxError:
        return self._file.fault(f"line {number:,}: {what}")


def _blocks(file: RegularFile) -> Iterator[tuple[int, list[bytes], bool]]:
    """Yield the number of a first line, lines, and whether any has unusual spaces."""
    number, rest = 1, b""
    for piece in chunks(file):
        content = rest + piece
        whole, end, rest = content.rpartition(b"\n")
        if len(rest) > MAX_LINE:
            number += content.count(b"\n")
            raise file.fault(f"line {number:,} is longer than {MAX_LINE:,} bytes; no row of word vectors is")
        if end:
            lines, unusual = _lines(whole, number == 1)
            yield number, lines, unusual
            number += len(lines)
    if rest:
        yield number, *_lines(rest, number == 1)


def _lines(content: bytes, at_start: bool) -> tuple[list[bytes], bool]:
    if at_start:
        content = content.removeprefix(b"\xef\xbb\xbf")
    content = content.replace(b"\r\n", b"\n").replace(b"\t", b" ")
    return content.split(b"\n"), any(space in content for space in _UNUSUAL)


def _fields(line: bytes) -> list[bytes]:
    return _SPACES.split(line.strip())


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"
