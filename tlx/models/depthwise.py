"""Depthwise convolution, as XLA's own on a GPU or TPU and as shifted multiply-adds on a CPU."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax


def _shifts(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Yield padded pictures (B, H, W, C) as each place of the kernel sees them, with what stands there."""
    size = kernel.shape[:2]
    reach = [(x.shape[axis + 1] - size[axis]) // strides[axis] * strides[axis] + 1 for axis in (0, 1)]
    for row in range(size[0]):
        for column in range(size[1]):
            part = x[:, row : row + reach[0] : strides[0], column : column + reach[1] : strides[1]]
            yield part, kernel[row, column, 0]


def _sum(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    total = jnp.zeros((), x.dtype)
    for part, weights in _shifts(x, kernel, strides):
        total = total + part * weights
    return total


depthwise = jax.custom_vjp(_sum, nondiff_argnums=(2,))


def _forward(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _sum(x, kernel, strides), (x, kernel)


def _backward(strides: tuple[int, int], kept: tuple[jax.Array, ...], slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Make the kernel's gradient picture by picture: each stays in the cache while its sums are made."""
    x, kernel = kept
    (to_x,) = jax.vjp(lambda x: _sum(x, kernel, strides), x)[1](slope)
    exact = jnp.promote_types(x.dtype, jnp.float32)

    def add(totals: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        picture, slope = one
        sums = [(part[0] * slope).sum((0, 1), dtype=exact) for part, _ in _shifts(picture[None], kernel, strides)]
        return totals + jnp.stack(sums), None

    totals, _ = lax.scan(add, jnp.zeros((kernel.shape[0] * kernel.shape[1], x.shape[-1]), exact), (x, slope))
    return to_x, totals.reshape(kernel.shape).astype(kernel.dtype)


depthwise.defvjp(_forward, _backward)
