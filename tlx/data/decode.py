"""Decode one picture: by its content, upright, in 8 bits, or refused in one line."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tlx.data.files import one_line, open_regular, shown, true_type
from tlx.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
MAX_FILE = 1 << 30  # bytes
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")  # of FORMATS
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)  # begins with one byte, which makes the search fast
_MODES = {"1": "L", "LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}


class Opened(NamedTuple):
    """`image` is Pillow's, of mode L, RGB or, where something is transparent, RGBA; `frames` are in the file."""

    image: Image
    frames: int


class Picture(NamedTuple):
    """`image` is (H, W), (H, W, 3) or, where something is transparent, (H, W, 4) uint8; `frames` are in the file."""

    image: np.ndarray
    frames: int


def read_content(path: str) -> bytes:
    """Read a picture file's bytes; raise `DataError` for what is no regular file or larger than 1 GiB."""
    with open_regular(path) as file:
        try:
            if os.fstat(file.fileno()).st_size <= MAX_FILE:
                return file.read()
        except OSError as error:
            raise DataError(f"{shown(path)}: cannot be read ({error.strerror}); check the disk") from error
    raise DataError(f"{shown(path)}: larger than {MAX_FILE >> 30} GiB; make it smaller")


def decode_picture(content: bytes, name: str) -> Picture:
    """Decode the bytes of a PNG, JPEG, BMP, GIF, TIFF or WebP file, whichever its name says.

    It is turned as its EXIF says; 16 bits become 8; palettes, CMYK and YCCK become RGB; of several frames the first is
    taken; alpha stays only where something is transparent. Raise `DataError`, naming `name`, for an empty, truncated,
    damaged or huge picture (from 179 million pixels), for 32-bit and floating-point pixels, whose black and white
    nobody knows, and for anything else (EPS, SVG, HEIF, text).

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("CMYK", (3, 2)).save(file, "JPEG")
    >>> decode_picture(file.getvalue(), "white.jpg").image[0, 0].tolist()
    [255, 255, 255]
    """
    image, frames = open_picture(content, name)
    return Picture(np.asarray(image), frames)


def open_picture(content: bytes, name: str) -> Opened:
    """Decode as `decode_picture` does, but leave the picture in Pillow's hands, which spares copies to resize it.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("P", (3, 2)).save(file, "PNG")
    >>> open_picture(file.getvalue(), "black.png").image.mode
    'RGB'
    """
    import io

    from PIL import Image, ImageOps, UnidentifiedImageError

    if end := _missing_end(content):
        raise DataError(f"{shown(name)}: cut short, its {end} is missing; get the whole file again")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as file:
            # What a camera puts behind a JPEG (MPO: a second eye, a gain map) is no second picture.
            frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
            ImageOps.exif_transpose(file, in_place=True)
            return Opened(_plain(file, name), frames)
    except UnidentifiedImageError as error:
        if content.startswith(_MAGIC):
            raise DataError(f"{shown(name)}: damaged, its header cannot be read; get or save it again") from error
        raise DataError(
            f"{shown(name)}: not a picture (PNG, JPEG, BMP, GIF, TIFF, WebP) but {true_type(content[:64])}"
        ) from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{shown(name)}: too large ({one_line(error)}); make it smaller") from error
    except Exception as error:  # Pillow's plugins raise whatever the bytes provoke
        raise DataError(f"{shown(name)}: cannot be decoded ({one_line(error)}); get or save it again") from error


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
    """Bring a picture to the mode L, RGB or RGBA."""
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
