"""Vary a training image at random, as the network is shown it."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlx.errors import ConfigError
from tlx.images.boxes import DRAWS, central_box, random_box, scaled
from tlx.images.preprocess import Preprocess
from tlx.images.randaugment import STRONGEST, Fill, randaugment

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_OPERATIONS = DRAWS // 2  # each takes two
ERASED_SHARE = (0.02, 0.33)
ERASED_RATIO = (1 / 3.3, 1 / 0.3)  # width over height, as for the crop; published the other way round
JITTER = ("brightness", "contrast", "saturation", "hue")
JITTER_ORDERS = tuple(itertools.permutations(JITTER))
ENHANCERS = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}  # as Pillow calls them
GREATEST = {"rotate": 180, "brightness": math.inf, "contrast": math.inf, "saturation": math.inf, "hue": 0.5, "erase": 1}
CHANNELS = {"brightness": (1, 3), "contrast": (1, 3), "saturation": (3,), "hue": (3,), "randaugment": (1, 3)}


@dataclass(frozen=True)
class Augment:
    """Say how training images are varied at random; call it to vary one. All is off by default.

    In this order:

    1. `crop`, (least, greatest) share of the image's area: a random part of the image, width over height within
       `crop_ratio`, is resized to the network's input, in place of the resizing, cut and margin of `Preprocess`; where
       ten draws do not fit, the largest central part within the ratio. (C. Szegedy et al., Going Deeper with
       Convolutions, 2015; 0.08 to 1 there.)
    2. `flip` and `flip_vertical`: left and right, top and bottom change places in every second image.
    3. `rotate`: up to so many degrees either way about the centre, uncovered corners filled with the background.
    4. `randaugment`, (operations, magnitude of 0..30). (E. D. Cubuk et al., RandAugment, 2019; 2 and 9 are usual.)
    5. `brightness`, `contrast`, `saturation`: a factor within 1 +- that, at least 0; `hue`, at most 0.5: so much of a
       turn of the colour circle either way. The four come in random order, as in torchvision's ColorJitter.
    6. `erase`, a probability: 2 to 33 % of the area becomes random pixels. (Z. Zhong et al., Random Erasing, 2017.)

    Each option has random numbers of its own: switching one on or off does not change what another draws. Images
    are interpolated bilinearly in 3 and 4. Raises `ConfigError` when built with anything else.

    >>> augment, spec = Augment(flip=True, crop=(0.08, 1.0)), Preprocess(32, 32, 3)
    >>> augment(np.zeros((48, 64, 3), np.uint8), spec, generator_of(0, epoch=1, index=7)).shape
    (32, 32, 3)
    """

    flip: bool = False
    flip_vertical: bool = False
    crop: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rotate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    randaugment: tuple[int, float] | None = None
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "flip_vertical"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"augment: {name} {getattr(self, name)!r} is neither true nor false")
        for name, greatest in GREATEST.items():
            if not _within(getattr(self, name), 0, greatest):
                limits = "of 0 or more" if greatest == math.inf else f"of 0 to {greatest}"
                raise ConfigError(f"augment: {name} {getattr(self, name)!r} is not a number {limits}")
        for name in ("crop", "crop_ratio", "randaugment"):  # lists, as JSON has them, would make it unhashable
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.crop is not None and not _is_range(self.crop, 1):
            raise ConfigError(
                f"augment: crop {self.crop!r} is not two shares of the area above 0 to 1, the least first"
            )
        if not _is_range(self.crop_ratio, math.inf):
            raise ConfigError(f"augment: crop_ratio {self.crop_ratio!r} is not two numbers above 0, the least first")
        if self.crop is None and self.crop_ratio != (3 / 4, 4 / 3):
            raise ConfigError(f"augment: crop_ratio {self.crop_ratio} says nothing without crop")
        if self.randaugment is not None:
            count, magnitude = self.randaugment if _is_pair(self.randaugment) else (None, None)
            whole = isinstance(count, int) and _within(count, 1, MOST_OPERATIONS)
            if not whole or not _within(magnitude, 0, STRONGEST):
                raise ConfigError(
                    f"augment: randaugment {self.randaugment!r} is not 1 to {MOST_OPERATIONS} operations "
                    f"and a magnitude of 0 to {STRONGEST}"
                )

    def __bool__(self) -> bool:
        """Tell whether anything is on.

        >>> bool(Augment()), bool(Augment(flip=True))
        (False, True)
        """
        return self != Augment()

    def check(self, preprocess: Any) -> None:
        """Raise `ConfigError` for what is on and cannot be done to images of that many channels.

        Saturation and hue need 3 channels, brightness, contrast and RandAugment 1 or 3; the rest takes any number.

        >>> Augment(saturation=0.4).check(Preprocess(28, 28, 3))
        """
        if not isinstance(preprocess, Preprocess):
            raise ConfigError("augment: varies images, and the model takes none: leave it out")
        for name, channels in CHANNELS.items():
            if getattr(self, name) and preprocess.channels not in channels:
                needed = " or ".join(map(str, channels))
                raise ConfigError(
                    f"augment: {name} needs {needed} channels and the network takes {preprocess.channels}; leave it out"
                )

    def __call__(self, image: np.ndarray | Image, preprocess: Preprocess, generator: np.random.Generator) -> np.ndarray:
        """Map an image to a frame, uint8 (height, width, channels).

        It is (H, W) or (H, W, C), uint8 or float on 0..255, or an image of Pillow's of mode L, RGB or RGBA.
        The frame is what `preprocess.frame` makes of an image, varied; `preprocess.normalise` takes it on. The draws
        come from `generator` alone (`generator_of`). Raises `ConfigError` as `check` and `DataError` as `preprocess`.
        """
        self.check(preprocess)
        # One row an option, whether it is on or not, so that none moves the draws of another.
        crop, operations, erase, others = generator.random((4, DRAWS))
        frame = self._cut(image, preprocess, crop)
        background = _background(preprocess, _shape(image)[2])
        if steps := self._steps(operations, others.tolist(), background):
            frame = _apply(steps, frame)
        return self._erase(frame, erase, generator) if others[8] < self.erase else frame

    def _cut(self, image: np.ndarray | Image, preprocess: Preprocess, draws: np.ndarray) -> np.ndarray:
        if self.crop is not None:
            size = _shape(image)[:2]
            rows, columns = random_box(draws, size, self.crop, self.crop_ratio) or central_box(size, self.crop_ratio)
            if isinstance(image, np.ndarray):
                image = np.ascontiguousarray(image[rows, columns])
            else:
                image = image.crop((columns.start, rows.start, columns.stop, rows.stop))
            preprocess = _uncut(preprocess)
        frame = preprocess.frame_one(image)
        return frame if frame.dtype == np.uint8 else np.rint(frame).astype(np.uint8)

    def _steps(self, operations: np.ndarray, others: list[float], background: Fill) -> list[Callable[[Image], Image]]:
        """Choose what happens to a frame between cutting and erasing."""
        from PIL.Image import Resampling, Transpose

        steps: list[Callable[[Image], Image]] = []
        if self.flip and others[0] < 0.5:
            steps.append(lambda image: image.transpose(Transpose.FLIP_LEFT_RIGHT))
        if self.flip_vertical and others[1] < 0.5:
            steps.append(lambda image: image.transpose(Transpose.FLIP_TOP_BOTTOM))
        if self.rotate:
            angle = scaled(others[2], -self.rotate, self.rotate)
            steps.append(lambda image: image.rotate(angle, Resampling.BILINEAR, fillcolor=background))
        if self.randaugment is not None:
            count, magnitude = self.randaugment
            steps.append(lambda image: randaugment(image, count, magnitude, operations, background))
        for kind in JITTER_ORDERS[int(others[3] * len(JITTER_ORDERS))]:
            if spread := getattr(self, kind):
                draw = others[4 + JITTER.index(kind)]
                steps.append(functools.partial(_jitter, kind=kind, spread=spread, draw=draw))
        return steps

    def _erase(self, frame: np.ndarray, draws: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        box = random_box(draws, frame.shape[:2], ERASED_SHARE, ERASED_RATIO, spare=1)
        if box is None:
            return frame
        frame = frame.copy()  # it may be the source's own memory
        frame[box] = generator.integers(0, 256, frame[box].shape, np.uint8)
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data that JSON can hold; `from_dict` is the inverse.

        >>> Augment(crop=(0.5, 1)).to_dict()["crop"]
        [0.5, 1]
        """
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Augment:
        """Build from `to_dict`'s data; raise `ConfigError` for an unknown name or a bad value.

        >>> Augment.from_dict({"crop": [0.5, 1]}) == Augment(crop=(0.5, 1))
        True
        """
        if not isinstance(fields, Mapping):
            raise ConfigError(f"augment: {fields!r:.100} is not a mapping of names to values")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                nearest = difflib.get_close_matches(str(name), known, 1, 0)
                raise ConfigError(f"augment: unknown name {name!r}; did you mean {nearest[0]!r}?")
        return cls(**fields)


def generator_of(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of one image of one epoch; all three are integers of 0 or more.

    It depends on them alone, so that threads, shards and resumed runs draw the same.

    >>> generator_of(0, 1, 2).random() == generator_of(0, 1, 2).random() != generator_of(0, 2, 1).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, index)))


def _shape(image: np.ndarray | Image) -> tuple[int, int, int]:
    """Return height, width and channels."""
    if isinstance(image, np.ndarray):
        return (*image.shape, 1)[:3]
    return image.height, image.width, len(image.getbands())


def _apply(steps: list[Callable[[Image], Image]], frame: np.ndarray) -> np.ndarray:
    """Take a frame through Pillow: in colour, or a channel at a time where they are not 3."""
    from PIL import Image

    frame = np.ascontiguousarray(frame)
    planes = [frame] if frame.shape[2] == 3 else np.ascontiguousarray(np.moveaxis(frame, 2, 0))
    images = [functools.reduce(lambda image, step: step(image), steps, Image.fromarray(plane)) for plane in planes]
    return np.asarray(images[0]) if frame.shape[2] == 3 else np.dstack([np.asarray(image) for image in images])


def _jitter(image: Image, kind: str, spread: float, draw: float) -> Image:
    from PIL import ImageEnhance

    if kind == "hue":
        shift, levels = int(scaled(draw, -spread, spread) * 255), range(256)
        turned = [(level + shift) % 256 for level in levels]
        return image.convert("HSV").point([*turned, *levels, *levels]).convert("RGB")
    jittered: Image = getattr(ImageEnhance, ENHANCERS[kind])(image).enhance(
        scaled(draw, max(0.0, 1 - spread), 1 + spread)
    )
    return jittered


@functools.cache
def _uncut(preprocess: Preprocess) -> Preprocess:
    """Return a preprocess that resizes whatever it is given to the network's input."""
    return dataclasses.replace(preprocess, resize=None, rounding="torchvision", margin=0)


@functools.cache
def _background(preprocess: Preprocess, channels: int) -> Fill:
    """Return the colour of the frames' background, for images of so many channels."""
    paper = np.full((1, 1, 1, channels), 255 if preprocess.invert else 0, np.uint8)
    colour = dataclasses.replace(_uncut(preprocess), height=1, width=1).frame(paper)[0, 0, 0].tolist()
    return tuple(colour) if len(colour) == 3 else int(colour[0])


def _within(value: object, least: float, greatest: float) -> bool:
    """Tell whether it is a finite number within the limits."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return least <= value <= greatest and value != math.inf


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _is_range(value: Any, greatest: float) -> bool:
    """Tell whether it is two numbers above 0, the least first."""
    return _is_pair(value) and all(_within(each, 0, greatest) for each in value) and 0 < value[0] <= value[1]
