"""Windows: what a kernel or a pool of a given size covers of a map (B, H, W, C), offset by offset."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]  # rows above and below, columns left and right

NONE: Sides = ((0, 0), (0, 0))


def sides_of(x: jax.Array, size: Pair, strides: Pair, padding: str | Sequence[tuple[int, int]]) -> Sides:
    """Return the padding of each side, also where it is given by name, 'SAME' or 'VALID'.

    >>> sides_of(jnp.ones((1, 8, 8, 1)), (3, 3), (2, 2), "SAME")
    ((0, 1), (0, 1))
    """
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], size, strides, padding)
    (top, bottom), (left, right) = padding
    return (top, bottom), (left, right)


def padded(x: jax.Array, sides: Sides, value: float = 0.0) -> jax.Array:
    """Pad a map on its sides; negative padding crops."""
    return lax.pad(x, jnp.array(value, x.dtype), ((0, 0, 0), *((*side, 0) for side in sides), (0, 0, 0)))


def output_size(x: jax.Array, size: Pair, strides: Pair, sides: Sides) -> Pair:
    """Return the height and width of what windows of `size` make of a map, 0 where the padded map is the smaller.

    >>> output_size(jnp.ones((1, 8, 7, 1)), (3, 3), (2, 2), NONE)
    (3, 3)
    """
    high, wide = (max(0, (x.shape[a + 1] + sum(sides[a]) - size[a]) // strides[a] + 1) for a in (0, 1))
    return high, wide


def at_offsets(x: jax.Array, size: Pair, strides: Pair) -> Iterator[jax.Array]:
    """Yield, for each offset (row, column) within a window, row by row, the pixel there of all windows: (B, H', W', C).

    The window of output pixel i begins at pixel i * stride of the padded map, so offset k of all windows is the slice
    k, k + stride, k + 2 * stride, … A sum over offsets of these slices times weights is a convolution.

    >>> [part.ravel().tolist() for part in at_offsets(jnp.arange(4.0).reshape(1, 1, 4, 1), (1, 2), (1, 2))]
    [[0.0, 2.0], [1.0, 3.0]]
    """
    counts = output_size(x, size, strides, NONE)
    reach = [(count - 1) * stride + 1 if count else 0 for count, stride in zip(counts, strides, strict=True)]
    for row in range(size[0]):
        for column in range(size[1]):
            part = x[:, row : row + reach[0] : strides[0], column : column + reach[1] : strides[1]]
            yield part.reshape(x.shape[0], *counts, x.shape[3])


def transpose_operand(
    x: jax.Array, cotangent: jax.Array, size: Pair, strides: Pair, sides: Sides
) -> tuple[jax.Array, Sides]:
    """Dilate an output's cotangent (B, H', W', D) by the strides; return it with the padding of the transpose.

    Convolved so with the flipped kernel, in strides of 1, it gives the cotangent of the map `x`. Along one axis, with a
    kernel w of n, stride s and `low` zeros before x, the output is y[i] = sum_k w[k] x[i s + k - low]. So pixel j has
    the cotangent sum_k w[k] g[(j + low - k) / s], over those k for which s divides: with g dilated, d[i s] = g[i], and
    the kernel flipped, f[m] = w[n - 1 - m], it is sum_m f[m] d[j + m - (n - 1 - low)], a convolution of d after
    n - 1 - low zeros. The zeros after it are as many as make the result as long as x.
    """
    if strides != (1, 1):
        zero = jnp.zeros((), cotangent.dtype)
        cotangent = lax.pad(cotangent, zero, ((0, 0, 0), *((0, 0, stride - 1) for stride in strides), (0, 0, 0)))
    low = [size[axis] - 1 - sides[axis][0] for axis in (0, 1)]
    high = [x.shape[axis + 1] + size[axis] - 1 - low[axis] - cotangent.shape[axis + 1] for axis in (0, 1)]
    return cotangent, ((low[0], high[0]), (low[1], high[1]))
