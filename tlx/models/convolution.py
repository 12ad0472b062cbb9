"""Convolution, as XLA's own on a GPU or TPU and, on a CPU, as the sums that are fastest there."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlx.models.depthwise import depthwise

Sides = tuple[tuple[int, int], tuple[int, int]]
SMALL = 16  # places of a map, height times width, up to which gathering what the kernel sees pays
LARGE = 30  # rows of a map from which its kernel's gradient is made block by block
BLOCK = 1568  # places in a block: 7 rows of 224


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    feature_group_count: int = 1,
    precision: Any = None,
    **options: Any,
) -> jax.Array:
    """Convolve (B, H, W, C) with a kernel (h, w, C / groups, D); `nn.Conv` takes it as `conv_general_dilated`.

    The same sums as `lax.conv_general_dilated`, to rounding. A GPU or TPU gets that one. A CPU gets, by the shapes:
    for a 1x1 kernel one matrix product; for as many groups as channels shifted multiply-adds
    (`tlx.models.depthwise`); for maps of few places one product over gathered patches; else XLA's convolution, whose
    gradient for the kernel is made block by block where the map is large, each block staying in the cache. There,
    only reverse-mode differentiation is possible, and once. The options are those that `nn.Conv` gives besides; no
    dilation.

    >>> convolve(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1)), (1, 1), "SAME")[0, :, :, 0].tolist()
    [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    stride, groups = (strides[0], strides[1]), feature_group_count

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _plain(x, kernel, stride, padding, groups, precision)

    def lowered(x: jax.Array, kernel: jax.Array) -> jax.Array:
        sides = padding
        if isinstance(sides, str):
            sides = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], stride, sides)
        if groups > 1:
            return depthwise(jnp.pad(x, ((0, 0), *sides, (0, 0))), kernel, stride)
        return _dense(x, kernel, stride, tuple(tuple(side) for side in sides))

    if groups > 1 and not groups == x.shape[-1] == kernel.shape[-1]:
        return plain(x, kernel)
    found: jax.Array = lax.platform_dependent(x, kernel, cpu=lowered, default=plain)
    return found


def _plain(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: str | Sequence[tuple[int, int]],
    groups: int = 1,
    precision: Any = None,
) -> jax.Array:
    names = ("NHWC", "HWIO", "NHWC")
    found: jax.Array = lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=names, feature_group_count=groups, precision=precision
    )
    return found


def _dense(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], sides: Sides) -> jax.Array:
    """Convolve all channels with all, choosing by the shapes."""
    size = kernel.shape[:2]
    if size == (1, 1):
        return _product(_padded(x, sides)[:, :: strides[0], :: strides[1]], kernel[0, 0])
    return _convolve(x, kernel, strides, sides)


def _forward(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], sides: Sides) -> jax.Array:
    places = math.prod(
        _reach(x.shape[axis + 1] + sum(sides[axis]), kernel.shape[axis], strides[axis]) for axis in (0, 1)
    )
    if places > SMALL:
        return _plain(x, kernel, strides, sides)
    return _product(_patches(_padded(x, sides), kernel.shape[:2], strides), kernel.reshape(-1, kernel.shape[-1]))


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply (B, H, W, C) with (C, D), flat: the gradient of a product over three axes would transpose its operands."""
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


_convolve = jax.custom_vjp(_forward, nondiff_argnums=(2, 3))


def _keep(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], sides: Sides
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _forward(x, kernel, strides, sides), (x, kernel)


def _backward(
    strides: tuple[int, int], sides: Sides, kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    return _slope_of_input(x, kernel, slope, strides, sides), _slope_of_kernel(x, kernel, slope, strides, sides)


_convolve.defvjp(_keep, _backward)


def _slope_of_input(
    x: jax.Array, kernel: jax.Array, slope: jax.Array, strides: tuple[int, int], sides: Sides
) -> jax.Array:
    """Convolve the slope, spread out by the strides, with the kernel turned round."""
    around = [
        _around(x.shape[axis + 1], kernel.shape[axis], slope.shape[axis + 1], strides[axis], sides[axis])
        for axis in (0, 1)
    ]
    spread = lax.pad(slope, jnp.zeros((), slope.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    return _forward(spread, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), (1, 1), ((0, 0), (0, 0)))


def _around(length: int, size: int, reached: int, stride: int, side: tuple[int, int]) -> tuple[int, int, int]:
    low = size - 1 - side[0]
    return low, length + size - 1 - low - ((reached - 1) * stride + 1), stride - 1


def _slope_of_kernel(
    x: jax.Array, kernel: jax.Array, slope: jax.Array, strides: tuple[int, int], sides: Sides
) -> jax.Array:
    batch, height, width, features = slope.shape
    if height < LARGE:
        (found,) = jax.vjp(lambda kernel: _plain(x, kernel, strides, sides), kernel)[1](slope)
        return found
    size, exact = kernel.shape[:2], jnp.promote_types(x.dtype, jnp.float32)
    rows = _divide(height, max(1, BLOCK // width))
    blocks = -(-height // rows)
    x = _padded(x, (_more(sides[0], (blocks * rows - height) * strides[0]), sides[1]))
    slope = jnp.pad(slope, ((0, 0), (0, blocks * rows - height), (0, 0), (0, 0)))
    window = (1, (rows - 1) * strides[0] + size[0], x.shape[2], x.shape[3])

    def add(total: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        picture, row = place // blocks, place % blocks * rows
        part = lax.dynamic_slice(x, (picture, row * strides[0], 0, 0), window)
        own = lax.dynamic_slice(slope, (picture, row, 0, 0), (1, rows, width, features))
        wide = _patches(part, (1, size[1]), (1, strides[1]))
        own = own.reshape(-1, features)
        sums = []
        for row in range(size[0]):
            seen = wide[:, row : row + (rows - 1) * strides[0] + 1 : strides[0]].reshape(rows * width, -1)
            sums.append(lax.dot_general(seen, own, (((0,), (0,)), ((), ())), preferred_element_type=exact))
        return total + jnp.stack(sums), None

    nothing = jnp.zeros((size[0], size[1] * x.shape[3], features), exact)
    total, _ = lax.scan(add, nothing, jnp.arange(batch * blocks))
    return total.reshape(kernel.shape).astype(kernel.dtype)


def _divide(length: int, most: int) -> int:
    """Return how many rows of `length` a block has, at most `most`, so that the last is as full as can be."""
    return -(-length // -(-length // most))


def _more(side: tuple[int, int], rows: int) -> tuple[int, int]:
    return side[0], side[1] + rows


def _padded(x: jax.Array, sides: Sides) -> jax.Array:
    return jnp.pad(x, ((0, 0), *sides, (0, 0)))


def _reach(length: int, size: int, stride: int) -> int:
    """Count the places of a kernel along an axis."""
    return (length - size) // stride + 1


def _patches(x: jax.Array, size: tuple[int, int], strides: tuple[int, int]) -> jax.Array:
    """Gather what the kernel sees at each place of padded pictures: (B, H', W', h * w * C)."""
    spans = [(_reach(x.shape[axis + 1], size[axis], strides[axis]) - 1) * strides[axis] + 1 for axis in (0, 1)]
    return jnp.concatenate(
        [
            x[:, row : row + spans[0] : strides[0], column : column + spans[1] : strides[1]]
            for row in range(size[0])
            for column in range(size[1])
        ],
        axis=-1,
    )
