"""Write small files of word vectors by hand, as GloVe, word2vec and fastText lay them out."""

import gzip
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

WORDS = ("the", "cat", "naïve", "日本")
VECTORS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
MAGIC = 793712314


def text(
    words: Sequence[str] = WORDS, vectors: np.ndarray = VECTORS, *, header: bool = False, end: str = "\n"
) -> bytes:
    """Lay vectors out as text, each number with the digits that tell it from all others."""
    lines = [f"{len(words)} {vectors.shape[1]}"] if header else []
    lines += [" ".join([word, *map(str, row)]) for word, row in zip(words, vectors.tolist(), strict=True)]
    return "".join(line + end for line in lines).encode("utf-8", "surrogateescape")


def word2vec_binary(words: Sequence[str] = WORDS, vectors: np.ndarray = VECTORS, end: bytes = b"\n") -> bytes:
    """Lay vectors out as `word2vec -binary 1` does; gensim has no line feed at their end."""
    rows = zip(words, vectors, strict=True)
    content = b"".join(
        word.encode("utf-8", "surrogateescape") + b" " + row.astype("<f4").tobytes() + end for word, row in rows
    )
    return f"{len(words)} {vectors.shape[1]}\n".encode() + content


def dense(matrix: np.ndarray) -> bytes:
    """Lay a matrix out as fastText's DenseMatrix."""
    return struct.pack("<2q", *matrix.shape) + matrix.astype("<f4").tobytes()


def quantizer(parts: Sequence[np.ndarray]) -> bytes:
    """Lay out the centroids of a ProductQuantizer, (256, width) for each part."""
    widths = [part.shape[1] for part in parts]
    sizes = struct.pack("<4i", sum(widths), len(parts), widths[0], widths[-1])
    return sizes + b"".join(part.astype("<f4").tobytes() for part in parts)


def quantized(codes: np.ndarray, parts: Sequence[np.ndarray], norms: tuple[np.ndarray, np.ndarray] | None) -> bytes:
    """Lay a matrix out as fastText's QuantMatrix: codes (count, parts), norms as codes (count,) and (256,)."""
    dim = sum(part.shape[1] for part in parts)
    content = struct.pack("<?2qi", norms is not None, len(codes), dim, codes.size)
    content += codes.astype(np.uint8).tobytes() + quantizer(parts)
    if norms is not None:
        content += norms[0].astype(np.uint8).tobytes() + quantizer([norms[1][:, None]])
    return content


def fasttext(
    words: Sequence[bytes] = tuple(word.encode() for word in WORDS),
    matrix: np.ndarray | None = None,
    *,
    version: int = 12,
    model: int = 2,
    bucket: int = 10,
    minn: int = 2,
    maxn: int = 4,
    labels: Sequence[bytes] = (),
    pruned: Mapping[int, int] | None = None,
    stored: bytes | None = None,
    dim: int = 6,
) -> bytes:
    """Lay a model out as fastText does; `matrix` has the rows of words, then buckets; version 0 is before versions.

    `stored` is a quantized matrix to stand in the place of `matrix`.
    """
    rows = len(words) + (bucket if pruned is None else len(pruned))
    if matrix is None:
        matrix = np.random.default_rng(1).normal(size=(rows, dim)).astype(np.float32)
    content = struct.pack("<2i", MAGIC, version) if version else b""
    content += struct.pack("<12id", dim, 5, 5, 1, 5, 1, 2, model, bucket, minn, maxn, 100, 1e-4)
    content += struct.pack("<3iq", len(words) + len(labels), len(words), len(labels), 100)
    if version:
        content += struct.pack("<q", -1 if pruned is None else len(pruned))
    content += b"".join(word + b"\0" + struct.pack("<qb", 7, 0) for word in words)
    content += b"".join(label + b"\0" + struct.pack("<qb", 7, 1) for label in labels)
    for bucket_number, row in (pruned or {}).items():
        content += struct.pack("<2i", bucket_number, row)
    content += struct.pack("<?", stored is not None) if version else b""
    content += dense(matrix) if stored is None else stored
    content += struct.pack("<?", False) if version else b""
    return content + dense(np.zeros((len(words), dim), np.float32))


def small_quantized(rows: int, *, norms: bool = True) -> tuple[bytes, np.ndarray]:
    """Return a quantized matrix of random codes in parts of 2, 2 and 1 numbers, and the rows that it stands for."""
    chance = np.random.default_rng(2)
    parts = [chance.normal(size=(256, width)).astype(np.float32) for width in (2, 2, 1)]
    codes = chance.integers(0, 256, size=(rows, 3))
    matrix = np.concatenate([part[codes[:, number]] for number, part in enumerate(parts)], axis=1)
    if not norms:
        return quantized(codes, parts, None), matrix
    norm_codes, centroids = chance.integers(0, 256, size=rows), chance.normal(size=256).astype(np.float32)
    return quantized(codes, parts, (norm_codes, centroids)), matrix * centroids[norm_codes][:, None]


def _write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


SAMPLES: dict[str, tuple[tuple[str, Callable[[Path], object]], ...]] = {
    "glove": (
        ("plain.txt", _write(text())),
        ("spaces.txt", _write(text(("the", ". . .", "new york", "x")))),
        ("windows.txt", _write(text(end="\r\n"))),
        ("packed.txt.gz", _write(gzip.compress(text(), mtime=0))),
    ),
    "word2vec": (
        ("text.vec", _write(text(header=True))),
        ("packed.vec.gz", _write(gzip.compress(text(header=True), mtime=0))),
        ("binary.bin", _write(word2vec_binary())),
        ("gensim.bin", _write(word2vec_binary(end=b""))),
        ("packed.bin.gz", _write(gzip.compress(word2vec_binary(), mtime=0))),
    ),
    "fasttext": (
        ("skipgram.bin", _write(fasttext())),
        ("old.bin", _write(fasttext(version=0))),
        ("supervised.bin", _write(fasttext(version=11, model=3, bucket=0, maxn=0, labels=(b"__label__1",)))),
        ("pruned.bin", _write(fasttext(pruned={3: 1, 7: 0}))),
        ("quantized.ftz", _write(fasttext(dim=5, stored=small_quantized(14)[0]))),
        ("plain.ftz", _write(fasttext(dim=5, stored=small_quantized(14, norms=False)[0]))),
    ),
}
"""Valid files of each format, by their names."""
