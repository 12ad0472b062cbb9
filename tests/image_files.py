"""Image files, good and bad, as tests want them."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode an array or a Pillow image; arrays in `append_images` become further frames."""
    if "append_images" in options:
        options["append_images"] = [Image.fromarray(frame) for frame in options["append_images"]]
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def empty_png(width: int, height: int) -> bytes:
    """Write a PNG whose header promises so many grey pixels, of which there are none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def as_ycck(rgb: np.ndarray) -> bytes:
    """Write a YCCK JPEG: a CMYK one that Pillow wrote, whose channels hold it and whose Adobe marker says so."""
    ycc = np.asarray(Image.fromarray(255 - rgb).convert("YCbCr"))
    ink = Image.fromarray(np.concatenate([255 - ycc, np.zeros_like(ycc[..., :1])], -1), "CMYK")
    content = bytearray(encoded(ink, "JPEG", quality=95, subsampling=0))
    content[content.index(b"Adobe") + 11] = 2
    return bytes(content)


def numbered_images(count: int, bright: int = 0, seed: int = 0, size: int = 8) -> list[bytes]:
    """Encode different grey images, whose pixels are `bright` to `bright` + 99."""
    draw = np.random.default_rng((bright, seed))
    return [encoded(draw.integers(bright, bright + 100, (size, size), dtype=np.uint8)) for _ in range(count)]


def write_classes(root: Path, counts: Mapping[str, int] | Sequence[str] = ("cat", "dog"), seed: int = 0) -> Path:
    """Write `root/CLASS/0.png` and on, 8 a class unless `counts` says otherwise; classes differ in brightness."""
    counts = counts if isinstance(counts, Mapping) else dict.fromkeys(counts, 8)
    for place, (name, count) in enumerate(counts.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for number, content in enumerate(numbered_images(count, 150 * place // max(len(counts) - 1, 1), seed)):
            (folder / f"{number}.png").write_bytes(content)
    return root


def shown(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels as a viewer does whose EXIF says this orientation, 1 to 8."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }[orientation]
