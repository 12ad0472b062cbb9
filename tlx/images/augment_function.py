"""A function of one's own as the augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tlx.errors import ConfigError, DataError
from tlx.images.augment import Augment
from tlx.images.preprocess import Preprocess

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class AugmentFunction:
    """Vary training images by `function(image, generator)`, which returns another image.

    It takes an image of the network's size and channels, uint8 (H, W, C), and a `numpy.random.Generator` seeded by the
    run, the epoch and the image, from which alone it should draw; it returns an array of the same shape and type. It is
    called by several threads at a time.

    >>> flip = AugmentFunction(lambda image, generator: image[:, ::-1] if generator.random() < 0.5 else image)
    >>> flip(np.zeros((9, 9), np.uint8), Preprocess(4, 4, 1), np.random.default_rng(0)).shape
    (4, 4, 1)
    """

    function: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    is_described: ClassVar[bool] = False  # its name does not say what it does, and so no cache on a disk knows it again

    @property
    def name(self) -> str:
        """What errors and a run's description call the function."""
        module = getattr(self.function, "__module__", None) or ""
        return f"{module}.{getattr(self.function, '__qualname__', type(self.function).__name__)}".strip(".")

    def check(self, preprocess: Any) -> None:
        """Raise `ConfigError` where the function cannot take an image, or returns something else."""
        if not isinstance(preprocess, Preprocess):
            raise ConfigError("augment: varies images, and the model takes none: leave it out")
        image = np.zeros((preprocess.height, preprocess.width, preprocess.channels), np.uint8)
        try:
            varied = self.function(image.copy(), np.random.default_rng(0))
        except Exception as error:  # whatever it raises
            what = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise ConfigError(
                f"augment: {self.name} cannot take an image, uint8 {image.shape}, and a numpy Generator ({what})"
            ) from error
        if fault := _fault(image, varied):
            raise ConfigError(f"augment: {self.name} {fault}")

    def to_dict(self) -> dict[str, Any]:
        """Return the function's name, for a run's description."""
        return {"function": self.name}

    def __call__(self, image: np.ndarray | Image, preprocess: Preprocess, generator: np.random.Generator) -> np.ndarray:
        """Map an image to a varied frame, uint8 (height, width, channels), as `tlx.Augment` does."""
        frame = np.array(np.rint(preprocess.frame_one(image)), np.uint8)  # a copy: the function may write into it
        varied = self.function(frame.copy(), generator)
        if fault := _fault(frame, varied):
            raise DataError(f"augment: {self.name} {fault}")
        return varied


def _fault(image: np.ndarray, varied: Any) -> str | None:
    if isinstance(varied, np.ndarray) and (varied.shape, varied.dtype) == (image.shape, image.dtype):
        return None
    kind = f"{varied.dtype} {varied.shape}" if isinstance(varied, np.ndarray) else type(varied).__name__
    return f"returns {kind}, expected an array, uint8 {image.shape}"


def as_augment(augment: Any) -> Augment | None:
    """Return what a fit takes as its augmentation: a `tlx.Augment`, a function, or None.

    >>> as_augment(0.5)
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: augment: 0.5 is neither a tlx.Augment nor a function of an image and a numpy Generator
    """
    own = hasattr(augment, "check") and hasattr(augment, "to_dict")
    if isinstance(augment, type) or not (augment is None or own or callable(augment)):
        raise ConfigError(
            f"augment: {augment!r:.80} is neither a tlx.Augment nor a function of an image and a numpy Generator"
        )
    made: Any = augment if augment is None or own else AugmentFunction(augment)
    found: Augment | None = made  # or what has its methods
    return found
