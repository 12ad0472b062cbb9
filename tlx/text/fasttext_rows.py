"""Rows of the matrices in fastText files, dense and quantized, read from the file when they are asked for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tlx.files.opening import RegularFile

CENTROIDS = 256  # of a part of a vector: a code is one byte


class Rows(Protocol):
    """Rows of `dim` numbers."""

    @property
    def dim(self) -> int:
        """How many numbers a row has."""

    @property
    def stored(self) -> str:
        """How they stand in the file, in words."""

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return rows (N, dim) float32."""


@dataclass(frozen=True, eq=False)
class Bytes:
    """A table of bytes (count, width) within a file, mapped into memory, not read."""

    file: RegularFile
    offset: int
    count: int
    width: int

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return rows (N, width) uint8; raise an error where the file has changed since it was opened."""
        self.file.open().close()  # it looks; where the file has become shorter, a mapped read would end the process
        return self._mapped[indices]

    @functools.cached_property
    def _mapped(self) -> np.ndarray:
        if not self.count * self.width:
            return np.empty((self.count, self.width), np.uint8)
        with self.file.open() as file:
            return np.memmap(file, np.uint8, "r", self.offset, (self.count, self.width))


@dataclass(frozen=True, eq=False)
class DenseRows:
    """Rows that stand in the file as float32, little-endian."""

    table: Bytes

    @property
    def dim(self) -> int:
        return self.table.width // 4

    @property
    def stored(self) -> str:
        return "in float32"

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return rows (N, dim) float32."""
        # Bytes, and only then numbers: the matrix stands at an odd offset, where NumPy might copy it whole to align it.
        return self.table.take(indices).view("<f4").astype(np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class QuantizedRows:
    """Rows of product quantization: a code for each part of a vector, and its norm's code where norms are apart.

    A. Joulin et al., "FastText.zip: Compressing text classification models", 2016; fastText's `QuantMatrix`.

    Args:
        codes: a byte for each part of each row.
        parts: the centroids (256, width) float32 of each part, in order.
        norm_codes: a byte for each row, or None.
        norms: the centroids (256,) float32 of the norms, or None.
    """

    codes: Bytes
    parts: tuple[np.ndarray, ...]
    norm_codes: Bytes | None = None
    norms: np.ndarray | None = None

    @property
    def dim(self) -> int:
        return sum(part.shape[1] for part in self.parts)

    @property
    def stored(self) -> str:
        return f"quantized to {len(self.parts)} bytes a row"

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return rows (N, dim) float32."""
        codes = self.codes.take(indices)
        rows = np.concatenate([part[codes[:, number]] for number, part in enumerate(self.parts)], axis=1)
        if self.norm_codes is not None and self.norms is not None:
            rows = rows * self.norms[self.norm_codes.take(indices)]  # (N, 1)
        return rows
