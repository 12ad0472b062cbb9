"""Convolution, as XLA's own on a GPU or TPU and, on a CPU, as the sums that are fastest there."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlx.models.lowerings.depthwise import depthwise
from tlx.models.lowerings.windows import Pair, Sides, padded, places, shifts, sides_of
from tlx.models.lowerings.winograd import pays, winograd


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
    (`tlx.models.lowerings.depthwise`: reverse-mode differentiation only, and once); where the kernel has fewer places,
    down or across, than pixels, one product over gathered patches; for a 3x3 kernel of many channels on a large map, in
    steps of 1, products of sums over squares (`tlx.models.lowerings.winograd`); else XLA's convolution, which is quick
    there if compiled with `tlx.devices.compiler_options`. Other groups, and dilation, are left to XLA.

    >>> convolve(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1)), (1, 1), "SAME")[0, :, :, 0].tolist()
    [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    by, groups, size = (strides[0], strides[1]), feature_group_count, (kernel.shape[0], kernel.shape[1])
    dilated = any(each not in (None, 1) for dilation in (lhs_dilation, rhs_dilation) for each in dilation or ())

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        found: jax.Array = lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
            precision=precision,
        )
        return found

    if dilated or (groups > 1 and not groups == x.shape[-1] == kernel.shape[-1]):
        return plain(x, kernel)
    sides = sides_of(x, size, by, padding)
    counts = places(x, size, by, sides)
    own: Callable[[jax.Array, jax.Array], jax.Array]
    if 0 in counts:
        return plain(x, kernel)
    if groups > 1:
        own = functools.partial(depthwise, strides=by, sides=sides)
    elif size == (1, 1):
        own = functools.partial(_at_each_place, strides=by, sides=sides)
    elif any(count < pixels for count, pixels in zip(counts, size, strict=True)):
        own = functools.partial(_gathered, strides=by, sides=sides)
    elif size == (3, 3) and by == (1, 1) and pays(x, kernel):
        own = functools.partial(winograd, sides=sides)
    else:
        return plain(x, kernel)
    found: jax.Array = lax.platform_dependent(x, kernel, cpu=own, default=plain)
    return found


def _at_each_place(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    return _product(padded(x, sides)[:, :: strides[0], :: strides[1]], kernel[0, 0])


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply (B, H, W, C) with (C, D), flat: the slope of a product over three axes would transpose its operands."""
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _gathered(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    patches = jnp.concatenate(list(shifts(padded(x, sides), (kernel.shape[0], kernel.shape[1]), strides)), axis=-1)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]))
