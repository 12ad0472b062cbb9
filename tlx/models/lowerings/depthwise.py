"""Depthwise convolution as shifted multiply-adds, for a CPU."""

import jax
import jax.numpy as jnp
from jax import lax

from tlx.models.lowerings.windows import Pair, Sides, padded, shifts, way_back


def _sum(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    """Sum the map, as each pixel of the kernel sees it, times what stands there."""
    total = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32))
    seen = shifts(padded(x, sides), (kernel.shape[0], kernel.shape[1]), strides)
    for part, weights in zip(seen, kernel.reshape(-1, kernel.shape[-1]), strict=True):
        total = total + part * weights
    return total.astype(x.dtype)


depthwise = jax.custom_vjp(_sum, nondiff_argnums=(2, 3))
"""Convolve each channel of (B, H, W, C) with its own (h, w, 1, C) kernel."""


def _forward(
    x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _sum(x, kernel, strides, sides), (x, kernel)


def _backward(
    strides: Pair, sides: Sides, kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Make the kernel's slope picture by picture: nine sums of one, then of the next."""
    x, kernel = kept
    size = (kernel.shape[0], kernel.shape[1])
    to_x = _slope_of_input(x, kernel, slope, strides, sides)
    exact = jnp.promote_types(x.dtype, jnp.float32)

    def add(totals: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        picture, slope = one
        seen = shifts(padded(picture[None], sides), size, strides)
        return totals + jnp.stack([(part[0] * slope).sum((0, 1), dtype=exact) for part in seen]), None

    totals, _ = lax.scan(add, jnp.zeros((size[0] * size[1], x.shape[-1]), exact), (x, slope))
    return to_x, totals.reshape(kernel.shape).astype(kernel.dtype)


def _slope_of_input(x: jax.Array, kernel: jax.Array, slope: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    turned = jnp.flip(kernel, (0, 1))
    spread, around = way_back(x, slope, (kernel.shape[0], kernel.shape[1]), strides, sides)
    return _sum(spread, turned, (1, 1), around)


depthwise.defvjp(_forward, _backward)
