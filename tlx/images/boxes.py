"""Boxes within an image: random ones, by share of the area and proportions, and the central one."""

import math

import numpy as np

ATTEMPTS = 10
DRAWS = 4 * ATTEMPTS

Box = tuple[slice, slice]
"""Rows and columns, so that `image[box]` is what is within."""


def random_box(
    draws: np.ndarray,
    size: tuple[int, int],
    shares: tuple[float, float],
    ratios: tuple[float, float],
    spare: int = 0,
) -> Box | None:
    """Choose a box in an image of `size` (height, width), or None where ten attempts do not fit.

    `draws`, (40,) in [0, 1), choose, four an attempt: the share of the area within `shares`, width over height on a
    logarithmic scale within `ratios`, the row and the column. All are uniform, as in torchvision's RandomResizedCrop
    and RandomErasing. The box is at least `spare` pixels smaller than the image both ways.

    >>> random_box(np.full(DRAWS, 0.5), (8, 8), (0.2, 0.3), (0.5, 2.0))
    (slice(2, 6, None), slice(2, 6, None))
    """
    height, width = size
    logarithms = math.log(ratios[0]), math.log(ratios[1])
    for share, ratio, row, column in draws.reshape(ATTEMPTS, 4).tolist():
        area, aspect = height * width * scaled(share, *shares), math.exp(scaled(ratio, *logarithms))
        tall, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < tall <= height - spare and 0 < wide <= width - spare:
            return _box(int(row * (height - tall + 1)), int(column * (width - wide + 1)), tall, wide)
    return None


def central_box(size: tuple[int, int], ratios: tuple[float, float]) -> Box:
    """Return the largest box in the middle of an image of `size` (height, width) with width over height in `ratios`.

    >>> central_box((10, 40), (0.5, 2.0))
    (slice(0, 10, None), slice(10, 30, None))
    """
    height, width = size
    tall = max(1, min(height, round(width / ratios[0])))
    wide = max(1, min(width, round(height * ratios[1])))
    return _box((height - tall) // 2, (width - wide) // 2, tall, wide)


def scaled(draw: float, low: float, high: float) -> float:
    """Stretch a draw from [0, 1) to [low, high).

    >>> scaled(0.5, -10, 20)
    5.0
    """
    return low + draw * (high - low)


def _box(top: int, left: int, height: int, width: int) -> Box:
    return slice(top, top + height), slice(left, left + width)
