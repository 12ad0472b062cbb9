"""Decode one image: by its content, upright, in 8 bits, or refused in one line."""

from __future__ import annotations

import importlib
import io
import os
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tlx.errors import DataError
from tlx.files.opening import one_line, open_regular, shown
from tlx.files.true_type import true_type

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "AVIF")  # of Pillow
LISTED = "PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC"
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
    | {".avif", ".heic", ".heif", ".hif"}
)
_RAW = frozenset({".dng", ".nef", ".nrw", ".cr2", ".arw", ".orf", ".rw2", ".pef", ".srw"})  # TIFF files by content
MAX_FILE = 1 << 30  # bytes
_HEIF = frozenset({"a HEIC image", "a HEIF image"})
_PILLOWS = frozenset(f"a {kind} image" for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WebP")) | {"an AVIF image"}
_CONVERT = "or convert it to JPEG"
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)  # begins with one byte, which makes the search fast
_MODES = {"1": "L", "LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}


class Opened(NamedTuple):
    """`image` is Pillow's, of mode L, RGB or, where something is transparent, RGBA; `frames` are in the file."""

    image: Image
    frames: int


class Decoded(NamedTuple):
    """`image` is (H, W), (H, W, 3) or, where something is transparent, (H, W, 4) uint8; `frames` are in the file."""

    image: np.ndarray
    frames: int


def read_content(path: str) -> bytes:
    """Read an image file's bytes; raise `DataError` for what is no regular file or larger than 1 GiB."""
    with open_regular(path) as file:
        try:
            if os.fstat(file.fileno()).st_size <= MAX_FILE:
                return file.read()
        except OSError as error:
            raise DataError(f"{shown(path)}: cannot be read ({error.strerror}); check the disk") from error
    raise DataError(f"{shown(path)}: larger than {MAX_FILE >> 30} GiB; make it smaller")


def decode_image(content: bytes, name: str) -> Decoded:
    """Decode the bytes of a PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF or HEIC file, whichever its name says.

    It is turned as its EXIF says; 16 bits become 8; palettes, CMYK and YCCK become RGB; of several frames the first is
    taken; alpha stays only where something is transparent. HEIC needs pillow-heif (the extra `heic`), AVIF a Pillow
    that was built with it. Raise `DataError`, naming `name`, for an empty, truncated, damaged or huge image (from 179
    million pixels), for 32-bit and floating-point pixels, whose black and white nobody knows, for a camera's raw
    file, of which Pillow would take the thumbnail, and for anything else (EPS, SVG, text).

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("CMYK", (3, 2)).save(file, "JPEG")
    >>> decode_image(file.getvalue(), "white.jpg").image[0, 0].tolist()
    [255, 255, 255]
    """
    image, frames = open_image(content, name)
    return Decoded(np.asarray(image), frames)


def open_image(content: bytes, name: str) -> Opened:
    """Decode as `decode_image` does, but leave the image in Pillow's hands, which spares copies to resize it.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("P", (3, 2)).save(file, "PNG")
    >>> open_image(file.getvalue(), "black.png").image.mode
    'RGB'
    """
    from PIL import Image, ImageOps, UnidentifiedImageError, features

    kind = true_type(content[:132])
    if end := _missing_end(content):
        raise DataError(f"{shown(name)}: cut short, its {end} is missing; get the whole file again")
    if kind == "a TIFF image" and os.path.splitext(name)[1].lower() in _RAW:
        raise DataError(f"{shown(name)}: a camera's raw file; develop it and save it as JPEG")
    if kind == "an AVIF image" and not features.check("avif"):
        raise DataError(
            f"{shown(name)}: {kind}, and this Pillow was built without AVIF: install Pillow from PyPI, {_CONVERT}"
        )
    try:
        with (
            _open_heif(content, name, kind) if kind in _HEIF else Image.open(io.BytesIO(content), "r", FORMATS) as file
        ):
            # What a camera puts behind a JPEG (MPO: a second eye, a gain map) is no second image.
            frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
            ImageOps.exif_transpose(file, in_place=True)
            return Opened(_plain(file, name), frames)
    except UnidentifiedImageError as error:
        if kind in _PILLOWS:
            raise DataError(f"{shown(name)}: damaged, its header cannot be read; get or save it again") from error
        raise DataError(f"{shown(name)}: not an image ({LISTED}) but {kind}") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{shown(name)}: too large ({one_line(error)}); make it smaller") from error
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # Pillow's plugins raise whatever the bytes provoke
        raise DataError(f"{shown(name)}: cannot be decoded ({one_line(error)}); get or save it again") from error


def _open_heif(content: bytes, name: str, kind: str) -> ImageFile:
    """Open a HEIC image, which is turned already as it is to be seen."""
    from PIL.Image import MAX_IMAGE_PIXELS, DecompressionBombError

    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise DataError(
            f"{shown(name)}: {kind}, which needs pillow-heif: pip install pillow-heif (the extra heic), {_CONVERT}"
        ) from error
    file: ImageFile = heif.HeifImageFile(io.BytesIO(content))  # without Pillow's registry, which is the whole process's
    if MAX_IMAGE_PIXELS and file.width * file.height > 2 * MAX_IMAGE_PIXELS:
        raise DecompressionBombError(f"Image size ({file.width * file.height} pixels) exceeds limit")
    return file


def is_image(head: bytes) -> bool:
    """Tell by a file's first 64 bytes whether it is an image of a kind that `open_image` knows.

    >>> is_image(b"GIF89a"), is_image(b"BMW and other cars")
    (True, False)
    """
    return true_type(head) in _PILLOWS | _HEIF


def _missing_end(content: bytes) -> str | None:
    """Name the end that a JPEG or PNG file lacks; Pillow forgives a PNG, and a JPEG whose rest is zeros."""
    if content.startswith(b"\xff\xd8\xff") and not _jpeg_ends(content):
        return "end-of-image marker"
    if content.startswith(b"\x89PNG") and not 0 <= content.rfind(b"IEND") <= len(content) - 8:
        return "IEND chunk"
    return None


def _jpeg_ends(content: bytes) -> bool:
    """Go from marker to marker: a thumbnail within, or what stands behind, has an end of its own."""
    place = 2
    while marker := _JPEG_MARKER.search(content, place):
        kind, place = marker[1][0], marker.end()
        if kind == 0xD9:
            return True
        if kind != 0x01 and not 0xD0 <= kind <= 0xD7:  # the others are followed by their length
            place += int.from_bytes(content[place : place + 2])
    return False


def _plain(image: Image, name: str) -> Image:
    """Bring an image to the mode L, RGB or RGBA."""
    from PIL import Image as images

    mode = image.mode
    if mode in ("I", "F"):
        raise DataError(f"{shown(name)}: 32-bit pixels, whose black and white nobody knows; save it with 8 or 16 bits")
    if mode.startswith("I;16"):
        return images.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if "transparency" in image.info and mode in ("1", "L", "P", "RGB"):  # one colour, or some of the palette
        image = image.convert("RGBA")
    elif mode not in ("L", "RGB", "RGBA"):
        image = image.convert(_MODES.get(mode, "RGB"))
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    return image
