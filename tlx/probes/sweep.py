"""A sweep of linear models: one for each draw of examples and each regularisation, chosen on validation examples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from tlx.data.splits import split_rows
from tlx.errors import ConfigError, DataError
from tlx.probes.problem import Examples, Problem
from tlx.progress import counted
from tlx.tree.paths import quote


class Draw(NamedTuple):
    """The rows that a model is fitted to: `shots` of each class by the order of a seed, `draw`, or all (None, None)."""

    shots: int | None
    draw: int | None
    rows: np.ndarray


@dataclass(frozen=True)
class ProbeFit:
    """How one fit went: to which draw, with which `l2`, and how it does on validation examples.

    `validation` and `test` hold metrics by name, "accuracy" of classes, and "loss", that which the method minimises,
    without regularisation. `test` stands where `l2` was chosen for the draw, and is None elsewhere; `validation` is
    None where there are no such examples. `examples` counts those it was fitted to.
    """

    shots: int | None
    draw: int | None
    examples: int
    l2: float
    validation: Mapping[str, float] | None
    test: Mapping[str, float] | None
    converged: bool
    iterations: int

    @property
    def validation_accuracy(self) -> float | None:
        """Of classes: the share of the validation examples that are right."""
        return None if self.validation is None else self.validation.get("accuracy")

    @property
    def validation_loss(self) -> float | None:
        return None if self.validation is None else self.validation["loss"]

    @property
    def test_accuracy(self) -> float | None:
        """Of classes: the share of the test examples that are right, where `l2` was chosen."""
        return None if self.test is None else self.test.get("accuracy")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data for JSON, the metrics as "validation_accuracy" and so on."""
        plain = asdict(self)
        return {
            name: value
            for key, each in plain.items()
            for name, value in (
                {f"{key}_{metric}": figure for metric, figure in (each or {}).items()}
                if key in ("validation", "test")
                else {key: each}
            ).items()
        }


class Swept(NamedTuple):
    """All fits, draw by draw in the order of the path, and the chosen model of the last draw: (D, K) and (K,)."""

    fits: tuple[ProbeFit, ...]
    kernel: np.ndarray
    bias: np.ndarray


def sweep(
    problem: Problem,
    train: Examples,
    validation: Examples | None,
    test: Examples,
    draws: Sequence[Draw],
    l2: Sequence[float],
) -> Swept:
    """Fit a path of linear models to each draw of the training examples, and choose of each on validation examples.

    The value of `l2` with the best metric (`Problem.metric`) is chosen, of several the one with the least loss, and
    then the largest; only the chosen model sees the test examples. Mean and scale are those of the draw. Raise
    `ConfigError` where there is a path to choose on and no validation examples.
    """
    if validation is None and len(l2) > 1:
        raise ConfigError("no validation examples to choose l2 on: keep a share for validation, or give one l2")
    held_out = {"test": jax.device_put(test), "validation": validation and jax.device_put(validation)}
    fits: list[ProbeFit] = []
    for draw in counted(draws, len(draws), "fitting linear heads"):
        whole = draw.shots is None  # then rows are taken as they lie, not copied
        features, targets = (each if whole else each[draw.rows] for each in train)
        path = problem.fit(features, targets, l2)
        scores: Sequence[Mapping[str, float] | None] = (None,) * len(l2)
        best = 0
        if held_out["validation"] is not None:
            known = problem.score(held_out["validation"], path.kernel, path.bias)
            best = max(range(len(l2)), key=lambda i: (*problem.rank(known[i]), l2[i]))
            scores = known
        chosen = path.kernel[best], path.bias[best]
        (tested,) = problem.score(held_out["test"], chosen[0][None], chosen[1][None])
        fits += [
            ProbeFit(
                shots=draw.shots,
                draw=draw.draw,
                examples=len(targets),
                l2=path.l2[index],
                validation=scores[index],
                test=tested if index == best else None,
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
    rows. Raise `DataError` for a class with fewer examples than shots.

    >>> [draw.rows.tolist() for draw in few_shot(np.array([0, 1, 1]), [b"a", b"b", b"c"], "pq", [1], 2)]
    [[0, 2], [0, 1], [0, 1, 2]]
    """
    if shots:
        counts = np.bincount(labels, minlength=len(classes))
        if counts.min() < max(shots):
            few = [classes[index] for index in np.flatnonzero(counts < max(shots)).tolist()]
            raise DataError(
                f"shots: {max(shots)} a class asked for, but the least of {quote(few, 10)} has {counts.min()} to train "
                "on: ask for fewer shots, give more examples, or keep less for validation and testing"
            )
    found = [
        Draw(each, draw, split_rows(labels, digests, seed=draw, validation=0.0, labels_per_class=each).train)
        for each in sorted(shots)
        for draw in range(draws)
    ]
    return [*found, Draw(None, None, np.arange(len(labels)))]
