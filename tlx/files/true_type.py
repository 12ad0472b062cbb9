"""Say what a file is by its first bytes, whatever its name says."""

from __future__ import annotations

from tlx.files.opening import shown

_TYPES = (
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file"),
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
    (b"\x80", "perhaps a pickle"),
)
_BRANDS = {  # of files made of boxes: ISO/IEC 14496-12, 23008-12 (HEIF) and AV1's
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "a HEIC image"),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2"), "a HEIF image"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image"),
    b"crx ": "a camera's raw file",
}


def true_type(head: bytes) -> str:
    """Say what a file is by its first bytes: 132 tell every image, 512 all that is known here.

    >>> true_type(b"<html><body>404")
    'an HTML page'
    >>> true_type(b"Not Found")
    "a text that begins 'Not Found'"
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
    if head[257:262] == b"ustar":
        return "a tar file"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page"
    return _text(head) or f"a file that starts with 0x{head[:4].hex()}"


def _text(head: bytes) -> str:
    """Name what may be a text by its first line, or return nothing."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else ""  # cut within a character
    if not text.strip() or not all(c.isprintable() or c.isspace() for c in text):
        return ""
    return f"a text that begins '{shown(text.strip().splitlines()[0][:40])}'"
