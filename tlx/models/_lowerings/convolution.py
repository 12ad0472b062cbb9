"""Convolution: XLA's own or, for a CPU, the sums that are fastest there."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlx.models._lowerings.choice import for_cpu
from tlx.models._lowerings.depthwise import depthwise
from tlx.models._lowerings.windows import Pair, Sides, at_offsets, output_size, padded, sides_of
from tlx.models._lowerings.winograd import pays, winograd


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

    The same sums as `lax.conv_general_dilated`, to rounding. That one is what a GPU or TPU gets, and what a CPU gets
    under `lowerings("plain")`. Else a CPU gets, by the shapes: for a 1x1 kernel one matrix product; for as many groups
    as channels multiply-adds of slices (`depthwise`: reverse-mode differentiation only, and once); where the kernel has
    more pixels than the output, down or across, one product over gathered patches; for a 3x3 kernel of many channels on
    a large map, in strides of 1, products of sums over squares (`winograd`); and for all others XLA's convolution,
    which is fast there if compiled with `tlx.devices.compiler_options`. Other groups, and dilation, are left to XLA.

    >>> convolve(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1)), (1, 1), "SAME")[0, :, :, 0].tolist()
    [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    by, groups, size = (strides[0], strides[1]), feature_group_count, (kernel.shape[0], kernel.shape[1])
    dilated = any(each not in (None, 1) for dilation in (lhs_dilation, rhs_dilation) for each in dilation or ())
    if for_cpu() and not dilated and (groups == 1 or groups == x.shape[-1] == kernel.shape[-1]):
        sides = sides_of(x, size, by, padding)
        counts = output_size(x, size, by, sides)
        found: jax.Array | None = None
        if 0 in counts:
            pass
        elif groups > 1:
            found = depthwise(x, kernel, strides=by, sides=sides)
        elif size == (1, 1):
            found = _pointwise(x, kernel, strides=by, sides=sides)
        elif any(count < pixels for count, pixels in zip(counts, size, strict=True)):
            found = _gathered(x, kernel, strides=by, sides=sides)
        elif size == (3, 3) and by == (1, 1) and pays(x, kernel):
            found = winograd(x, kernel, sides=sides)
        if found is not None:
            return found
    plain: jax.Array = lax.conv_general_dilated(
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
    return plain


# Each is compiled as one where it is called outside of any `jax.jit`; inside, it is a part of that program.
@functools.partial(jax.jit, static_argnames=("strides", "sides"))
def _pointwise(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    return _product(padded(x, sides)[:, :: strides[0], :: strides[1]], kernel[0, 0])


@functools.partial(jax.jit, static_argnames=("strides", "sides"))
def _gathered(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    parts = at_offsets(padded(x, sides), (kernel.shape[0], kernel.shape[1]), strides)
    return _product(jnp.concatenate(list(parts), axis=-1), kernel.reshape(-1, kernel.shape[-1]))


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply (B, H, W, C) with (C, D), flat: the gradient of a product over three axes would transpose them first."""
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])
