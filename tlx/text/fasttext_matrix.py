"""Find the matrices of a fastText file, one behind the other, and check that all their bytes are there."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tlx.files.opening import RegularFile
from tlx.text.collect import MAX_DIM
from tlx.text.fasttext_rows import CENTROIDS, Bytes, DenseRows, QuantizedRows, Rows


class Reader:
    """Read a file from `offset` on; every step moves it, and raises `DataError` where bytes are missing."""

    def __init__(self, file: RegularFile, offset: int) -> None:
        self.file = file
        self.offset = offset

    def skip(self, count: int) -> int:
        """Pass `count` bytes; return where they begin."""
        begin = self.offset
        if begin + count > self.file.size:
            raise self.file.fault(f"cut short or damaged: {begin + count - self.file.size:,} bytes missing")
        self.offset += count
        return begin

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        return self.file.read(self.skip(count), count).tobytes()

    def unpack(self, form: str) -> tuple[Any, ...]:
        """Read numbers."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def flag(self) -> bool:
        """Read a bool of C++: a byte, 0 or 1."""
        (value,) = self.take(1)
        if value > 1:
            raise self.file.fault(f"damaged at byte {self.offset - 1:,}: {value} is no truth value")
        return bool(value)

    def dense(self) -> tuple[Rows, int]:
        """Pass a matrix of float32: two sizes (int64) and its rows. Return them and how many they are."""
        count, dim = self._sizes()
        return DenseRows(Bytes(self.file, self.skip(count * dim * 4), count, dim * 4)), count

    def quantized(self) -> tuple[Rows, int]:
        """Pass a quantized matrix: codes of vectors and their centroids, then the same of norms where they are apart.

        Return its rows and how many they are.
        """
        norms_apart = self.flag()
        count, dim = self._sizes()
        (code_bytes,) = self.unpack("<i")
        codes_at = self.skip(max(code_bytes, 0))
        parts = self._centroids(dim)
        if code_bytes != count * len(parts):
            raise self.file.fault(f"{code_bytes:,} codes where {count:,} rows in {len(parts)} parts need as many each")
        codes = Bytes(self.file, codes_at, count, len(parts))
        if not norms_apart:
            return QuantizedRows(codes, parts), count
        norm_codes = Bytes(self.file, self.skip(count), count, 1)
        return QuantizedRows(codes, parts, norm_codes, self._centroids(1)[0][:, 0]), count

    def _sizes(self) -> tuple[int, int]:
        count, dim = self.unpack("<2q")
        if count < 0 or not 0 < dim <= MAX_DIM:
            raise self.file.fault(f"damaged: a matrix of {count} x {dim}")
        return count, dim

    def _centroids(self, dim: int) -> tuple[np.ndarray, ...]:
        """Read 256 centroids for each part of a vector: all parts are equally wide, but the last may be narrower."""
        stored_dim, parts, width, last_width = self.unpack("<4i")
        fits = 0 < parts <= dim and 0 < last_width <= width and (parts - 1) * width + last_width == dim
        if stored_dim != dim or not fits:
            raise self.file.fault(f"damaged: {parts} parts of {width} and {last_width} numbers in vectors of {dim}")
        numbers = np.frombuffer(self.take(CENTROIDS * dim * 4), "<f4").astype(np.float32, copy=False)
        whole = numbers[: CENTROIDS * (parts - 1) * width].reshape(parts - 1, CENTROIDS, width)
        return (*whole, numbers[CENTROIDS * (parts - 1) * width :].reshape(CENTROIDS, last_width))
