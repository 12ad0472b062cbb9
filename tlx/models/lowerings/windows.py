"""What a kernel or a pool sees of a map (B, H, W, C): its padding, each of its places, and the way back."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]  # rows above and below, columns left and right


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
    """Pad a map on its sides; negative padding cuts off."""
    return lax.pad(x, jnp.array(value, x.dtype), ((0, 0, 0), *((*side, 0) for side in sides), (0, 0, 0)))


def places(x: jax.Array, size: Pair, strides: Pair, sides: Sides) -> Pair:
    """Count the places of a kernel of `size` on a map, down and across; none where the map is the smaller."""
    down, across = (max(0, (x.shape[a + 1] + sum(sides[a]) - size[a]) // strides[a] + 1) for a in (0, 1))
    return down, across


def shifts(x: jax.Array, size: Pair, strides: Pair) -> Iterator[jax.Array]:
    """Yield a padded map as each pixel of the kernel sees it, row by row: (B, H', W', C) each."""
    counts = places(x, size, strides, NONE)
    reach = [(count - 1) * stride + 1 if count else 0 for count, stride in zip(counts, strides, strict=True)]
    for row in range(size[0]):
        for column in range(size[1]):
            part = x[:, row : row + reach[0] : strides[0], column : column + reach[1] : strides[1]]
            yield part.reshape(x.shape[0], *counts, x.shape[3])


NONE: Sides = ((0, 0), (0, 0))


def way_back(x: jax.Array, slope: jax.Array, size: Pair, strides: Pair, sides: Sides) -> tuple[jax.Array, Sides]:
    """Spread a slope (B, H', W', D) out by the strides; return it with the padding for the way back.

    Convolved with the kernel turned round, in steps of 1, it gives the slope of the map `x`.
    """
    if strides != (1, 1):
        slope = lax.pad(slope, jnp.zeros((), slope.dtype), ((0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)))
    low = [size[axis] - 1 - sides[axis][0] for axis in (0, 1)]
    high = [x.shape[axis + 1] + size[axis] - 1 - low[axis] - slope.shape[axis + 1] for axis in (0, 1)]
    return slope, ((low[0], high[0]), (low[1], high[1]))
