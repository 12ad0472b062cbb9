"""Hold images as they lie on the disk, decoded when they are asked for."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tlx.data.source import Columns, Example, TargetKind, check_targets, describe
from tlx.images.decode import open_image, read_content

if TYPE_CHECKING:
    from PIL.Image import Image


class EncodedSource:
    """Decode images by number.

    `read(i)` returns the bytes of image i (`tlx.images.decode.read_content` reads a file's), `names` are what errors
    and predictions call them (paths, mostly), `labels` is (N,) of integers below `len(classes)`, or
    other targets (`target_kind`: `tlx.data.Source`). What cannot be read or
    decoded is a `DataError` that names the image, when it is asked for. Digests are of the bytes, so equal ones mean
    equal files.

    >>> source = EncodedSource(lambda i: b"text", ["a.gif"], [0], ("cat",))
    >>> source[0]
    Traceback (most recent call last):
        ...
    tlx.errors.DataError: a.gif: not an image (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC) but ...
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        names: Sequence[str],
        labels: Any,
        classes: Sequence[str],
        target_kind: TargetKind = "class",
    ) -> None:
        self.read, self.names, self.classes = read, tuple(names), tuple(classes)
        self.target_kind: TargetKind = target_kind
        self.targets = check_targets(labels, self, "labels")
        self.targets.setflags(write=False)
        self.shapes: np.ndarray | None = None  # (N, 3) of height, width and channels, once somebody has looked

    __repr__ = describe

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Example:
        return {"input": np.asarray(self._open(index)), "target": self.targets[index]}

    def take(self, indices: np.ndarray) -> Columns:
        """Return images as Pillow holds them, each decoded when its turn comes, and the targets."""
        return {"input": map(self._open, indices.tolist()), "target": self.targets[indices]}

    def _open(self, index: int) -> Image:
        return open_image(self.read(index), self.names[index]).image

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        return tuple(hashlib.sha256(self.read(i)).digest() for i in range(len(self)))


def _read_file(paths: Sequence[str], index: int) -> bytes:
    return read_content(paths[index])


def encoded_images(
    paths: Sequence[str], labels: Any, classes: Sequence[str], target_kind: TargetKind = "class"
) -> EncodedSource:
    """Build a source of image files.

    >>> len(encoded_images(["a.jpg", "b.jpg"], [0, 1], ("cat", "dog")))
    2
    """
    paths = tuple(paths)
    return EncodedSource(functools.partial(_read_file, paths), paths, labels, classes, target_kind)
