"""Map images of one task onto the input of a network trained on another."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlx.errors import ConfigError, DataError, check_choice
from tlx.files.opening import shown
from tlx.images.pixels import MAX_SIDE, check_images, colour_table, cut_layout, resize, with_channels

if TYPE_CHECKING:
    from PIL.Image import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
CHANNEL_ORDERS = ("rgb", "bgr")
ROUNDINGS = ("torchvision", "nearest")
_IN_CACHE = 2**17  # numbers, that a core's cache holds


@dataclass(frozen=True)
class Preprocess:
    """Say how an image on the scale 0..255 becomes a network's input; call it to do so.

    In this order:

    1. Channels. For 1 or 3, alpha is composited on black; grey becomes RGB (`grey_to_rgb`: "repeat", or the name of a
       matplotlib colour map) or RGB becomes grey (ITU-R 601, as Pillow's "L"). For any other number, images must have
       just that many and are taken as they are.
    2. `invert` turns x into 255 - x.
    3. Size, by Pillow. Without `resize`, an image that is not `height` by `width` already is resized to that less
       `margin` on every side, whatever its proportions, and the margin is filled with the background, which is what
       black becomes by the steps above (white, where `invert` is on). With `resize`, as published for ImageNet, the
       shorter side of every image becomes `resize` pixels, the proportions kept, and `height` by `width` are cut from
       the centre. `rounding` says what happens to fractions of pixels: "torchvision" rounds the longer side down and
       the crop's offset to the nearest (a half, to the even one), "nearest" the longer side to the nearest and the
       offset down.
    4. `channel_order` "bgr" reverses the channels, as Caffe's networks want them.
    5. (x * scale - mean) / std in float32, `mean` and `std` holding one value a channel, in that order, or nothing.

    Raises `ConfigError` when built with anything else.

    >>> spec = Preprocess(28, 28, 1, margin=4)
    >>> spec(np.full((2, 8, 8), 255, np.uint8))[0, 14, :6, 0].tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    >>> vgg16 = Preprocess(224, 224, 3, resize=256, channel_order="bgr", scale=1.0, mean=(103.939, 116.779, 123.68))
    >>> vgg16(np.zeros((1, 300, 400, 3), np.uint8)).shape
    (1, 224, 224, 3)
    """

    height: int
    width: int
    channels: int
    interpolation: str = "bilinear"
    margin: int = 0
    grey_to_rgb: str = "repeat"
    invert: bool = False
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: int | None = None
    channel_order: str = "rgb"
    rounding: str = "torchvision"

    def __post_init__(self) -> None:
        least_of = {"height": 1, "width": 1, "channels": 1, "margin": 0}
        if self.resize is not None:
            least_of["resize"] = 1
        for name, least in least_of.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name}: {value!r} is not an integer of {least} or more")
            if value > MAX_SIDE:
                raise ConfigError(f"{name}: {value} is over the limit of {MAX_SIDE}")
        if 2 * self.margin >= min(self.height, self.width):
            raise ConfigError(f"margin: {self.margin} leaves nothing of {self.height} x {self.width}")
        for name, offered in (
            ("interpolation", INTERPOLATIONS),
            ("channel_order", CHANNEL_ORDERS),
            ("rounding", ROUNDINGS),
        ):
            check_choice(name, getattr(self, name), offered)
        self._check_values()
        self._check_together()

    def _check_values(self) -> None:
        """Raise `ConfigError` for what `invert`, `scale`, `mean` and `std` cannot be; keep the last two as tuples."""
        if not isinstance(self.invert, bool):
            raise ConfigError(f"invert: {self.invert!r} is neither true nor false")
        if not _finite(self.scale) or self.scale == 0:
            raise ConfigError(f"scale: {self.scale!r} is not a number other than 0")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, (tuple, list)) or not all(map(_finite, values)):
                raise ConfigError(f"{name}: {values!r} is not a tuple of numbers")
            if len(values) not in (0, self.channels):
                raise ConfigError(f"{name}: {len(values)} values for {self.channels} channels; give one each, or none")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        if any(value <= 0 for value in self.std):
            raise ConfigError(f"std: {self.std} must be above 0")

    def _check_together(self) -> None:
        """Raise `ConfigError` for fields that are good alone and contradict each other."""
        if self.resize is None and self.rounding != "torchvision":
            raise ConfigError(f"rounding: {self.rounding!r} says nothing without resize")
        if self.resize is not None and self.margin:
            raise ConfigError(f"resize: {self.resize} cuts the image and margin {self.margin} frames it; give one")
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise ConfigError(f"resize: {self.resize} is too short to cut {self.height} x {self.width} from")
        if self.channel_order == "bgr" and self.channels != 3:
            raise ConfigError(f"channel_order: 'bgr' needs channels=3, got {self.channels}")
        if self.grey_to_rgb != "repeat":
            if self.channels != 3:
                raise ConfigError(f"grey_to_rgb: {self.grey_to_rgb!r} needs channels=3, got {self.channels}")
            colour_table(self.grey_to_rgb)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map images (N, H, W) or (N, H, W, C), uint8 or float on 0..255, to float32 (N, height, width, channels).

        C is 1, 3 or 4 where `channels` is 1 or 3, and else `channels`. Raises `DataError` for other shapes, types or
        values, naming the first image.
        """
        return self.normalise(self.frame(images))

    def frame(self, images: np.ndarray) -> np.ndarray:
        """Take the steps 1 to 3 alone: images as the network is shown them, still on 0..255 and of their own type.

        >>> Preprocess(4, 4, 3).frame(np.zeros((1, 9, 7), np.uint8)).shape
        (1, 4, 4, 3)
        """
        pixels, background = self._recolour(check_images(images, self._channels_taken()))
        if self.margin:
            return pixels if pixels.shape[1:3] == (self.height, self.width) else self._fit(pixels, background)
        size, top, left = self._layout(*pixels.shape[1:3])
        if pixels.shape[1:3] != size:
            pixels = resize(pixels, size, self.interpolation)
        return pixels[:, top : top + self.height, left : left + self.width]

    def frame_one(self, image: np.ndarray | Image) -> np.ndarray:
        """Do as `frame` to one image, (H, W), (H, W, C) or Pillow's of mode L, RGB or RGBA: (height, width, channels).

        >>> Preprocess(4, 4, 3).frame_one(np.zeros((9, 7), np.uint8)).shape
        (4, 4, 3)
        """
        if isinstance(image, np.ndarray) or image.mode != "RGB" or self.channels != 3 or self.invert or self.margin:
            return self.frame(np.asarray(image)[None])[0]
        from PIL.Image import Resampling

        size, top, left = self._layout(image.height, image.width)
        if (image.height, image.width) != size:
            image = image.resize(size[::-1], Resampling[self.interpolation.upper()])
        return np.asarray(image.crop((left, top, left + self.width, top + self.height)))

    def check_shape(self, shape: tuple[int, ...], name: str) -> None:
        """Raise `DataError`, naming `name`, for the shape of an image that `frame_one` does not take.

        Args:
            shape: (H, W) or (H, W, C).
            name: what the error calls the image.

        >>> Preprocess(224, 224, 3, resize=256).check_shape((1, 300), "strip.png")
        Traceback (most recent call last):
            ...
        tlx.errors.DataError: strip.png: 1 x 300 would become 76800 pixels long, over the limit of 65536; crop it first
        """
        height, width, channels = (*shape, 1)[:3]
        if channels not in self._channels_taken():
            listed = " or ".join(map(str, self._channels_taken()))
            raise DataError(f"{shown(name)}: its {channels} channels are not the {listed} that the network takes")
        if not self.margin:
            self._layout(height, width, name)

    def normalise(self, frames: np.ndarray) -> np.ndarray:
        """Take the steps 4 and 5 alone: what `frame` returned, as float32.

        >>> spec = Preprocess(1, 1, 3, channel_order="bgr", scale=1.0)
        >>> spec.normalise(np.array([[[[255, 0, 51]]]], np.uint8)).tolist()
        [[[[51.0, 0.0, 255.0]]]]
        """
        result = np.empty(frames.shape, np.float32)
        # numpy is slow where it stretches 3 numbers over an image, and memory where a whole batch is gone through.
        mean, std = (
            np.ascontiguousarray(np.broadcast_to(np.array(each, np.float32), frames.shape[1:])) if each else None
            for each in (self.mean, self.std)
        )
        together = max(1, _IN_CACHE // max(1, math.prod(frames.shape[1:])))
        for first in range(0, len(frames), together):
            part, out = frames[first : first + together], result[first : first + together]
            if self.channel_order == "bgr":
                for channel in range(3):
                    out[..., channel] = part[..., 2 - channel]
            else:
                out[:] = part
            out *= np.float32(self.scale)
            if mean is not None:
                out -= mean
            if std is not None:
                out /= std
        return result

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the network takes."""
        return self.height, self.width, self.channels

    def collate(self, images: Any) -> np.ndarray:
        """Make what a batch of images holds on its way to the device, where `on_device` takes it on.

        Args:
            images: (B, H, W[, C]), uint8 or float on 0..255, or a list of images as `frame_one` takes them.

        Returns:
            (B, height, width, channels): uint8 as the steps 1 to 3 leave it, which is a quarter of the traffic; or for
            floats all that `__call__` returns, float32.

        >>> Preprocess(4, 4, 3).collate(np.zeros((1, 9, 7), np.uint8)).dtype
        dtype('uint8')
        """
        if isinstance(images, np.ndarray):
            frames = self.frame(images)
            return frames if frames.dtype == np.uint8 else self.normalise(frames)
        several = [self.frame_one(image) for image in images]
        several = [each if each.dtype == np.uint8 else self.normalise(each[None])[0] for each in several]
        return np.stack(several)

    def on_device(self, arrays: Any) -> Any:
        """Take the steps 4 and 5 in a program of JAX's, to the same floats: what `collate` returned, as float32."""
        if arrays.dtype != np.uint8:
            return arrays
        import jax.numpy as jnp

        # Looked up, for XLA contracts `x * scale - mean` to other floats than `normalise` has.
        rows = arrays[..., ::-1] if self.channel_order == "bgr" else arrays
        offsets = 256 * np.arange(self.channels, dtype=np.int32).reshape((1,) * (rows.ndim - 1) + (-1,))
        places = rows.astype("int32") + offsets
        return jnp.asarray(_levels(self))[places]

    def _channels_taken(self) -> tuple[int, ...]:
        return (1, 3, 4) if self.channels in (1, 3) else (self.channels,)

    def _layout(self, height: int, width: int, name: str = "images") -> tuple[tuple[int, int], int, int]:
        """Return the size that an image becomes, and the first row and column of the frame that is cut from it."""
        if self.resize is None:
            return (self.height, self.width), 0, 0
        cut, nearest = (self.height, self.width), self.rounding == "nearest"
        return cut_layout(height, width, self.resize, cut, nearest=nearest, name=name)

    def _fit(self, images: np.ndarray, background: np.ndarray) -> np.ndarray:
        """Resize (N, H, W, channels) into the frame of `height` by `width`, within the margin."""
        inner = (self.height - 2 * self.margin, self.width - 2 * self.margin)
        if images.shape[1:3] != inner:
            images = resize(images, inner, self.interpolation)
        frame = np.empty((len(images), self.height, self.width, self.channels), images.dtype)
        frame[:] = background
        frame[:, self.margin : -self.margin, self.margin : -self.margin] = images
        return frame

    def _recolour(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N, H, W, channels) after alpha, channels and invert, and the background's colour (channels,)."""
        paper = np.full((1, 1, 1, 1), 255 if self.invert else 0, images.dtype)
        if images.shape[3] == 1:  # what becomes of grey becomes of it
            paper = with_channels(paper, self.channels, self.grey_to_rgb)
        images = with_channels(images, self.channels, self.grey_to_rgb)
        if self.invert:
            images, paper = 255 - images, 255 - paper
        return images, np.broadcast_to(paper.reshape(-1), (self.channels,))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data that JSON can hold; `from_dict` is the inverse.

        >>> Preprocess(28, 28, 1).to_dict()["interpolation"]
        'bilinear'
        """
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Preprocess:
        """Build from `to_dict`'s data; raise `ConfigError` for an unknown or missing name or a bad value.

        >>> Preprocess.from_dict(Preprocess(28, 28, 1).to_dict()) == Preprocess(28, 28, 1)
        True
        """
        if not isinstance(fields, Mapping):
            raise ConfigError(f"preprocess: {fields!r:.100} is not a mapping of names to values")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                nearest = difflib.get_close_matches(str(name), known, 1, 0)
                raise ConfigError(f"preprocess: unknown name {name!r}; did you mean {nearest[0]!r}?")
        missing = [name for name in known[:3] if name not in fields]
        if missing:
            raise ConfigError(f"preprocess: {', '.join(missing)} missing; height, width and channels are required")
        return cls(**fields)


def of_images(spec: Any) -> Preprocess:
    """Return an input spec that is one of images; raise `ConfigError` for another.

    >>> of_images(Preprocess(8, 8, 1)).height
    8
    """
    if not isinstance(spec, Preprocess):
        raise ConfigError(f"preprocess: the model takes no images, but what {type(spec).__name__} makes")
    return spec


@functools.lru_cache(maxsize=64)
def _levels(preprocess: Preprocess) -> np.ndarray:
    """Return what each level of uint8 becomes in each channel of the result, those of a channel one after the other."""
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 1, 1, preprocess.channels))
    table: np.ndarray = preprocess.normalise(levels)[:, 0, 0].T.reshape(-1)
    return table


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
