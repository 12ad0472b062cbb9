"""Open files that users name, and say in one line what is wrong with them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from tlx.errors import DataError

MAX_BYTES = 4 << 30
"""The most bytes that one file of arrays may unpack to, unless the caller allows more."""

DEFLATE_LIMIT = 1032
"""How many bytes one byte of a deflate stream (gzip, zip) can unpack to at most: 258 bytes from 2 bits."""

_TYPES = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file"),
    (b"PK\x05\x06", "an empty zip file"),
    (b"\x93NUMPY", "a .npy file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"\0\0\0\x0cjP", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop file"),
    (b"v/1\1", "an OpenEXR image"),
    (b"SIMPLE  =", "a FITS file"),
    (b"%PDF", "a PDF file"),
    (b"%!PS", "a PostScript file"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (run `git lfs pull`)"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"\x80", "perhaps a pickle"),
)
_BRANDS = {  # of files made of boxes: ISO/IEC 14496-12, 23008-12 (HEIF) and AV1's
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "a HEIC image"),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2"), "a HEIF image"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image"),
    b"crx ": "a camera's raw file",
}


def shown(path: str | os.PathLike[str]) -> str:
    r"""Write a path on one line, with what cannot be printed escaped.

    >>> shown("data/a\nb.gz")
    'data/a\\nb.gz'
    """
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def one_line(error: BaseException) -> str:
    r"""Write an exception's message on one line of at most 200 characters.

    >>> one_line(ValueError("bad\n  file"))
    'bad file'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def true_type(head: bytes) -> str:
    """Say what a file is by its first bytes, of which 132 are enough.

    >>> true_type(b"<html><body>404")
    'an HTML page'
    """
    if not head:
        return "an empty file"
    for magic, name in _TYPES:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        # A general brand stands first in many AVIF and HEIC files, and the special one among the compatible ones.
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(int.from_bytes(head[:4], "big"), 64), 4))]
        known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return next((kind for kind in known if kind != "a HEIF image"), known[0] if known else "a video")
    if head.startswith(b"RIFF"):
        return "a WebP image" if b"WEBP".startswith(head[8:12]) else "sound or video"  # it may be cut there
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "a BMP image"
    if head[128:132] == b"DICM":
        return "a DICOM file"
    return f"a file that starts with 0x{head[:4].hex()}"


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, or raise one `DataError` that names it."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{shown(path)}: not a regular file; name a file that holds data")
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or one_line(error)
        raise DataError(f"{shown(path)}: {reason}; check the path and its permissions") from error
