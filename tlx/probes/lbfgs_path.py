"""Linear models of a convex loss by L-BFGS, over a path of regularisation."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.errors import ConfigError
from tlx.probes.standard import Scale, Standard

Losses = Callable[[jax.Array, jax.Array], jax.Array]

MEMORY = 30  # pairs of steps and changes of the gradient that L-BFGS remembers; with 10 it took twice the evaluations
HALVINGS = 20  # of a step, before float32 is taken to allow no better one
DECREASE, FLAT = 1e-4, 1e-6


@dataclass(frozen=True)
class LinearPath:
    """Linear models for L values of `l2`, in the order given: logits are `features @ kernel[i] + bias[i]`.

    `kernel` is (L, D, C) and `bias` (L, C), float32. `converged` (L,) bool tells which were solved to the tolerance,
    and `iterations` (L,) int32 after how many evaluations of the gradient.
    """

    l2: tuple[float, ...]
    kernel: np.ndarray
    bias: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray


def lbfgs_path(
    features: np.ndarray,
    targets: np.ndarray,
    outputs: int,
    l2: Sequence[float],
    losses: Losses,
    *,
    scale: Scale = "common",
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
) -> LinearPath:
    """Minimise the mean of a convex loss plus l2 / 2 times the sum of the kernel's squares, for each value of `l2`.

    The bias is not regularised. The features are first centred and divided by their `scale` (`Standard`), which counts
    in the sum of squares, and the result is folded back.

    A model has converged where the objective is within `tolerance` of its least value, relative to it and to what was
    gained over no model at all, as far as the gradient tells: it is less than ||gradient||^2 / (2 * l2) above it, by
    strong convexity in the kernel (for the bias, whose curvature has no such bound, with 1 / (4 K) for l2 where that is
    less). It is given up after `max_iterations` gradients, or where float32 shows no descent, as happens with an `l2`
    near 1e-6.

    The path is one program: it goes from the largest value to the smallest, each model beginning at the last one's.
    Fewer examples than features are first turned to their principal axes, where the kernel's squares sum to the same
    and as many coordinates as there are examples hold the solution. Shapes are padded, so that fits to about as many
    examples share a program. (D. Liu and J. Nocedal, On the limited memory BFGS method for large scale optimization,
    1989.)

    Args:
        features: (N, D) of any floating type, checked already.
        targets: (N,) or (N, K), what `losses` takes.
        outputs: K, the number of outputs.
        l2: the path, checked already.
        losses: a function of outputs (N, K) and targets that returns the losses (N,); a module's own, so that fits
            share programs.
        scale: what features are divided by.
        tolerance: of the objective, relative.
        max_iterations: gradients of one fit.

    Raises:
        ConfigError: for a bad tolerance or number of iterations.
    """
    if not (np.isfinite(tolerance) and tolerance > 0 and max_iterations > 0):
        raise ConfigError(f"tolerance={tolerance} and max_iterations={max_iterations} must be above 0")
    standard = Standard.of(features, scale)
    count, width = features.shape
    rows = _padded(count)
    axes = None
    if count < width:
        inputs = np.zeros((rows, rows), np.float32)
        inputs[:count, :count], axes = _principal(features, standard)
    else:
        inputs = np.zeros((rows, width), np.float32)
        for part, block in standard.rows(features):
            inputs[part] = block
    padded = np.zeros((rows, *targets.shape[1:]), targets.dtype)
    padded[:count] = targets
    order = np.argsort(-np.array(l2))
    path = np.array(l2, np.float32)[order]
    limits = np.float32(tolerance), np.int32(max_iterations)
    solved = _solve(inputs, padded, np.arange(rows) < count, path, *limits, outputs, losses)
    back = np.argsort(order)
    kernel, bias, converged, iterations = (np.asarray(leaf)[back] for leaf in jax.device_get(solved))
    if axes is not None:
        kernel = _unturned(kernel[:, :count], axes, features, standard)
    return LinearPath(tuple(l2), *standard.fold(kernel, bias), converged, iterations)


def _padded(count: int) -> int:
    """Return the number of rows that a program for so many examples has.

    >>> [_padded(count) for count in (5, 65, 256, 600)]
    [64, 128, 256, 768]
    """
    return -(-count // 256) * 256 if count > 256 else max(64, 1 << (count - 1).bit_length())


def _principal(features: np.ndarray, standard: Standard) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (N, N) of N examples on their principal axes, and (N, N) that makes these of the examples."""
    gram = sum(block @ block.T for _, block in standard.columns(features))
    squares, turn = np.linalg.eigh(gram)
    real = squares > np.finfo(np.float64).eps * len(gram) * squares[-1]
    lengths = np.sqrt(np.where(real, squares, 0.0))
    return turn * lengths[None], turn * np.where(real, 1 / np.where(real, lengths, 1.0), 0.0)[None]


def _unturned(kernel: np.ndarray, axes: np.ndarray, features: np.ndarray, standard: Standard) -> np.ndarray:
    """Turn kernels (L, N, C) for coordinates on principal axes into kernels (L, D, C) for standardised features."""
    of_examples = np.einsum("nm,lmc->nlc", axes, kernel.astype(np.float64)).reshape(len(axes), -1)
    found = np.empty((len(kernel), features.shape[1], kernel.shape[2]), np.float32)
    for part, block in standard.columns(features):
        found[:, part] = (block.T @ of_examples).reshape(block.shape[1], len(kernel), -1).transpose(1, 0, 2)
    return found


class _Weights(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


class _Search(NamedTuple):
    """Where the search stands, which way it goes and how far, and what it has taken."""

    weights: _Weights
    loss: jax.Array
    gradient: _Weights
    direction: _Weights
    memory: optax.OptState
    step: jax.Array
    evaluations: jax.Array
    halvings: jax.Array


@functools.partial(jax.jit, static_argnums=(6, 7))
def _solve(
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    path: jax.Array,
    tolerance: jax.Array,
    limit: jax.Array,
    outputs: int,
    losses: Losses,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Solve along a descending path; return kernels, biases, whether each converged, and evaluations."""

    def loss(weights: _Weights, l2: jax.Array) -> jax.Array:
        logits = jnp.dot(inputs, weights.kernel, precision="highest") + weights.bias[None]
        return losses(logits, targets).mean(where=mask) + l2 / 2 * jnp.square(weights.kernel).sum()

    def solve(start: _Weights, l2: jax.Array) -> tuple[_Weights, tuple[jax.Array, ...]]:
        def reached(search: _Search) -> jax.Array:
            kernel, bias = (jnp.square(leaf).sum() for leaf in search.gradient)
            gap = kernel / (2 * l2) + bias / (2 * jnp.minimum(l2, 1 / (4 * outputs)))
            return gap <= tolerance * jnp.minimum(search.loss, at_zero - search.loss)

        found = _minimise(functools.partial(loss, l2=l2), start, reached, limit)
        return found.weights, (*found.weights, reached(found), found.evaluations)

    zero = _Weights(jnp.zeros((inputs.shape[1], outputs)), jnp.zeros(outputs))
    at_zero = loss(zero, path[0])
    kernels, biases, converged, evaluations = jax.lax.scan(solve, zero, path)[1]
    return kernels, biases, converged, evaluations


def _minimise(
    loss: Callable[[_Weights], jax.Array], start: _Weights, reached: Callable[[_Search], jax.Array], limit: jax.Array
) -> _Search:
    """Minimise a convex function by L-BFGS; one turn of the loop evaluates it once.

    A step is first tried whole, then halved, until the loss falls as Armijo asks, or, within what float32 can tell, the
    slope does (W. Hager and H. Zhang, 2005). The function being convex, any such step keeps L-BFGS's matrix positive;
    it needs no other search, and this one took as few evaluations as optax's zoom.
    """
    lbfgs, evaluate = optax.scale_by_lbfgs(MEMORY), jax.value_and_grad(loss)

    def turn(search: _Search) -> _Search:
        weights = jax.tree.map(lambda at, way: at - search.step * way, search.weights, search.direction)
        value, gradient = evaluate(weights)
        slope = optax.tree.vdot(search.gradient, search.direction)
        falls = value <= search.loss - DECREASE * search.step * slope
        flat = value <= search.loss + FLAT * jnp.abs(search.loss)
        flattens = optax.tree.vdot(gradient, search.direction) >= (2 * DECREASE - 1) * slope
        evaluations = search.evaluations + 1

        def go_on() -> _Search:
            direction, memory = lbfgs.update(gradient, search.memory, weights)
            return _Search(weights, value, gradient, direction, memory, jnp.float32(1), evaluations, jnp.int32(0))

        def halve() -> _Search:
            return search._replace(step=search.step / 2, evaluations=evaluations, halvings=search.halvings + 1)

        return jax.lax.cond(falls | (flat & flattens), go_on, halve)

    def unfinished(search: _Search) -> jax.Array:
        searching = (search.evaluations < limit) & (search.halvings < HALVINGS)
        return ~reached(search) & searching

    value, gradient = evaluate(start)
    direction, memory = lbfgs.update(gradient, lbfgs.init(start), start)
    first = _Search(start, value, gradient, direction, memory, jnp.float32(1), jnp.int32(1), jnp.int32(0))
    return jax.lax.while_loop(unfinished, turn, first)
