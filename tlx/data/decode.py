"""Decode one picture: by its content, upright, in 8 bits, or refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tlx.data.files import one_line, open_regular, shown, true_type
from tlx.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
MAX_FILE = 1 << 30  # bytes
_MODES = {"1": "L", "LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}


class Picture(NamedTuple):
    """`image` is (H, W), (H, W, 3) or, where something is transparent, (H, W, 4) uint8; `frames` are in the file."""

    image: np.ndarray
    frames: int


def read_content(path: str) -> bytes:
    """Read a picture file's bytes; raise `DataError` for what is no regular file or larger than 1 GiB."""
    with open_regular(path) as file:
        try:
            content = file.read(MAX_FILE + 1)
        except OSError as error:
            raise DataError(f"{shown(path)}: cannot be read ({error.strerror}); check the disk") from error
    if len(content) > MAX_FILE:
        raise DataError(f"{shown(path)}: larger than {MAX_FILE >> 30} GiB; make it smaller")
    return content


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
    import io

    from PIL import Image, ImageOps, UnidentifiedImageError

    if end := _missing_end(content):
        raise DataError(f"{shown(name)}: cut short, its {end} is missing; get the whole file again")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as file:
            # What a camera puts behind a JPEG (MPO: a second eye, a gain map) is no second picture.
            frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
            return Picture(_pixels(ImageOps.exif_transpose(file), name), frames)
    except UnidentifiedImageError:
        raise DataError(
            f"{shown(name)}: not a picture (PNG, JPEG, BMP, GIF, TIFF, WebP) but {true_type(content[:64])}"
        ) from None
    except DataError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever the bytes provoke
        raise DataError(f"{shown(name)}: cannot be decoded ({one_line(error)}); get or save it again") from error


def _missing_end(content: bytes) -> str | None:
    """Name the end that a JPEG or PNG file lacks; Pillow forgives its absence where little else is missing."""
    if content.startswith(b"\xff\xd8\xff") and content.rfind(b"\xff\xd9") <= content.rfind(b"\xff\xda"):
        return "end-of-image marker"
    if content.startswith(b"\x89PNG") and not 0 <= content.rfind(b"IEND") <= len(content) - 8:
        return "IEND chunk"
    return None


def _pixels(image: Image, name: str) -> np.ndarray:
    mode = image.mode
    if mode in ("I", "F"):
        raise DataError(f"{shown(name)}: 32-bit pixels, whose black and white nobody knows; save it with 8 or 16 bits")
    if mode.startswith("I;16"):
        return (np.asarray(image) / 257).round().astype(np.uint8)
    if mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif mode not in ("L", "RGB", "RGBA"):
        image = image.convert(_MODES.get(mode, "RGB"))
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    return np.asarray(image)
