"""Depthwise convolution, as XLA's own on a GPU or TPU and as shifted multiply-adds on a CPU."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def depthwise_conv(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: str | Sequence[tuple[int, int]], **options: Any
) -> jax.Array:
    """Convolve each channel of (B, H, W, C) with its own (h, w, 1, C) kernel; `nn.Conv` takes it for its convolution.

    The same sums as `lax.conv_general_dilated` with C groups, whose CPU kernel runs them and, above all, their
    gradients an order of magnitude slower than a multiply-add for each place of the kernel. The options are those that
    `nn.Conv` gives besides; no dilation.

    >>> depthwise_conv(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 1, 2)), (1, 1), "SAME")[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
            precision=options.get("precision"),
        )

    def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
        size = kernel.shape[:2]
        sides = lax.padtype_to_pads(x.shape[1:3], size, strides, padding) if isinstance(padding, str) else padding
        x = jnp.pad(x, ((0, 0), *sides, (0, 0)))
        reach = [(x.shape[axis + 1] - size[axis]) // strides[axis] * strides[axis] + 1 for axis in (0, 1)]
        total = jnp.zeros((), x.dtype)
        for row in range(size[0]):
            for column in range(size[1]):
                part = x[:, row : row + reach[0] : strides[0], column : column + reach[1] : strides[1]]
                total = total + part * kernel[row, column, 0]
        return total

    found: jax.Array = lax.platform_dependent(x, kernel, cpu=shifted, default=plain)
    return found
