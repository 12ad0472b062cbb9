"""Pools: XLA's own or, for a CPU, comparisons and sums of a map's slices."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tlx.models._lowerings.choice import for_cpu
from tlx.models._lowerings.windows import Sides, at_offsets, padded, sides_of


def avg_pool_3x3(x: jax.Array, *, count_padding: bool) -> jax.Array:
    """Average the 3x3 square around each pixel of (B, H, W, C), padded with zeros that count or not.

    They count in PyTorch's default, and not in Keras. The same as `nn.avg_pool` to rounding, whose sums
    (`reduce_window`) and their gradient are slower on a CPU. There, unless under `lowerings("plain")`, only
    reverse-mode differentiation is to be had.

    >>> avg_pool_3x3(jnp.ones((1, 2, 2, 1)), count_padding=False)[0, :, :, 0].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    if for_cpu():
        return _average(x, count_padding=count_padding)
    plain: jax.Array = nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=count_padding)
    return plain


@functools.partial(jax.jit, static_argnames="count_padding")
def _average(x: jax.Array, count_padding: bool) -> jax.Array:
    total = _sum_3x3(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    # Of the square around a pixel at the border one row, or column, is padding; of a map of one pixel two.
    down, across = (3.0 - (np.arange(n) == 0) - (np.arange(n) == n - 1) for n in x.shape[1:3])
    share = 1 / (down[:, None, None] * across[:, None])
    return (total * (1 / 9 if count_padding else share)).astype(x.dtype)


@jax.custom_vjp
def _sum_3x3(x: jax.Array) -> jax.Array:
    x = padded(x, ((1, 1), (1, 1)))
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]


# Its own transpose: pixel p is in the square of pixel q where q is in the square of p.
_sum_3x3.defvjp(lambda x: (_sum_3x3(x), None), lambda _, cotangent: (_sum_3x3(cotangent),))


def max_pool(x: jax.Array, window: int, strides: int, padding: str | Sequence[tuple[int, int]] = "VALID") -> jax.Array:
    """Take the maximum of each square of `window` pixels, every `strides` pixels, of (B, H, W, C).

    The same values and gradient as `nn.max_pool`, whose gradient (`select_and_scatter`) is several times slower on a
    CPU: of equal maxima the first has it. Padding counts as minus infinity. On a CPU, unless under
    `lowerings("plain")`, there is reverse-mode differentiation only, and once.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2, 2)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    sides = sides_of(x, (window, window), (strides, strides), padding)
    if for_cpu():
        return _pool(x, window, strides, sides)
    plain: jax.Array = nn.max_pool(x, (window, window), (strides, strides), sides)
    return plain


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _pool(x: jax.Array, window: int, strides: int, sides: Sides) -> jax.Array:
    return _maximum(x, window, strides, sides)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _maximum(x: jax.Array, window: int, strides: int, sides: Sides) -> jax.Array:
    """Compare slices: XLA's pool is a reduction, with which YNNPACK also takes the convolution before it."""
    return functools.reduce(jnp.maximum, at_offsets(padded(x, sides, -jnp.inf), (window, window), (strides, strides)))


def _forward(x: jax.Array, window: int, strides: int, sides: Sides) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    largest = _maximum(x, window, strides, sides)
    return largest, (x, largest)


def _backward(
    window: int, strides: int, sides: Sides, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array]:
    """Give the cotangent of each maximum to the first pixel of its window that equals it.

    Nothing is scattered, which is slow on a CPU: each pixel gathers from the windows that cover it. Along one axis,
    with stride s, offset k of window i is pixel p = i s + k. So p is covered by those windows i = p // s - k // s for
    which k has p's remainder by s: pixels of one remainder look at the same offsets, each at the window with its own
    quotient less k // s. The cotangents of each pair of remainders (down, across) are thus a sum of shifted maps, and
    the maps of all pairs, interleaved, are that of the padded input.
    """
    x, largest = residuals
    extended = padded(x, sides, -jnp.inf)
    rows, columns = (-(-length // strides) for length in extended.shape[1:3])  # quotients p // s that occur
    # The number of the offset that has the maximum of each window: from the last to the first, which so has the last
    # word. `window**2` where none equals it (NaN), and -1 where there is no window.
    number = jnp.int8 if window**2 < 128 else jnp.int32
    winner = jnp.full(largest.shape, window**2, number)
    parts = list(enumerate(at_offsets(extended, (window, window), (strides, strides))))
    for index, part in reversed(parts):
        winner = jnp.where(part == largest, number(index), winner)
    # Window i lies at i + reach from here on, so that q - k // s + reach is never negative, and all quotients q have a
    # window, real or not.
    reach = (window - 1) // strides
    around = ((0, 0), (reach, rows - largest.shape[1]), (reach, columns - largest.shape[2]), (0, 0))
    winner, cotangent = jnp.pad(winner, around, constant_values=-1), jnp.pad(cotangent, around)
    of_remainders: dict[tuple[int, int], jax.Array] = {}
    for index in range(window**2):
        row, column = divmod(index, window)
        top, left = reach - row // strides, reach - column // strides
        seen = (slice(None), slice(top, top + rows), slice(left, left + columns))
        share = jnp.where(winner[seen] == index, cotangent[seen], 0)
        remainders = (row % strides, column % strides)
        of_remainders[remainders] = of_remainders[remainders] + share if remainders in of_remainders else share
    zeros = jnp.zeros((x.shape[0], rows, columns, x.shape[3]), cotangent.dtype)  # strides wider than the window
    lines = [jnp.stack([of_remainders.get((i, j), zeros) for j in range(strides)], 3) for i in range(strides)]
    # (B, rows, remainder down, columns, remainder across, C): quotient and remainder side by side are the pixel.
    whole = jnp.stack(lines, 2).reshape(x.shape[0], rows * strides, columns * strides, x.shape[3])
    (top, _), (left, _) = sides
    return (whole[:, top : top + x.shape[1], left : left + x.shape[2]],)


_maximum.defvjp(_forward, _backward)
