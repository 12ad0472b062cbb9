"""Standardised features: of mean 0 and variance 1 over the examples that a linear model is fitted to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tlx.errors import ConfigError, DataError, check_choice

Scale = Literal["common", "each"]
"""Divide features by one number, so that their mean variance is 1, or each by its own deviation."""
BLOCK = 1 << 24  # numbers, in float64, that are standardised at once


@dataclass(frozen=True)
class Standard:
    """The mean and scale (D,) float64 of features; `fold` takes a model of standardised features back to plain ones.

    What does not vary, but for float32's rounding, has the scale 1.

    >>> features = np.array([[1.0, 5.0], [9.0, 5.0]], np.float32)
    >>> Standard.of(features, "each").scale.tolist(), Standard.of(features, "common").scale.tolist()
    ([4.0, 1.0], [2.8284271247461903, 2.8284271247461903])
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, scale: Scale = "common") -> "Standard":
        """Take mean and scale of features (N, D) of any floating type; raise `ConfigError` for another scale."""
        check_choice("scale", scale, get_args(Scale))
        count, width = features.shape
        mean, square, largest = np.zeros(width), np.zeros(width), np.zeros(width)
        for block in _blocks(features):
            mean += block.sum(0)
            np.maximum(largest, np.abs(block).max(0), out=largest)
        mean /= count
        for block in _blocks(features):
            square += np.square(block - mean[None]).sum(0)
        deviation = np.sqrt(square / count)
        if scale == "common":
            deviation = np.full(width, np.sqrt(np.square(deviation).mean()))
            largest = np.full(width, np.sqrt(np.square(largest).mean()))
        return cls(mean, np.where(deviation > np.finfo(np.float32).eps * largest, deviation, 1.0))

    def rows(self, features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the standardised features (B, D) float64, some rows at a time, and which."""
        first = 0
        for block in _blocks(features):
            yield slice(first, first + len(block)), (block - self.mean[None]) / self.scale[None]
            first += len(block)

    def columns(self, features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the standardised features (N, B) float64, some columns at a time, and which."""
        size = max(1, BLOCK // len(features))
        for first in range(0, features.shape[1], size):
            part = slice(first, first + size)
            yield part, (features[:, part].astype(np.float64) - self.mean[None, part]) / self.scale[None, part]

    def fold(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn kernels (…, D, C) and biases (…, C) for standardised features into float32 ones for plain features."""
        folded = kernel / self.scale[:, None].reshape((1,) * (kernel.ndim - 2) + (-1, 1))
        shift = np.einsum("d,...dc->...c", self.mean, folded)
        return folded.astype(np.float32), (bias - shift).astype(np.float32)


def check_examples(features: np.ndarray, labels: np.ndarray, classes: int, name: str = "features") -> None:
    """Raise `DataError` for features and labels that no classifier can be fitted to, naming the first bad row.

    That is: what `check_features` refuses, labels of another shape than (N,), a label that is no class.

    >>> check_examples(np.ones((2, 3)), np.array([0, 1]), 2)
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or 0 in features.shape:
        raise DataError(
            f"{name}: features of shape {features.shape} and labels of shape {labels.shape}: give (N, D) and (N,), N "
            "and D at least 1"
        )
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        row = int(outside.argmax())
        raise DataError(f"{name}: row {row}: label {labels[row]} is none of the {classes} classes, 0 to {classes - 1}")
    check_features(features, name)


def check_features(features: np.ndarray, name: str = "features") -> None:
    """Raise `DataError` for features of another shape than (N, D), none at all, or numbers that are not finite.

    >>> check_features(np.ones((2, 3)))
    """
    if features.ndim != 2 or 0 in features.shape:
        raise DataError(f"{name}: features of shape {features.shape}: give (N, D), N and D at least 1")
    first = 0
    for block in _blocks(features):
        finite = np.isfinite(block).all(1)
        if not finite.all():
            raise DataError(
                f"{name}: row {first + int(finite.argmin())} has features that are not finite: look at its input, "
                "compute in float32, or load other weights"
            )
        first += len(block)


def check_path(l2: tuple[float, ...]) -> None:
    """Raise `ConfigError` for a path of regularisation that is empty or holds anything but finite numbers above 0."""
    bad = [value for value in l2 if not (np.isfinite(value) and value > 0)]
    if bad or not l2 or len(set(l2)) < len(l2):
        raise ConfigError(f"l2: {l2} must be different finite numbers above 0, at least one; 0.01, for example")


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows in float64, as many at a time as memory takes easily."""
    size = max(1, BLOCK // features.shape[1])
    for first in range(0, len(features), size):
        yield features[first : first + size].astype(np.float64)
