"""Multi-label classification: whether each of several labels applies to an example."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.data.source import Source
from tlx.errors import ConfigError, check_not_negative
from tlx.objectives.objective import Objective

METRICS = ("mean_average_precision", "f1_micro", "f1_macro", "exact_match")


@dataclass(frozen=True)
class MultiLabel(Objective):
    """Tell which of several labels apply, by the binary cross-entropy of each; targets are (B, C) booleans.

    Args:
        focal: the exponent gamma of the focal loss (T. Lin et al., 2017); 0 is the binary cross-entropy.
        thresholds: the probability from which on each label is said to apply; by default a half, until they are chosen
            on the validation examples, each for the greatest F1 of its label (`tuned`).

    Metrics are the mean average precision over labels, F1 over all decisions ("f1_micro") and as the mean of labels
    ("f1_macro"), and the share of examples all of whose labels are right ("exact_match").

    >>> terms = MultiLabel()(jnp.zeros((4, 3)), {"target": jnp.zeros((4, 3), bool)})
    >>> round(float(terms["loss"].mean()), 4)  # the logarithm of 2
    0.6931
    """

    focal: float = 0.0
    thresholds: tuple[float, ...] = ()

    higher_is_better: ClassVar[frozenset[str]] = frozenset(METRICS)
    target_kinds: ClassVar[tuple[str, ...] | None] = ("multi-label",)
    metrics: ClassVar[tuple[str, ...]] = METRICS

    def __post_init__(self) -> None:
        check_not_negative(self, focal=self.focal)
        object.__setattr__(self, "thresholds", tuple(map(float, self.thresholds)))

    def __call__(self, outputs: Any, batch: Mapping[str, Any], key: jax.Array | None = None) -> Mapping[str, Any]:
        """Return the terms `loss`, the mean of labels, and `exact_match` of logits (B, C)."""
        targets = batch["target"].astype(outputs.dtype)
        losses = optax.sigmoid_binary_cross_entropy(outputs, targets)
        if self.focal and key is not None:
            losses = (-jnp.expm1(-losses)) ** self.focal * losses
        said = jax.nn.sigmoid(outputs) >= jnp.asarray(self._cuts(outputs.shape[-1]), outputs.dtype)[None]
        return {"loss": losses.mean(-1), "exact_match": (said == (targets > 0.5)).all(-1)}

    def _cuts(self, count: int) -> tuple[float, ...]:
        return self.thresholds or (0.5,) * count

    def check(self, outputs: Any, source: Source) -> None:
        """Raise `ConfigError` where the outputs are not (B, C) for the source's C labels."""
        shape: tuple[int, ...] = getattr(outputs, "shape", ())
        if len(shape) != 2 or shape[1] != len(source.classes):
            raise ConfigError(
                f"the data have {len(source.classes)} labels, and the model's outputs are {shape}: give it a new head"
            )
        if len(self.thresholds) not in (0, shape[1]):
            raise ConfigError(f"{len(self.thresholds)} thresholds for {shape[1]} labels: give one a label, or none")

    def predict(self, outputs: Any) -> jax.Array:
        """Return the probability of each label, (B, C) float32."""
        return jax.nn.sigmoid(outputs)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which labels apply, (N, C) bool, by the thresholds."""
        cuts = np.asarray(self._cuts(probabilities.shape[-1]), probabilities.dtype)
        decided: np.ndarray = probabilities >= cuts[None]
        return decided

    def measure(self, predictions: Any, targets: Any) -> dict[str, float]:
        """Return `METRICS` of probabilities (N, C) and targets (N, C)."""
        targets = np.asarray(targets, bool)
        said = self.decide(predictions)
        hits, wrong, missed = (each.sum(0) for each in (said & targets, said & ~targets, ~said & targets))
        ranked = zip(predictions.T, targets.T, strict=True)
        precisions = [average_precision(score, truth) for score, truth in ranked if truth.any()]
        return {
            "mean_average_precision": float(np.mean(precisions)) if precisions else 0.0,
            "f1_micro": _f1(hits.sum(), wrong.sum(), missed.sum()),
            "f1_macro": float(np.mean([_f1(*counts) for counts in zip(hits, wrong, missed, strict=True)])),
            "exact_match": float((said == targets).all(1).mean()),
        }

    def tuned(self, predictions: Any, targets: Any) -> "MultiLabel":
        """Return the objective with the thresholds of greatest F1 on these examples, each label's for itself.

        A label that has no example here keeps a half.
        """
        targets = np.asarray(targets, bool)
        cuts = [best_threshold(score, truth) for score, truth in zip(predictions.T, targets.T, strict=True)]
        return replace(self, thresholds=tuple(cuts))


def _f1(hits: Any, wrong: Any, missed: Any) -> float:
    return float(2 * hits / (2 * hits + wrong + missed)) if hits else 0.0


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the average precision of scores (N,) for truth (N,) bool, some of it true.

    The sum over distinct scores of the gain in recall times the precision there (scikit-learn's
    `average_precision_score`).

    >>> round(average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True])), 4)
    0.8333
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last of equal scores
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the threshold from which on to say yes for the greatest F1; half way between two scores.

    >>> round(best_threshold(np.array([0.1, 0.4, 0.9]), np.array([False, True, True])), 3)
    0.25
    """
    if not truth.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    f1 = 2 * hits[ends] / (ends + 1 + hits[-1])
    last = ends[f1.argmax()]
    below = float(ranked[last + 1]) if last + 1 < len(ranked) else 0.0
    return (float(ranked[last]) + below) / 2
