"""A sweep of linear models: one for each draw of examples and each regularisation, chosen on validation examples."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.data.splits import split_rows
from tlx.errors import ConfigError, DataError, check_choice
from tlx.probes.ridge import ridge_regression
from tlx.probes.softmax_regression import LinearPath, softmax_regression
from tlx.probes.standard import Scale
from tlx.progress import counted
from tlx.tree.paths import quote

Method = Literal["lbfgs", "ridge"]


class Examples(NamedTuple):
    """Features (N, D) of any floating type, and labels (N,) int."""

    features: np.ndarray
    labels: np.ndarray


class Draw(NamedTuple):
    """The rows that a model is fitted to: `shots` of each class by the order of a seed, `draw`, or all (None, None)."""

    shots: int | None
    draw: int | None
    rows: np.ndarray


@dataclass(frozen=True)
class ProbeFit:
    """How one fit went: to which draw, with which `l2`, and how it does on validation examples.

    The loss is that which the method minimises, without regularisation. `test_accuracy` stands where `l2` was chosen
    for the draw, and is None elsewhere; so are the figures of validation where there are no such examples. `examples`
    counts those it was fitted to.
    """

    shots: int | None
    draw: int | None
    examples: int
    l2: float
    validation_accuracy: float | None
    validation_loss: float | None
    test_accuracy: float | None
    converged: bool
    iterations: int


class Swept(NamedTuple):
    """All fits, draw by draw in the order of the path, and the chosen model of the last draw: (D, C) and (C,)."""

    fits: tuple[ProbeFit, ...]
    kernel: np.ndarray
    bias: np.ndarray


def sweep(
    train: Examples,
    validation: Examples | None,
    test: Examples,
    draws: Sequence[Draw],
    classes: int,
    l2: Sequence[float],
    *,
    method: Method = "lbfgs",
    scale: Scale = "common",
    max_iterations: int = 1000,
) -> Swept:
    """Fit a path of linear models to each draw of the training examples, and choose of each on validation examples.

    The value of `l2` with the best accuracy is chosen, of several the one with the least loss, and then the largest;
    only the chosen model sees the test examples. Mean and scale are those of the draw. Raise `ConfigError` where
    there is a path to choose on and no validation examples.
    """
    if validation is None and len(l2) > 1:
        raise ConfigError("no validation examples to choose l2 on: keep a share for validation, or give one l2")
    check_choice("method", method, get_args(Method))
    fit: Callable[..., LinearPath] = ridge_regression
    if method == "lbfgs":
        fit = functools.partial(softmax_regression, max_iterations=max_iterations)
    squared = method == "ridge"
    held_out = {"test": jax.device_put(test), "validation": validation and jax.device_put(validation)}
    fits: list[ProbeFit] = []
    for draw in counted(draws, len(draws), "fitting linear heads"):
        whole = draw.shots is None  # then rows are taken as they lie, not copied
        features, labels = (each if whole else each[draw.rows] for each in train)
        path = fit(features, labels, classes, l2, scale=scale)
        accuracies, losses = _scores(held_out["validation"], path.kernel, path.bias, squared)
        best = max(range(len(l2)), key=lambda i: (accuracies[i] or 0.0, -(losses[i] or 0.0), l2[i]))
        chosen = path.kernel[best], path.bias[best]
        (tested,), _ = _scores(held_out["test"], chosen[0][None], chosen[1][None], squared)
        fits += [
            ProbeFit(
                shots=draw.shots,
                draw=draw.draw,
                examples=len(labels),
                l2=path.l2[index],
                validation_accuracy=accuracies[index],
                validation_loss=losses[index],
                test_accuracy=tested if index == best else None,
                converged=bool(path.converged[index]),
                iterations=int(path.iterations[index]),
            )
            for index in range(len(l2))
        ]
    return Swept(tuple(fits), *chosen)


def few_shot(
    labels: np.ndarray, digests: Sequence[bytes], classes: Sequence[str], shots: Sequence[int], draws: int
) -> list[Draw]:
    """Draw `shots` examples of each class, `draws` times for each number, and last take all.

    Draw i holds the examples that come first by SHA-256(i, digest), those that `tlx.load_data` with seed i and
    `labels_per_class` would take of them: fewer shots are always among more, and neither depends on the order of the
    rows. Raise `DataError` for a class with fewer examples than shots, `ConfigError` for bad numbers.

    >>> [draw.rows.tolist() for draw in few_shot(np.array([0, 1, 1]), [b"a", b"b", b"c"], "pq", [1], 2)]
    [[0, 2], [0, 1], [0, 1, 2]]
    """
    if any(isinstance(each, bool) or not isinstance(each, int) or each < 1 for each in (*shots, draws)):
        raise ConfigError(f"shots={tuple(shots)} and draws={draws}: give integers of 1 or more")
    if len(set(shots)) < len(shots):
        raise ConfigError(f"shots: {tuple(shots)} holds a number twice: give different ones")
    counts = np.bincount(labels, minlength=len(classes))
    if shots and counts.min() < max(shots):
        few = [classes[index] for index in np.flatnonzero(counts < max(shots)).tolist()]
        raise DataError(
            f"shots: {max(shots)} a class asked for, but the least of {quote(few, 10)} has {counts.min()} to train on: "
            "ask for fewer shots, give more examples, or keep less for validation and testing"
        )
    found = [
        Draw(each, draw, split_rows(labels, digests, seed=draw, validation=0.0, labels_per_class=each).train)
        for each in sorted(shots)
        for draw in range(draws)
    ]
    return [*found, Draw(None, None, np.arange(len(labels)))]


def _scores(
    examples: Examples | None, kernel: np.ndarray, bias: np.ndarray, squared: bool
) -> tuple[list[float | None], list[float | None]]:
    """Return accuracies and losses of models (L, D, C) and (L, C); None for each without examples."""
    if examples is None:
        return [None] * len(kernel), [None] * len(kernel)
    right, losses = jax.device_get(_evaluate(*examples, kernel, bias, squared))
    return [int(count) / len(examples.labels) for count in right], [float(loss) for loss in losses]


@functools.partial(jax.jit, static_argnums=4)
def _evaluate(
    features: jax.Array, labels: jax.Array, kernels: jax.Array, biases: jax.Array, squared: bool
) -> tuple[jax.Array, jax.Array]:
    """Count the right answers of each model, one after the other, and take its mean loss."""

    def of_model(model: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        kernel, bias = model
        logits = jnp.dot(features.astype("float32"), kernel, precision="highest") + bias[None]
        if squared:
            losses = jnp.square(logits - (2 * jax.nn.one_hot(labels, logits.shape[-1]) - 1)).sum(-1) / 2
        else:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return (logits.argmax(-1) == labels).sum(), losses.mean()

    counts, losses = jax.lax.map(of_model, (kernels, biases))
    return counts, losses
