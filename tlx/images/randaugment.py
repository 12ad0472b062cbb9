"""RandAugment: a few operations drawn at random, all of one strength."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

STRONGEST = 30  # the magnitude at which an operation takes its greatest value

Fill = int | tuple[int, ...]
"""The background's colour, one number a channel."""


class Operation(NamedTuple):
    """`apply(image, value, fill)`, its value at magnitude 30, and whether that is as often negative."""

    apply: Callable[[Image, float, Fill], Image]
    greatest: float = 0.0
    signed: bool = False


def randaugment(image: Image, count: int, magnitude: float, draws: np.ndarray, fill: Fill) -> Image:
    """Apply `count` of the 14 `OPERATIONS` to an image, "L" or "RGB", each drawn anew from all, at `magnitude` 0..30.

    `draws`, (at least 2 * count,) in [0, 1), choose: for each operation which, then its sign. Values are those of
    torchvision's RandAugment with 31 bins, fractions of a bin included; what is sheared, shifted or rotated is
    interpolated bilinearly and filled with `fill`. (E. D. Cubuk et al., RandAugment, 2019.)

    >>> from PIL import Image
    >>> darker = randaugment(Image.new("L", (2, 1), 100), 1, 30, np.array([6 / 14, 0.9]), 0)
    >>> darker.getpixel((0, 0))
    10
    """
    operations = tuple(OPERATIONS.values())
    for which, sign in draws[: 2 * count].reshape(count, 2).tolist():
        operation = operations[int(which * len(operations))]
        value = operation.greatest * magnitude / STRONGEST
        image = operation.apply(image, -value if operation.signed and sign >= 0.5 else value, fill)
    return image


def _affine(matrix: Callable[[Image, float], tuple[float, ...]]) -> Callable[[Image, float, Fill], Image]:
    """Return an operation that fetches the pixel (x, y) from (a x + b y + c, d x + e y + f)."""

    def apply(image: Image, value: float, fill: Fill) -> Image:
        from PIL.Image import Resampling, Transform

        return image.transform(image.size, Transform.AFFINE, matrix(image, value), Resampling.BILINEAR, fillcolor=fill)

    return apply


def _rotate(image: Image, value: float, fill: Fill) -> Image:
    from PIL.Image import Resampling

    return image.rotate(value, Resampling.BILINEAR, fillcolor=fill)


def _enhance(name: str) -> Callable[[Image, float, Fill], Image]:
    def apply(image: Image, value: float, fill: Fill) -> Image:
        from PIL import ImageEnhance

        enhanced: Image = getattr(ImageEnhance, name)(image).enhance(1 + value)
        return enhanced

    return apply


def _posterize(image: Image, value: float, fill: Fill) -> Image:
    from PIL import ImageOps

    return ImageOps.posterize(image, 8 - round(value))


def _solarize(image: Image, value: float, fill: Fill) -> Image:
    from PIL import ImageOps

    return ImageOps.solarize(image, 255 - value)  # type: ignore[arg-type]


def _autocontrast(image: Image, value: float, fill: Fill) -> Image:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalize(image: Image, value: float, fill: Fill) -> Image:
    from PIL import ImageOps

    return ImageOps.equalize(image)


OPERATIONS = {
    "identity": Operation(lambda image, value, fill: image),
    "shear_x": Operation(_affine(lambda image, value: (1, value, 0, 0, 1, 0)), 0.3, True),
    "shear_y": Operation(_affine(lambda image, value: (1, 0, 0, value, 1, 0)), 0.3, True),
    "translate_x": Operation(_affine(lambda image, value: (1, 0, -int(value * image.width), 0, 1, 0)), 150 / 331, True),
    "translate_y": Operation(
        _affine(lambda image, value: (1, 0, 0, 0, 1, -int(value * image.height))), 150 / 331, True
    ),
    "rotate": Operation(_rotate, 30, True),  # degrees
    "brightness": Operation(_enhance("Brightness"), 0.9, True),
    "colour": Operation(_enhance("Color"), 0.9, True),
    "contrast": Operation(_enhance("Contrast"), 0.9, True),
    "sharpness": Operation(_enhance("Sharpness"), 0.9, True),
    "posterize": Operation(_posterize, 4),  # bits lost
    "solarize": Operation(_solarize, 255),
    "autocontrast": Operation(_autocontrast),
    "equalize": Operation(_equalize),
}
