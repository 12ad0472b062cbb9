"""Depthwise convolution as multiply-adds of a map's slices, for a CPU."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from tlx.models._lowerings.windows import Pair, Sides, at_offsets, padded, transpose_operand


def _sum(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    """Add up the pixels at each offset of the windows, times the kernel's weight there; in float32 at least."""
    total = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32))
    parts = at_offsets(padded(x, sides), (kernel.shape[0], kernel.shape[1]), strides)
    for part, weights in zip(parts, kernel.reshape(-1, kernel.shape[-1]), strict=True):
        total = total + part * weights
    return total.astype(x.dtype)


@functools.partial(jax.jit, static_argnames=("strides", "sides"))
def depthwise(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    """Convolve each channel of (B, H, W, C) with its own (h, w, 1, C) kernel; reverse-mode differentiation only, once.

    >>> depthwise(jnp.ones((1, 2, 2, 1)), jnp.ones((2, 2, 1, 1)), (1, 1), ((0, 0), (0, 0))).item()
    4.0
    """
    return _convolve(x, kernel, strides, sides)


_convolve = jax.custom_vjp(_sum, nondiff_argnums=(2, 3))


def _forward(
    x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _sum(x, kernel, strides, sides), (x, kernel)


def _backward(
    strides: Pair, sides: Sides, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    size = (kernel.shape[0], kernel.shape[1])
    dilated, around = transpose_operand(x, cotangent, size, strides, sides)
    of_x = _sum(dilated, jnp.flip(kernel, (0, 1)), (1, 1), around)
    wide = jnp.promote_types(x.dtype, jnp.float32)

    # The kernel's cotangent at an offset is the sum over images and pixels of that slice times the output's cotangent.
    # Image by image, all slices of one are read while it is in the cache of the CPU; over the whole batch at once, XLA
    # would pass over all of it once an offset.
    def add(total: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        image, cotangent = one
        parts = at_offsets(padded(image[None], sides), size, strides)
        return total + jnp.stack([(part[0] * cotangent).sum((0, 1), dtype=wide) for part in parts]), None

    of_kernel, _ = lax.scan(add, jnp.zeros((size[0] * size[1], x.shape[-1]), wide), (x, cotangent))
    return of_x, of_kernel.reshape(kernel.shape).astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)
