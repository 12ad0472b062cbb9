"""Pictures from files: one of an image file, many of an array file."""

import logging

import numpy as np

from tlx.data.decode import decode_picture, read_content
from tlx.data.files import one_line, open_regular, shown, true_type
from tlx.data.idx import read_idx
from tlx.data.validate import as_array, on_scale
from tlx.errors import DataError, UnsafeFileError


def read_pictures(path: str) -> list[tuple[str, np.ndarray]]:
    """Read the pictures of a file, each with a name: arrays (H, W) or (H, W, C) on the scale 0 to 255.

    An image file (by content: PNG, JPEG, BMP, GIF, TIFF, WebP) gives one, turned as its EXIF says; a `.npy` or idx file
    of whole numbers, of shape (N, H, W) or (N, H, W, C), gives N, named FILE#0 and on; one of shape (H, W) gives one.
    Raise `DataError` for a file that is missing, damaged or something else.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".npy") as file:
    ...     np.save(file.name, np.zeros((2, 8, 8), np.uint8))
    ...     [picture.shape for _, picture in read_pictures(file.name)]
    [(8, 8), (8, 8)]
    """
    with open_regular(path) as file:
        head = file.read(64)
    if path.endswith(".npy"):
        return _numbered(path, _read_npy(path, head))
    if head.startswith((b"\0\0", b"\x1f\x8b")):  # idx, plain or in gzip
        return _numbered(path, read_idx(path))
    picture = decode_picture(read_content(path), path)
    if picture.frames > 1:
        logging.getLogger("tlx").warning("tlx: %s: only the first of %s frames", shown(path), picture.frames)
    return [(path, picture.image)]


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
    pictures = on_scale(array, None, path)
    return [(f"{path}#{number}", picture) for number, picture in enumerate(pictures)]
