"""ImageFiles to predict: of image files, of array files, of folders."""

import glob
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tlx.data.readers.idx import holds_idx, read_idx
from tlx.data.readers.walk import Walk
from tlx.data.source import Example
from tlx.data.validate import as_array, on_scale
from tlx.errors import DataError, UnsafeFileError
from tlx.files import home
from tlx.files.opening import one_line, open_regular, shown
from tlx.files.true_type import true_type
from tlx.images.decode import LISTED, decode_image, read_content
from tlx.images.preprocess import Preprocess


class ImageFiles:
    """Hold images by number, as a source without labels (each has label 0), for `predict` and `embed`.

    `inputs` are paths of image files, of array files (`read_images`) and of folders, whose image files are taken at
    any depth, and patterns such as `*.jpg`. What cannot be read or decoded, or has a shape that `preprocess` does not
    take, is noted in `faults`, a line by number, when it is asked for, and a black pixel stands for it; `notes` say
    what else folders hold. Raise `DataError` for an input that is missing or a damaged array file, and for no image at
    all.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(folder + "/digits.npy", np.zeros((3, 8, 8), np.uint8))
    ...     open(folder + "/bad.png", "w").close()
    ...     images = ImageFiles([folder + "/digits.npy", folder])
    ...     shapes = [images[i]["input"].shape for i in range(len(images))]
    >>> shapes, len(images.faults)
    ([(8, 8), (8, 8), (8, 8), (1, 1)], 1)
    """

    classes: tuple[str, ...] = ()
    target_kind = "none"

    def __init__(self, inputs: Iterable[str], preprocess: Preprocess | None = None) -> None:
        self.preprocess = preprocess
        self.notes: list[str] = []
        self._items = [item for path in inputs for item in _items(path, self.notes)]
        self.faults: dict[int, str] = {}
        if not self._items:
            raise DataError("no images; name files or folders that hold some")

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"ImageFiles({len(self):,} images)"

    def __getitem__(self, index: int) -> Example:
        try:
            image = self._items[index].read()
            if self.preprocess is not None:
                self.preprocess.check_shape(image.shape, self._items[index].name)
        except DataError as error:
            self.faults[index] = str(error)
            channels = 1 if self.preprocess is None or self.preprocess.channels == 3 else self.preprocess.channels
            image = np.zeros((1, 1, channels) if channels > 1 else (1, 1), np.uint8)
        return {"input": image}

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self._items)


class _Item(NamedTuple):
    name: str
    read: Callable[[], np.ndarray]


def _items(path: str, notes: list[str]) -> Iterator[_Item]:
    """List the images that an input stands for, without decoding image files."""
    path = str(home(path))
    if os.path.isdir(path):
        walk = Walk(path)
        found = sorted(walk.files(path))
        notes.extend(walk.notes())
        if not found:
            there = f"; there are {walk.describe()}" if walk.left_out else ""
            raise DataError(f"{shown(path)}: holds no images ({LISTED}); name files{there}")
        yield from (_image(file) for file in found)
    elif not os.path.lexists(path) and glob.has_magic(path):
        found = sorted(p for p in glob.glob(path, recursive=True) if not os.path.isdir(p))
        if not found:
            raise DataError(f"{shown(path)}: nothing matches; check the pattern")
        for file in found:
            yield from _items(file, notes)
    elif _holds_arrays(path):
        for name, image in read_images(path):
            yield _Item(name, lambda image=image: image)  # type: ignore[misc]
    else:
        yield _image(path)


def _image(path: str) -> _Item:
    return _Item(path, lambda: _read_image(path))


def _holds_arrays(path: str) -> bool:
    with open_regular(path) as file:
        return path.endswith(".npy") or holds_idx(file)


def _read_image(path: str) -> np.ndarray:
    image = decode_image(read_content(path), path)
    if image.frames > 1:
        logging.getLogger("tlx").warning("tlx: %s: only the first of %s frames", shown(path), image.frames)
    return image.image


def read_images(path: str) -> list[tuple[str, np.ndarray]]:
    """Read the images of a file, each with a name: arrays (H, W) or (H, W, C) on the scale 0 to 255.

    An image file (by content: PNG, JPEG, BMP, GIF, TIFF, WebP) gives one, turned as its EXIF says; a `.npy` or idx file
    of whole numbers, of shape (N, H, W) or (N, H, W, C), gives N, named FILE#0 and on; one of shape (H, W) gives one.
    Raise `DataError` for a file that is missing, damaged or something else.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".npy") as file:
    ...     np.save(file.name, np.zeros((2, 8, 8), np.uint8))
    ...     [image.shape for _, image in read_images(file.name)]
    [(8, 8), (8, 8)]
    """
    with open_regular(path) as file:
        is_idx = holds_idx(file)
        file.seek(0)
        head = file.read(64)
    if path.endswith(".npy"):
        return _numbered(path, _read_npy(path, head))
    if is_idx:
        return _numbered(path, read_idx(path))
    return [(path, _read_image(path))]


def _read_npy(path: str, head: bytes) -> np.ndarray:
    if not head.startswith(b"\x93NUMPY"):
        kind = UnsafeFileError if head.startswith(b"\x80") else DataError
        raise kind(f"{shown(path)}: not a .npy file but {true_type(head)}")
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")  # so that a header that promises much costs nothing
    except (OSError, ValueError, EOFError) as error:
        if "Python objects" in str(error):
            raise UnsafeFileError(f"{shown(path)}: holds Python objects, which could run code: save numbers") from error
        raise DataError(f"{shown(path)}: cannot be read as an array ({one_line(error)})") from error
    return as_array(array, path)


def _numbered(path: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if array.ndim == 2:
        array = array[None]
    if array.dtype.kind == "f":
        raise DataError(f"{shown(path)}: floats, of which nobody knows what is white: save whole numbers from 0 to 255")
    images = on_scale(array, None, path)
    return [(f"{path}#{number}", image) for number, image in enumerate(images)]
