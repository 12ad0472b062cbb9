"""3x3 convolutions with 16 products for every 2x2 pixels of output, where the sums as they are written take 36.

F(2x2, 3x3) of A. Lavin, S. Gray, 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308, section
4.1: a square d of 4x4 pixels and a kernel g of 3x3 give 2x2 pixels of output, Y = A' [(G g G') * (B' d B)] A, where *
multiplies element by element and ' transposes. `INPUT` is B', `KERNEL` is G and `OUTPUT` is A'.

Along one axis, with pixels d0 … d3 and weights g0 … g2, the two sums wanted are y0 = d0 g0 + d1 g1 + d2 g2 and
y1 = d1 g0 + d2 g1 + d3 g2. Four products serve both:

    m1 = (d0 - d2) g0                       m2 = (d1 + d2) (g0 + g1 + g2) / 2
    m4 = (d1 - d3) g2                       m3 = (d2 - d1) (g0 - g1 + g2) / 2
    m2 + m3 = d2 g0 + d1 g1 + d2 g2         y0 = m1 + m2 + m3
    m2 - m3 = d1 g0 + d2 g1 + d1 g2         y1 = m2 - m3 - m4

The rows of the three matrices are these sums; two axes take 4 x 4 products. (It is Toom and Cook's way to multiply
polynomials, by their values at 0, 1, -1 and infinity.) All factors are 1, -1 and 1/2, so it rounds about as the plain
sum does; F(4x4, 3x3), which spares more, has factors up to 8 and does not.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tlx.models._lowerings.windows import Sides, output_size, padded

INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))


def pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Say whether the products spared outweigh the sums, and the time to compile them: on large maps of many channels.

    The sums grow with C + D a pixel, the products with C D. The bounds were measured (`benchmarks/convolution.py`):
    they take in VGG's at 224x224 and leave out ResNet's, which gain little. A bfloat16 would round the sums.

    >>> pays(jnp.ones((1, 28, 28, 512)), jnp.ones((3, 3, 512, 512)))
    True
    """
    channels, features = kernel.shape[2:]
    many = channels * features >= 80 * (channels + features)
    large = x.shape[1] * x.shape[2] * channels * features >= 2**25
    return many and large and x.dtype.itemsize >= 4


@functools.partial(jax.jit, static_argnames="sides")
def winograd(x: jax.Array, kernel: jax.Array, sides: Sides) -> jax.Array:
    """Convolve (B, H, W, C) with a kernel (3, 3, C, D) in strides of 1.

    Sixteen matrix products of sums over squares of 4x4 pixels with sums over the kernel. The squares overlap by two
    pixels, so their sums hold four times what `x` does.

    >>> winograd(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1)), ((1, 1), (1, 1)))[0, :, :, 0].tolist()
    [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    batch, channels, features = x.shape[0], x.shape[3], kernel.shape[3]
    rows, columns = output_size(x, (3, 3), (1, 1), sides)
    high, wide = -(-rows // 2), -(-columns // 2)  # squares, each of 2x2 pixels of output: an odd size takes one more
    (top, bottom), (left, right) = sides
    x = padded(x, ((top, bottom + 2 * high - rows), (left, right + 2 * wide - columns)))
    # Pixel (i, j) of each square is a slice by steps of 2, whose gradient XLA makes slowly. The same pixels lie side by
    # side once the map is seen as blocks of 2x2: pixel i of square s is row i % 2 of block s + i // 2. A square begins
    # at a block and ends with the next one, so there is one block more than squares.
    x = x.reshape(batch, high + 1, 2, wide + 1, 2, channels)
    pixels = [[x[:, i // 2 :, i % 2, j // 2 :, j % 2][:, :high, :wide] for j in range(4)] for i in range(4)]
    products = [
        [jnp.dot(square.reshape(-1, channels), weights) for square, weights in zip(*row, strict=True)]
        for row in zip(_both_sides(INPUT, pixels), _both_sides(KERNEL, list(kernel)), strict=True)
    ]
    # (2, 2) pixels of each square, which become neighbours: rows 2 s and 2 s + 1 of the output are those of square s.
    squares = jnp.stack([jnp.stack(row) for row in _both_sides(OUTPUT, products)])
    squares = squares.reshape(2, 2, batch, high, wide, features).transpose(2, 3, 0, 4, 1, 5)
    return squares.reshape(batch, 2 * high, 2 * wide, features)[:, :rows, :columns]


def _both_sides(matrix: Sequence[Sequence[float]], square: Sequence[Sequence[jax.Array]]) -> list[list[jax.Array]]:
    """Multiply a square of arrays with the matrix from the left and with its transpose from the right."""
    half = [_sums(matrix, column) for column in zip(*square, strict=True)]
    return [_sums(matrix, row) for row in zip(*half, strict=True)]


def _sums(matrix: Sequence[Sequence[float]], parts: Sequence[jax.Array]) -> list[jax.Array]:
    terms = [[factor * part for factor, part in zip(row, parts, strict=True) if factor] for row in matrix]
    return [functools.reduce(jnp.add, each) for each in terms]
