"""Pools: XLA's own, and on a CPU comparisons and sums of shifted maps, for their gradients too."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tlx.models.lowerings.windows import Sides, padded, shifts, sides_of


def avg_pool_3x3(x: jax.Array, *, count_padding: bool) -> jax.Array:
    """Average the 3x3 square around each pixel of (B, H, W, C), padded with zeros that count or not.

    They count in PyTorch's default, and not in Keras. The same as `nn.avg_pool` to rounding, whose sums
    (`reduce_window`) and their gradient are slower on a CPU. There is reverse-mode differentiation only.

    >>> avg_pool_3x3(jnp.ones((1, 2, 2, 1)), count_padding=False)[0, :, :, 0].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def plain(x: jax.Array) -> jax.Array:
        found: jax.Array = nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=count_padding)
        return found

    def summed(x: jax.Array) -> jax.Array:
        total = _sum_3x3(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
        down, across = (3.0 - (np.arange(n) == 0) - (np.arange(n) == n - 1) for n in x.shape[1:3])
        share = 1 / (down[:, None, None] * across[:, None])
        return (total * (1 / 9 if count_padding else share)).astype(x.dtype)

    found: jax.Array = lax.platform_dependent(x, cpu=summed, default=plain)
    return found


@jax.custom_vjp
def _sum_3x3(x: jax.Array) -> jax.Array:
    x = padded(x, ((1, 1), (1, 1)))
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]


# A pixel is in the squares of the pixels that are in its own.
_sum_3x3.defvjp(lambda x: (_sum_3x3(x), None), lambda _, slope: (_sum_3x3(slope),))


def max_pool(x: jax.Array, window: int, strides: int, padding: str | Sequence[tuple[int, int]] = "VALID") -> jax.Array:
    """Take the maximum of each square of `window` pixels, every `strides` pixels, of (B, H, W, C).

    The same values and gradient as `nn.max_pool`, whose gradient (`select_and_scatter`) is several times slower on a
    CPU: of equal maxima the first has it. Padding counts as minus infinity. There is reverse-mode differentiation
    only, and once.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2, 2)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    sides = sides_of(x, (window, window), (strides, strides), padding)

    def plain(x: jax.Array) -> jax.Array:
        found: jax.Array = nn.max_pool(x, (window, window), (strides, strides), sides)
        return found

    def compared(x: jax.Array) -> jax.Array:
        return _pool(x, window, strides, sides)

    found: jax.Array = lax.platform_dependent(x, cpu=compared, default=plain)
    return found


def _maximum(x: jax.Array, window: int, strides: int, sides: Sides) -> jax.Array:
    """Compare shifted maps: XLA's pool is a reduction, with which YNNPACK also takes the convolution before it."""
    return functools.reduce(jnp.maximum, shifts(padded(x, sides, -jnp.inf), (window, window), (strides, strides)))


_pool = jax.custom_vjp(_maximum, nondiff_argnums=(1, 2, 3))


def _forward(x: jax.Array, window: int, strides: int, sides: Sides) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    most = _maximum(x, window, strides, sides)
    return most, (x, most)


def _backward(
    window: int, strides: int, sides: Sides, kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array]:
    """Give each slope to the first pixel of its square that is the maximum.

    Pixels whose rows and columns leave the same remainder by the strides are seen by squares in the same way, so the
    slope is gathered for each pair of remainders apart, and these are interleaved.
    """
    x, most = kept
    beside = padded(x, sides, -jnp.inf)
    rows, columns = (-(-length // strides) for length in beside.shape[1:3])
    number = jnp.int8 if window**2 < 128 else jnp.int32
    winner = jnp.full(most.shape, window**2, number)
    seen = list(enumerate(shifts(beside, (window, window), (strides, strides))))
    for index, part in reversed(seen):
        winner = jnp.where(part == most, number(index), winner)
    reach = (window - 1) // strides
    around = ((0, 0), (reach, rows - most.shape[1]), (reach, columns - most.shape[2]), (0, 0))
    winner, slope = jnp.pad(winner, around, constant_values=-1), jnp.pad(slope, around)
    found: dict[tuple[int, int], jax.Array] = {}
    for index in range(window**2):
        row, column = divmod(index, window)
        top, left = reach - row // strides, reach - column // strides
        square = (slice(None), slice(top, top + rows), slice(left, left + columns))
        share = jnp.where(winner[square] == index, slope[square], 0)
        remainder = (row % strides, column % strides)
        found[remainder] = found[remainder] + share if remainder in found else share
    nothing = jnp.zeros((x.shape[0], rows, columns, x.shape[3]), slope.dtype)
    lines = [jnp.stack([found.get((i, j), nothing) for j in range(strides)], 3) for i in range(strides)]
    whole = jnp.stack(lines, 2).reshape(x.shape[0], rows * strides, columns * strides, x.shape[3])
    (top, _), (left, _) = sides
    return (whole[:, top : top + x.shape[1], left : left + x.shape[2]],)


_pool.defvjp(_forward, _backward)
