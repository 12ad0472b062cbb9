"""3x3 convolutions with 16 products for every 2x2 places, where the sums as they are written take 36.

F(2x2, 3x3) of A. Lavin, S. Gray, 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308. Its
factors are 1, -1 and 1/2: what it rounds is about what the plain sum does.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tlx.models.lowerings.windows import Sides, padded, places

INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))


def pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Say whether the products spared outweigh the sums, and the time to compile them: on large maps of many channels.

    The bounds take in VGG's at 224x224 and leave out ResNet's, which gain little. A bfloat16 would round the sums.

    >>> pays(jnp.ones((1, 28, 28, 512)), jnp.ones((3, 3, 512, 512)))
    True
    """
    channels, features = kernel.shape[2:]
    many = channels * features >= 80 * (channels + features)
    large = x.shape[1] * x.shape[2] * channels * features >= 2**25
    return many and large and x.dtype.itemsize >= 4


@functools.partial(jax.jit, static_argnames="sides")
def winograd(x: jax.Array, kernel: jax.Array, sides: Sides) -> jax.Array:
    """Convolve (B, H, W, C) with a kernel (3, 3, C, D) in steps of 1.

    Sixteen matrix products of sums over squares of 4x4 pixels with sums over the kernel. The squares overlap by two
    pixels, so their sums hold four times what `x` does.

    >>> winograd(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1)), ((1, 1), (1, 1)))[0, :, :, 0].tolist()
    [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    batch, channels, features = x.shape[0], x.shape[3], kernel.shape[3]
    down, across = places(x, (3, 3), (1, 1), sides)
    high, wide = -(-down // 2), -(-across // 2)  # squares
    (top, bottom), (left, right) = sides
    x = padded(x, ((top, bottom + 2 * high - down), (left, right + 2 * wide - across)))
    x = x.reshape(batch, high + 1, 2, wide + 1, 2, channels)  # slices by steps of 2 have a slow slope
    pixels = [[x[:, i // 2 :, i % 2, j // 2 :, j % 2][:, :high, :wide] for j in range(4)] for i in range(4)]
    products = [
        [jnp.dot(square.reshape(-1, channels), weights) for square, weights in zip(*row, strict=True)]
        for row in zip(_around(INPUT, pixels), _around(KERNEL, list(kernel)), strict=True)
    ]
    found = jnp.stack([jnp.stack(row) for row in _around(OUTPUT, products)]).reshape(2, 2, batch, high, wide, features)
    return found.transpose(2, 3, 0, 4, 1, 5).reshape(batch, 2 * high, 2 * wide, features)[:, :down, :across]


def _around(matrix: Sequence[Sequence[float]], square: Sequence[Sequence[jax.Array]]) -> list[list[jax.Array]]:
    """Multiply a square of arrays with the matrix from the left and with its transpose from the right."""
    half = [_sums(matrix, column) for column in zip(*square, strict=True)]
    return [_sums(matrix, row) for row in zip(*half, strict=True)]


def _sums(matrix: Sequence[Sequence[float]], parts: Sequence[jax.Array]) -> list[jax.Array]:
    terms = [[factor * part for factor, part in zip(row, parts, strict=True) if factor] for row in matrix]
    return [functools.reduce(jnp.add, each) for each in terms]
