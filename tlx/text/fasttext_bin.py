"""Read fastText's own binary files: words, their vectors, and the rows of their n-grams."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from tlx.files.opening import RegularFile
from tlx.text.collect import MAX_DIM, MAX_WORD, Collector
from tlx.text.content import Cursor, chunks
from tlx.text.fasttext_matrix import Reader
from tlx.text.fasttext_rows import Rows
from tlx.text.subwords import Subwords
from tlx.text.word_vectors import WordVectors

MAGIC = 793712314
_VERSIONS = (11, 12)
_SUPERVISED = 3
_END_OF_SENTENCE = b"</s>"  # fastText's own token
_MAX_NGRAM = 32  # characters; fastText's own default is 6
_CHUNK = 1 << 16  # bytes of words whose n-grams are hashed at once
_OPTIONS = struct.Struct("<12id")
_COUNTS = struct.Struct("<3iq")
_LOSSES = (1, 2, 3, 4)  # hierarchical softmax, negative sampling, softmax, one against all
_MODELS = (1, 2, 3)  # continuous bag of words, skip-gram, supervised


@dataclass(frozen=True)
class _Options:
    """What a file was trained with, as far as it says how vectors are made; `version` 0 is before there was one."""

    version: int
    dim: int
    model: int
    bucket: int
    minn: int
    maxn: int


def fasttext_version(head: bytes) -> int | None:
    """Return the version of a fastText file by its first 64 bytes, 0 for one without a magic number, else None.

    Before version 11 a file began with its options: dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket,
    minn, maxn, lrUpdateRate, t. Whether it does is told by the ranges of these.

    >>> fasttext_version(struct.pack("<2i", MAGIC, 12) + bytes(56)), fasttext_version(b"the 0.1 0.2" + bytes(64))
    (12, None)
    """
    if len(head) < 64:
        return None
    magic, version = struct.unpack_from("<2i", head)
    if magic == MAGIC:
        return int(version)
    dim, ws, epoch, min_count, neg, _, loss, model, bucket, minn, maxn, rate, t = _OPTIONS.unpack_from(head)
    sizes_fit = 0 < dim <= MAX_DIM and min(ws, epoch, min_count, neg, bucket, minn, maxn, rate) >= 0
    return 0 if sizes_fit and loss in _LOSSES and model in _MODELS and 0 <= t <= 1 else None


def read_fasttext_bin(file: RegularFile, limit: int | None, words: Collection[str] | None) -> WordVectors:
    """Read a fastText `.bin` or `.ftz` file: versions 11 and 12, and those before there was a version.

    A word's vector is the mean of its own row and of its n-grams' rows (`Subwords`); where a file has no n-grams, and
    in supervised files before version 12, its own row. Labels are no words. Matrices may be quantized. The n-grams'
    rows and the output matrix are not read; that they are there in full is checked.

    Args:
        file: the file, not in gzip.
        limit: the first so many words alone.
        words: these words alone.

    Raises:
        DataError: for an unknown version, options out of range, a file that is cut short (with the bytes that are
            missing) or too long, and vectors that are not finite.
    """
    version = fasttext_version(file.read(0, min(64, file.size)).tobytes())
    if version is None or version not in (0, *_VERSIONS):
        raise file.fault(f"a fastText file of version {version}; versions 11 and 12 are known, and those before")
    reader = Reader(file, 8 if version else 0)
    options = _options(reader, version)
    entries, word_rows, labels = _counts(reader)
    pruned_size = reader.unpack("<q")[0] if version else -1
    dictionary = _Dictionary(file, reader.offset, entries, word_rows)
    collector = Collector(file, limit, words, word_rows)
    taken: list[tuple[bytes, int]] = []
    for row, word in enumerate(dictionary):
        if not collector.full and collector.wants(word):
            taken.append((word, row))
    reader.offset = dictionary.end
    pruned = _pruned(reader, pruned_size)
    rows = _matrices(reader, options, word_rows, pruned)
    maxn = 0 if options.model == _SUPERVISED and version < 12 else options.maxn  # as fastText has it
    # Before there were versions, the end of a sentence had n-grams as any word; the .vec files of that time agree.
    whole = frozenset((_END_OF_SENTENCE,)) if version else frozenset[bytes]()
    subwords = Subwords(file, rows, options.minn, maxn, options.bucket, word_rows, whole, pruned)
    for chunk in _chunks(taken):
        collector.add(subwords.means([word for word, _ in chunk], [row for _, row in chunk]))
    has_ngrams = maxn > 0 and options.bucket > 0 and (pruned is None or bool(pruned))
    return collector.finish(
        options.dim, _notes(options, word_rows, labels, rows, has_ngrams), subwords if has_ngrams else None
    )


def _options(reader: Reader, version: int) -> _Options:
    dim, *_, loss, model, bucket, minn, maxn, _, _ = reader.unpack(_OPTIONS.format)
    in_range = 0 < dim <= MAX_DIM and loss in _LOSSES and model in _MODELS and bucket >= 0
    if not in_range or not 0 <= minn <= _MAX_NGRAM or not 0 <= maxn <= _MAX_NGRAM:
        raise reader.file.fault(
            f"damaged options: {dim} numbers a word, loss {loss}, model {model}, {bucket} buckets, n-grams of {minn} "
            f"to {maxn} characters"
        )
    return _Options(version, dim, model, bucket, minn, maxn)


def _counts(reader: Reader) -> tuple[int, int, int]:
    entries, words, labels, _ = reader.unpack(_COUNTS.format)
    least = max(entries, 0) * 10
    if min(words, labels) < 0 or entries != words + labels or least > reader.file.size - reader.offset:
        raise reader.file.fault(
            f"announces {entries:,} entries, {words:,} words and {labels:,} labels, which do not agree with each other "
            "or with its size: cut short or damaged"
        )
    return entries, words, labels


class _Dictionary:
    """The words of a file in the order of their rows; `end` is the offset behind all entries once all have come."""

    def __init__(self, file: RegularFile, offset: int, entries: int, words: int) -> None:
        self._file, self._offset, self._entries, self._words = file, offset, entries, words
        self.end = offset

    def __iter__(self) -> Iterator[bytes]:
        cursor = Cursor(chunks(self._file, self._offset))
        for number in range(self._entries):
            word = cursor.until(b"\0", MAX_WORD)
            after = cursor.take(9) if word is not None else b""  # its count, int64, and its kind
            kind = int(number >= self._words)
            if word is None or len(after) < 9 or after[8] != kind:
                of = "label" if kind else "word"
                raise self._file.fault(
                    f"entry {number + 1:,} of {self._entries:,} is not that of a {of}: cut short or damaged at byte "
                    f"{self._offset + cursor.offset:,}"
                )
            if not kind:
                yield word
        self.end = self._offset + cursor.offset


def _pruned(reader: Reader, size: int) -> dict[int, int] | None:
    """Return which buckets have a row, and which one, where a file was pruned (size 0: none has)."""
    if size < 0:
        return None
    pairs = np.frombuffer(reader.take(8 * size), "<i4").reshape(-1, 2)
    if len(pairs) and (pairs.min() < 0 or pairs[:, 1].max() >= size):
        raise reader.file.fault("damaged list of n-grams that were kept")
    return dict(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))


def _matrices(reader: Reader, options: _Options, word_rows: int, pruned: dict[int, int] | None) -> Rows:
    """Return the rows of the input matrix, after a look at both matrices' sizes."""
    has_flags = options.version > 0
    quantized = has_flags and reader.flag()
    rows, count = reader.quantized() if quantized else reader.dense()
    expected = word_rows + (options.bucket if pruned is None else len(pruned))
    if count != expected or rows.dim != options.dim:
        raise reader.file.fault(
            f"the input matrix is {count:,} x {rows.dim} where {word_rows:,} words and their n-grams need "
            f"{expected:,} x {options.dim}"
        )
    output_quantized = has_flags and reader.flag() and quantized
    reader.quantized() if output_quantized else reader.dense()
    if reader.offset != reader.file.size:
        raise reader.file.fault(f"{reader.file.size - reader.offset:,} bytes follow the output matrix")
    return rows


def _chunks(taken: list[tuple[bytes, int]]) -> Iterator[list[tuple[bytes, int]]]:
    chunk: list[tuple[bytes, int]] = []
    size = 0
    for entry in taken:
        chunk.append(entry)
        size += len(entry[0]) + 2
        if size > _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _notes(options: _Options, words: int, labels: int, rows: Rows, has_ngrams: bool) -> list[str]:
    version = f"version {options.version}" if options.version else "from before versions"
    kind = "supervised" if options.model == _SUPERVISED else "unsupervised"
    notes = [
        f"read as fastText's binary layout {version}, {kind}, {words:,} words of {options.dim} numbers; "
        f"matrix {rows.stored}"
    ]
    if has_ngrams:
        spans = f"{options.minn} to {options.maxn} characters in {options.bucket:,} buckets"
        notes.append(f"a word's vector is the mean of its own row and its n-grams' ({spans})")
    if labels:
        notes.append(f"{labels:,} label{'' if labels == 1 else 's'} left out")
    return notes
