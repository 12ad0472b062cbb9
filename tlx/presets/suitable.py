"""Whether images suit a base: what its input would lose of them, and which bases would not lose it."""

from typing import NamedTuple

import numpy as np

from tlx.data import Source
from tlx.images import Preprocess
from tlx.presets.bundle import read_config
from tlx.presets.catalogue import published
from tlx.presets.load import PRESETS, list_presets

SAMPLE = 16  # images that are looked at
COLOURED = 8.0  # mean distance of an image's brightest and darkest channel, on 0..255: less is the tint of a scan
THUMBNAIL = 64  # pixels a side of a base's input: larger ones are what photographs of any size are made for
REDUCED = 4  # times such a base's sides, an image keeps a sixteenth of its pixels
STARTERS = ("cnn-mnist", "cifar/resnet20", "keras/mobilenet_v2", "torchvision/resnet50")  # small to large


class Images(NamedTuple):
    """What images of a source are like: their median height and width, and whether most of them are in colour."""

    height: int
    width: int
    coloured: bool

    def __str__(self) -> str:
        return f"{'in colour' if self.coloured else 'grey'}, about {self.height}x{self.width}"


def look_at(source: Source) -> Images:
    """Look at a few evenly spread images of a source.

    >>> import tlx
    >>> look_at(tlx.load_data("digits").train)
    Images(height=8, width=8, coloured=False)
    """
    rows = np.linspace(0, len(source) - 1, min(len(source), SAMPLE)).round().astype(int)
    images = [np.asarray(source[int(row)]["input"]) for row in rows]
    height, width = np.median([image.shape[:2] for image in images], axis=0).astype(int).tolist()
    return Images(height, width, bool(np.median([_is_coloured(image) for image in images]) > 0.5))


def _is_coloured(image: np.ndarray) -> bool:
    if image.ndim < 3 or image.shape[2] not in (3, 4):
        return False
    colours = image[..., :3].astype(np.float32)
    return bool((colours.max(-1) - colours.min(-1)).mean() > COLOURED)


def lost(images: Images, preprocess: Preprocess) -> tuple[str, ...]:
    """Name what a base with this preprocessing loses of images: "colour", "detail", both or neither.

    >>> lost(Images(227, 227, True), Preprocess(28, 28, 1)), lost(Images(227, 227, True), Preprocess(224, 224, 3))
    (('colour', 'detail'), ())
    """
    side = min(preprocess.height, preprocess.width)
    detail = side <= THUMBNAIL and min(images.height, images.width) >= REDUCED * side
    return ("colour",) * (images.coloured and preprocess.channels == 1) + ("detail",) * detail


def suitable_bases(images: Images) -> tuple[str, ...]:
    """Name a few bases that lose nothing of such images, the smallest first.

    >>> suitable_bases(Images(227, 227, True)), suitable_bases(Images(32, 32, True))[0]
    (('keras/mobilenet_v2', 'torchvision/resnet50'), 'cifar/resnet20')
    """
    return tuple(name for name in STARTERS if not lost(images, _preprocess_of(name)))


def _preprocess_of(name: str) -> Preprocess:
    if name in list_presets():
        return Preprocess.from_dict(read_config(PRESETS / name)["preprocess"])
    return published(name).preprocess


def takes(preprocess: Preprocess) -> str:
    """Say what input a base takes.

    >>> takes(Preprocess(28, 28, 1))
    '28x28 grey images'
    """
    kinds = {1: "grey images", 3: "images in colour"}
    kind = kinds.get(preprocess.channels, f"images of {preprocess.channels} channels")
    return f"{preprocess.height}x{preprocess.width} {kind}"
