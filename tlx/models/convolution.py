"""Convolution, as XLA's own on a GPU or TPU and, on a CPU, as the sums that are fastest there."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlx.models.depthwise import depthwise
from tlx.models.windows import NONE, Pair, Sides, padded, places, shifts, sides_of, way_back

SMALL = 16  # places of a kernel up to which gathering what it sees pays
LARGE = 30  # rows of places from which a kernel's slope is made block by block
BLOCK = 1568  # places in a block: 7 rows of 224


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    feature_group_count: int = 1,
    precision: Any = None,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
) -> jax.Array:
    """Convolve (B, H, W, C) with a kernel (h, w, C / groups, D); `nn.Conv` takes it as `conv_general_dilated`.

    The same sums as `lax.conv_general_dilated`, to rounding. A GPU or TPU gets that one. A CPU gets, by the shapes:
    for a 1x1 kernel one matrix product; for as many groups as channels shifted multiply-adds
    (`tlx.models.depthwise`); for maps of few places one product over gathered patches; else XLA's convolution, whose
    slope for the kernel is made block by block where the map is large, each block staying in the cache. There is
    reverse-mode differentiation only, and once. Other groups, and dilation, are left to XLA.

    >>> convolve(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1)), (1, 1), "SAME")[0, :, :, 0].tolist()
    [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    by, groups = (strides[0], strides[1]), feature_group_count
    if any(each not in (None, 1) for dilation in (lhs_dilation, rhs_dilation) for each in dilation or ()):
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers=_NHWC,
            feature_group_count=groups,
            precision=precision,
        )
    sides = sides_of(x, (kernel.shape[0], kernel.shape[1]), by, padding)

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _plain(x, kernel, by, sides, groups, precision)

    def lowered(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if groups > 1:
            return depthwise(x, kernel, by, sides)
        if kernel.shape[:2] == (1, 1):
            return _product(padded(x, sides)[:, :: by[0], :: by[1]], kernel[0, 0])
        return _dense(x, kernel, by, sides)

    if groups > 1 and not groups == x.shape[-1] == kernel.shape[-1]:
        return plain(x, kernel)
    found: jax.Array = lax.platform_dependent(x, kernel, cpu=lowered, default=plain)
    return found


_NHWC = ("NHWC", "HWIO", "NHWC")


def _plain(
    x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides, groups: int = 1, precision: Any = None
) -> jax.Array:
    found: jax.Array = lax.conv_general_dilated(
        x, kernel, strides, sides, dimension_numbers=_NHWC, feature_group_count=groups, precision=precision
    )
    return found


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply (B, H, W, C) with (C, D), flat: the slope of a product over three axes would transpose its operands."""
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _gathered_or_plain(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    size = (kernel.shape[0], kernel.shape[1])
    down, across = places(x, size, strides, sides)
    if not 0 < down * across <= SMALL:
        if sides == NONE and strides == (1, 1) and down * across:
            # Where nothing is padded, XLA's takes another way, two to four times slower.
            return _plain(x, kernel, strides, ((0, 0), (0, 1)))[:, :, :across]
        return _plain(x, kernel, strides, sides)
    patches = jnp.concatenate(list(shifts(padded(x, sides), size, strides)), axis=-1)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]))


_dense = jax.custom_vjp(_gathered_or_plain, nondiff_argnums=(2, 3))


def _forward(
    x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _gathered_or_plain(x, kernel, strides, sides), (x, kernel)


def _backward(
    strides: Pair, sides: Sides, kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    spread, around = way_back(x, slope, (kernel.shape[0], kernel.shape[1]), strides, sides)
    to_x = _gathered_or_plain(spread, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), (1, 1), around)
    if slope.shape[1] >= LARGE:
        return to_x, _in_blocks(x, kernel, slope, strides, sides)
    (to_kernel,) = jax.vjp(lambda kernel: _plain(x, kernel, strides, sides), kernel)[1](slope)
    return to_x, to_kernel


_dense.defvjp(_forward, _backward)


def _in_blocks(x: jax.Array, kernel: jax.Array, slope: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    """Make the slope of a kernel from blocks of rows, of one picture after another: products for each of its rows."""
    (high, wide), channels, (batch, height, width, features) = kernel.shape[:2], x.shape[3], slope.shape
    exact = jnp.promote_types(x.dtype, jnp.float32)
    blocks = -(-height // max(1, BLOCK // width))
    rows = -(-height // blocks)
    missing = blocks * rows - height
    (top, bottom), across = sides
    x = padded(x, ((top, bottom + missing * strides[0]), across))
    slope = padded(slope, ((0, missing), (0, 0)))
    seen = (1, (rows - 1) * strides[0] + high, x.shape[2], channels)

    def add(total: jax.Array, block: jax.Array) -> tuple[jax.Array, None]:
        picture, row = block // blocks, block % blocks * rows
        part = lax.dynamic_slice(x, (picture, row * strides[0], 0, 0), seen)
        own = lax.dynamic_slice(slope, (picture, row, 0, 0), (1, rows, width, features)).reshape(-1, features)
        part = jnp.concatenate(list(shifts(part, (1, wide), (1, strides[1]))), axis=-1)
        sums = [
            lax.dot_general(line.reshape(rows * width, -1), own, (((0,), (0,)), ((), ())), preferred_element_type=exact)
            for line in shifts(part, (high, 1), (strides[0], 1))
        ]
        return total + jnp.stack(sums), None

    total, _ = lax.scan(add, jnp.zeros((high, wide * channels, features), exact), jnp.arange(batch * blocks))
    return total.reshape(kernel.shape).astype(kernel.dtype)
