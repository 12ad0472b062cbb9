"""What a linear head is solved for, by the kind of targets: how it is fitted, and how it is judged."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.data.source import TargetKind
from tlx.errors import ConfigError, check_choice
from tlx.objectives import Objective
from tlx.probes.lbfgs_path import LinearPath
from tlx.probes.logistic_regression import logistic_regression
from tlx.probes.ridge import ridge_classification, ridge_regression
from tlx.probes.softmax_regression import softmax_regression
from tlx.probes.standard import Scale, check_examples, check_features

Method = Literal["lbfgs", "ridge"]
METHODS: dict[str, tuple[Method, ...]] = {  # by the kind of targets, the default first
    "class": ("lbfgs", "ridge"),
    "multi-label": ("lbfgs", "ridge"),
    "regression": ("ridge",),
}
CHOSEN_BY = {"class": "accuracy", "multi-label": "mean_average_precision", "regression": "rmse"}
STEEPEST = 1e4  # factor between a head's logits and those that fit best

Scores = dict[str, float]


class Examples(NamedTuple):
    """Features (N, D) of any floating type, and targets: (N,) int of classes, (N, K) of labels or numbers."""

    features: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Fit and judge linear heads of `outputs` outputs for targets of a kind.

    Args:
        kind: "class", "multi-label" or "regression".
        outputs: K, the number of classes, labels or numbers.
        objective: with mean and deviation of the training targets, where these are numbers.
        method: "lbfgs" or "ridge"; None takes the kind's default.
        scale: what features are divided by.
        max_iterations: with "lbfgs", of one fit.

    Raises:
        ConfigError: for a method that does not go with the kind.
    """

    kind: TargetKind
    outputs: int
    objective: Objective
    method: Method
    scale: Scale = "common"
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, get_args(Scale))
        if self.method not in METHODS[self.kind]:
            check_choice("method", self.method, get_args(Method))
            raise ConfigError(
                f"method: {self.method!r} does not go with {self.kind} targets: take {' or '.join(METHODS[self.kind])}"
            )

    @property
    def metric(self) -> str:
        """What `l2` is chosen by."""
        return CHOSEN_BY[self.kind]

    def rank(self, scores: Mapping[str, float]) -> tuple[float, float]:
        """Return what is greater for better scores: the metric, and of equals the smaller loss."""
        better = self.metric in self.objective.higher_is_better
        return (scores[self.metric] if better else -scores[self.metric], -scores["loss"])

    def check(self, examples: Examples, name: str) -> None:
        """Raise `DataError` for features that are not finite, and for a label that is no class."""
        if self.kind == "class":
            check_examples(*examples, self.outputs, name)
        else:
            check_features(examples.features, name)

    def fit(self, features: np.ndarray, targets: np.ndarray, l2: Sequence[float]) -> LinearPath:
        """Fit a head for each value of `l2`; its outputs are logits, or standardised numbers."""
        common: dict[str, Any] = {"scale": self.scale}
        if self.method == "lbfgs":
            common["max_iterations"] = self.max_iterations
        if self.kind == "class":
            solve = softmax_regression if self.method == "lbfgs" else ridge_classification
            return solve(features, targets, self.outputs, l2, **common)
        if self.kind == "multi-label":
            if self.method == "lbfgs":
                return logistic_regression(features, targets, l2, **common)
            return ridge_regression(features, 2.0 * targets - 1.0, l2, **common)
        return ridge_regression(features, self._standardised(targets), l2, **common)

    def _standardised(self, targets: np.ndarray) -> np.ndarray:
        mean, std = (np.asarray(getattr(self.objective, name), np.float64)[None] for name in ("mean", "std"))
        scaled: np.ndarray = (targets - mean) / std
        return scaled

    def score(self, examples: Examples, kernels: np.ndarray, biases: np.ndarray) -> list[Scores]:
        """Return the metrics and the loss of heads (L, D, K) and (L, K).

        The loss is that which the method minimises, without regularisation.
        """
        squared = self.method == "ridge"
        if self.kind == "class":
            right, losses = jax.device_get(_evaluate(*examples, kernels, biases, squared))
            count = len(examples.targets)
            return [{"accuracy": int(n) / count, "loss": float(x)} for n, x in zip(right, losses, strict=True)]
        found = []
        for kernel, bias in zip(kernels, biases, strict=True):
            outputs = np.asarray(_outputs(examples.features, kernel, bias))
            predictions = np.asarray(self.objective.predict(outputs))
            loss = self._losses(outputs, np.asarray(examples.targets), squared).mean()
            found.append({**self.objective.measure(predictions, examples.targets), "loss": float(loss)})
        return found

    def _losses(self, outputs: np.ndarray, targets: np.ndarray, squared: bool) -> np.ndarray:
        if not squared:
            losses = optax.sigmoid_binary_cross_entropy(outputs, targets.astype(np.float32)).sum(-1)
        else:
            wanted = self._standardised(targets) if self.kind == "regression" else 2.0 * targets - 1.0
            losses = np.square(outputs - wanted).sum(-1) / 2
        return np.asarray(losses)

    def steepness(self, examples: Examples, kernel: np.ndarray, bias: np.ndarray) -> float:
        """Return the factor of the outputs with which their probabilities cost the least, at most `STEEPEST`.

        Numbers are no probabilities: their factor is 1. One example more is counted, which is of all classes alike:
        where all others are right, the probabilities would become certain (as J. Platt, Probabilistic outputs for
        support vector machines, 1999, smooths his targets).
        """
        if self.kind == "regression":
            return 1.0
        logits = np.asarray(_outputs(examples.features, kernel, bias), np.float64)
        targets, count = np.asarray(examples.targets), len(logits)
        if self.kind == "class":
            of_truth, of_all = logits[np.arange(count), targets].sum(), logits.mean()
            shares: Callable[[np.ndarray], np.ndarray] = _softmax
        else:  # each label is a choice of two
            of_truth, of_all = (logits * targets).sum(), logits.sum(-1).mean() / 2
            shares = _sigmoid
        wanted = (of_truth + of_all) / (count + 1)

        def excess(factor: float) -> float:
            return float((shares(factor * logits) * logits).sum(-1).mean()) - wanted

        low, high = 1 / STEEPEST, STEEPEST  # the excess rises with the factor
        for _ in range(60):
            middle = float(np.sqrt(low * high))
            low, high = (low, middle) if excess(middle) > 0 else (middle, high)
        return low


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -logits))


@jax.jit
def _outputs(features: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return jnp.dot(features.astype("float32"), kernel, precision="highest") + bias[None]


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
