"""Pictures from files: one of an image file, many of an array file."""

from pathlib import Path

import numpy as np

from tlx.data.idx import read_idx
from tlx.data.validate import as_array, on_scale
from tlx.errors import DataError

_MODES = {"1": "L", "P": "RGBA", "LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}  # others become RGB
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")


def read_pictures(path: str) -> list[tuple[str, np.ndarray]]:
    """Read the pictures of a file, each with a name: arrays (H, W) or (H, W, C) on the scale 0 to 255.

    An image file (by content: PNG, JPEG, BMP, GIF, TIFF, WebP) gives one, turned as its EXIF says; a `.npy` or idx file
    of shape (N, H, W) or (N, H, W, C) gives N, named FILE#0 and on, one of shape (H, W) gives one. Raise `DataError`
    for a file that is missing, damaged or something else.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".npy") as file:
    ...     np.save(file.name, np.zeros((2, 8, 8), np.uint8))
    ...     [picture.shape for _, picture in read_pictures(file.name)]
    [(8, 8), (8, 8)]
    """
    if path.endswith(".npy"):
        return _numbered(path, _read_npy(path))
    if "idx" in Path(path).name:
        return _numbered(path, read_idx(path))
    return [(path, _read_image(path))]


def _read_npy(path: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an array ({error})") from error
    return as_array(array, path)


def _numbered(path: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if array.ndim == 2:
        array = array[None]
    pictures = on_scale(array, (0.0, 255.0) if array.dtype.kind == "f" else None, path)
    return [(f"{path}#{number}", picture) for number, picture in enumerate(pictures)]


def _read_image(path: str) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode in ("I", "F"):
                raise DataError(f"{path}: has 32-bit pixels whose black and white are unknown: save it with 8 or 16")
            if image.mode.startswith("I;16"):
                return (np.asarray(image) / 257).round().astype(np.uint8)
            if image.mode not in ("L", "RGB", "RGBA"):
                image = image.convert(_MODES.get(image.mode, "RGB"))
            return np.asarray(image)
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a picture ({', '.join(FORMATS)}) and not a .npy or idx file") from error
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
