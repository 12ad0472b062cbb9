"""What is done to the pixels of images (N, H, W, C), uint8 or floats on the scale 0 to 255."""

from __future__ import annotations

import difflib

import numpy as np

from tlx.errors import ConfigError, DataError
from tlx.files.opening import shown

MAX_SIDE = 2**16  # pixels: no photograph is that long, and a strip a pixel wide must not fill the memory


def check_images(images: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
    """Return (N, H, W, C), C one of `channels`, uint8 or float32, on the scale 0..255."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in channels or 0 in images.shape[1:3]:
        listed = ", ".join(map(str, channels[:-1])) + " or " * (len(channels) > 1) + str(channels[-1])
        raise DataError(f"images: shape {images.shape}, expected (N, H, W) or (N, H, W, C) with {listed} channels")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(f"images: type {images.dtype}, expected uint8 or float on the scale 0..255")
    good = ((images >= 0) & (images <= 255)).reshape(len(images), -1).all(axis=1)  # NaN fails both
    if not good.all():
        raise DataError(f"images: image {good.argmin()} has pixels outside 0..255 or not finite; rescale it to 0..255")
    return images.astype(np.float32, copy=False)


def over_black(images: np.ndarray) -> np.ndarray:
    """Composite RGBA on black; uint8 is rounded to the nearest level."""
    colour, alpha = images[..., :3], images[..., 3:]
    composited: np.ndarray
    if images.dtype == np.uint8:
        composited = ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
    else:
        composited = colour * (alpha / np.float32(255))
    return composited


def to_grey(images: np.ndarray) -> np.ndarray:
    """Weigh RGB by ITU-R 601; for uint8, in the 16-bit fixed point of Pillow's `convert("L")`."""
    if images.dtype == np.uint8:
        red, green, blue = (images[..., i].astype(np.uint32) for i in range(3))
        return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)[..., None]
    grey: np.ndarray = images @ np.array([0.299, 0.587, 0.114], np.float32)
    return grey[..., None]


def colour_table(name: str) -> np.ndarray:
    """Return a matplotlib colour map as a table (256, 3) of uint8."""
    import matplotlib

    try:
        colour_map = matplotlib.colormaps[name]
    except (KeyError, TypeError):
        near = difflib.get_close_matches(str(name), ["repeat", *matplotlib.colormaps], 1, 0)
        raise ConfigError(f"grey_to_rgb: no colour map {name!r}; did you mean {near[0]!r}?") from None
    return np.asarray(colour_map(np.arange(256) / 255, bytes=True))[:, :3]


def resize(images: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Resize (N, H, W, C) to (N, *size, C) with Pillow; float overshoot is clipped to 0..255, as it is for uint8."""
    from PIL import Image

    method = Image.Resampling[interpolation.upper()]
    resized = np.empty((len(images), *size, images.shape[3]), images.dtype)
    if images.dtype == np.uint8 and images.shape[3] == 3:
        for image, out in zip(images, resized, strict=True):
            out[:] = Image.fromarray(image).resize(size[::-1], method)
        return resized
    for image, out in zip(images, resized, strict=True):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            out[..., channel] = plane.resize(size[::-1], method)
    return np.clip(resized, 0, 255) if images.dtype != np.uint8 else resized


def with_channels(images: np.ndarray, channels: int, grey_to_rgb: str) -> np.ndarray:
    """Return (N, H, W, channels): alpha laid on black, grey made RGB ("repeat" or by a colour map), or RGB grey.

    >>> with_channels(np.full((1, 1, 1, 1), 7, np.uint8), 3, "repeat").tolist()
    [[[[7, 7, 7]]]]
    """
    if images.shape[3] == 4 and channels != 4:
        images = over_black(images)
    if images.shape[3] < channels and grey_to_rgb != "repeat":
        return colour_table(grey_to_rgb)[np.rint(images[..., 0]).astype(np.uint8)].astype(images.dtype)
    if images.shape[3] < channels:
        return np.repeat(images, 3, axis=3)
    return to_grey(images) if images.shape[3] > channels else images


def cut_layout(
    height: int, width: int, shorter: int, cut: tuple[int, int], *, nearest: bool, name: str = "images"
) -> tuple[tuple[int, int], int, int]:
    """Return the size that an image becomes whose shorter side becomes `shorter`, and where `cut` begins at its centre.

    Args:
        height: the image's.
        width: the image's.
        shorter: pixels.
        cut: the height and width that are cut from it.
        nearest: whether the longer side is rounded to the nearest and the offset down, or the other way round.
        name: what an error calls the image.

    Returns:
        The size (height, width), the first row, the first column.

    >>> cut_layout(300, 400, 256, (224, 224), nearest=False)
    ((256, 341), 16, 58)
    """
    longer = shorter * max(height, width) / min(height, width)
    longer = round(longer) if nearest else int(longer)
    if longer > MAX_SIDE:
        raise DataError(
            f"{shown(name)}: {height} x {width} would become {longer} pixels long, over the limit of {MAX_SIDE}; "
            "crop it first"
        )
    size = (shorter, longer) if height <= width else (longer, shorter)
    top, left = (n // 2 if nearest else round(n / 2) for n in (size[0] - cut[0], size[1] - cut[1]))
    return size, top, left
