"""Transforms: how an array of a source becomes a leaf of tlx, and back; each is a permutation of the same numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tlx.errors import ConfigError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Transform:
    """Permute axes by `order`.

    With `rows`, a (channels, height, width), the leaf is the kernel of a dense layer behind features (H, W, C) that are
    flattened, and the source is one behind features (C, H, W): a matrix (out, C * H * W), or where `as_convolution` a
    convolution (out, C, H, W) over them all. Channels may be None, which is any number.
    """

    order: tuple[int, ...]
    rows: tuple[int | None, int, int] | None = None
    as_convolution: bool = False

    def leaf_shape(self, source: Shape) -> Shape:
        """Return the leaf's shape for a source's; raise `ValueError` where that does not fit."""
        pieces = self._pieces(source)
        moved = tuple(pieces[axis] for axis in self.order)
        return moved if self.rows is None else (math.prod(moved[:3]), moved[3])

    def source_shape(self, leaf: Shape) -> Shape:
        """Return the source's shape for a leaf's; raise `ValueError` where that does not fit."""
        if self.rows is None:
            return tuple(leaf[axis] for axis in self._back())
        channels, height, width = self.rows
        pieces = (leaf[1], channels or leaf[0] // (height * width), height, width)
        return pieces if self.as_convolution else (pieces[0], math.prod(pieces[1:]))

    def moved(self, array: np.ndarray) -> np.ndarray:
        """Return a view of a source's array whose numbers, in C order, are the leaf's."""
        return array.reshape(self._pieces(array.shape)).transpose(self.order)

    def inverse(self, leaf: np.ndarray) -> np.ndarray:
        """Return the source's array of a leaf."""
        source = self.source_shape(leaf.shape)
        pieces = self._pieces(source)
        return leaf.reshape([pieces[axis] for axis in self.order]).transpose(self._back()).reshape(source)

    def _back(self) -> Shape:
        return tuple(int(axis) for axis in np.argsort(self.order))

    def _pieces(self, source: Shape) -> Shape:
        if self.rows is None:
            pieces = source
        else:
            channels, height, width = self.rows
            pieces = (*source[:1], channels or math.prod(source[1:]) // (height * width), height, width)
        two = self.rows is not None and not self.as_convolution
        if len(source) != (2 if two else len(self.order)) or math.prod(pieces) != math.prod(source):
            raise ValueError(f"shape {source}")
        return pieces


TRANSFORMS: dict[str, Transform] = {
    "same": Transform(()),
    "oihw_to_hwio": Transform((2, 3, 1, 0)),
    "oi_to_io": Transform((1, 0)),
    "hwcm_to_hwmc": Transform((0, 1, 3, 2)),  # depthwise: Keras's kernel to Flax's grouped convolution
    "rows_7x7x512": Transform((2, 3, 1, 0), (512, 7, 7)),
    "conv_7x7x512": Transform((2, 3, 1, 0), (512, 7, 7), as_convolution=True),
    "conv_1x1": Transform((2, 3, 1, 0), (None, 1, 1), as_convolution=True),
}


def leaf_shape(name: str, source: Shape) -> Shape | None:
    """Return the shape of the leaf that a transform makes, or None where the source's shape does not fit.

    >>> leaf_shape("oihw_to_hwio", (64, 3, 7, 7)), leaf_shape("oi_to_io", (3,))
    ((7, 7, 3, 64), None)
    """
    try:
        return source if name == "same" else _named(name).leaf_shape(source)
    except ValueError:
        return None


def source_shape(name: str, leaf: Shape) -> Shape:
    """Return the shape of the source's array that makes a leaf; the inverse of `leaf_shape`.

    >>> source_shape("oihw_to_hwio", (7, 7, 3, 64))
    (64, 3, 7, 7)
    """
    return leaf if name == "same" else _named(name).source_shape(leaf)


def forward(name: str, array: np.ndarray) -> np.ndarray:
    """Transform a source's array into a leaf, contiguous in C order; the inverse is `inverse`.

    >>> forward("oi_to_io", np.array([[1, 2, 3]])).tolist()
    [[1], [2], [3]]
    """
    return array if name == "same" else _packed(_named(name).moved(array)).reshape(_named(name).leaf_shape(array.shape))


def inverse(name: str, leaf: np.ndarray) -> np.ndarray:
    """Transform a leaf back into the source's array; the inverse of `forward`.

    >>> inverse("oi_to_io", np.array([[1], [2], [3]])).tolist()
    [[1, 2, 3]]
    """
    return leaf if name == "same" else _named(name).inverse(leaf)


def blocks(name: str, array: np.ndarray, most: int = 1 << 24) -> Iterator[np.ndarray]:
    """Yield the leaf of a source's array in contiguous pieces of about `most` bytes, in C order.

    So a leaf as large as memory allows can be written without a second copy of it.

    >>> [block.tolist() for block in blocks("oi_to_io", np.array([[1, 2, 3]]), most=8)]
    [[[1]], [[2]], [[3]]]
    """
    yield from _split(array if name == "same" else _named(name).moved(array), most)


def _split(view: np.ndarray, most: int) -> Iterator[np.ndarray]:
    if view.nbytes <= most or view.ndim < 2:
        yield _packed(view)
    elif view[0].nbytes > most:
        for part in view:
            yield from _split(part, most)
    else:
        step = most // view[0].nbytes
        for start in range(0, len(view), step):
            yield _packed(view[start : start + step])


def _packed(view: np.ndarray) -> np.ndarray:
    """Return a view's numbers contiguous in C order, copied where they are not.

    They are copied for a cache line of the copy's last axis at a time. NumPy goes along that whole axis, and where its
    neighbours lie far apart each line of the source is fetched anew for each number in it: six times slower for the
    first dense layer of a VGG.
    """
    if view.flags.c_contiguous:
        return view
    copy, step = np.empty(view.shape, view.dtype), 64 // view.itemsize
    for start in range(0, view.shape[-1], step):
        copy[..., start : start + step] = view[..., start : start + step]
    return copy


def _named(name: str) -> Transform:
    if name not in TRANSFORMS:
        raise ConfigError(f"unknown transform {name!r}")
    return TRANSFORMS[name]
