"""Classification: cross-entropy with label smoothing, class weights, focal weights and soft labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.data.source import Source, labels_of, target_kind
from tlx.errors import ConfigError, DataError, check_fraction, check_not_negative, check_positive
from tlx.objectives.objective import Objective
from tlx.tree.paths import quote

BALANCED = "balanced"


@dataclass(frozen=True)
class Classification(Objective):
    """Tell which one of several classes an example is of; targets are classes' numbers or probabilities ("soft").

    A batch's loss is the weighted mean: the sum of weight * loss over the sum of weights. Evaluation measures the plain
    cross-entropy, in nats, whatever is trained by.

    Args:
        label_smoothing: mixes the true class with the uniform distribution over all classes (C. Szegedy et al.,
            Rethinking the Inception Architecture, 2016); from 0 to under 1.
        class_weights: one positive number a class; or "balanced", by the inverse of each class's frequency in training
            (`balanced_weights`).
        focal: the exponent gamma of the focal loss, by which an example counts (1 - p) ** gamma, p being the
            probability of its class (T. Lin et al., Focal Loss for Dense Object Detection, 2017); 0 is the
            cross-entropy.
        loss: a function of logits (B, C) float32 and labels (B,) int32 that returns losses (B,), to train by in the
            place of the cross-entropy; optax's serve.

    >>> terms = Classification()(jnp.zeros((4, 10)), {"target": jnp.arange(4)})
    >>> round(float(terms["loss"].mean()), 4)  # the logarithm of 10
    2.3026
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | Literal["balanced"] = ()
    focal: float = 0.0
    loss: Callable[[jax.Array, jax.Array], jax.Array] | None = None

    higher_is_better: ClassVar[frozenset[str]] = frozenset({"accuracy"})
    target_kinds: ClassVar[tuple[str, ...] | None] = ("class", "soft")

    def __post_init__(self) -> None:
        check_fraction(self, label_smoothing=self.label_smoothing)
        check_not_negative(self, focal=self.focal)
        if self.class_weights != BALANCED:
            if isinstance(self.class_weights, str):
                raise ConfigError(f"class_weights: {self.class_weights!r} is not a tuple of numbers, nor {BALANCED!r}")
            object.__setattr__(self, "class_weights", tuple(self.class_weights))
            for index, weight in enumerate(self.class_weights):
                check_positive(self, **{f"class_weights[{index}]": weight})
        if self.loss is not None:
            if isinstance(self.loss, type) or not callable(self.loss):
                raise ConfigError(f"loss: {self.loss!r:.80} is no function of logits and labels")
            if self.label_smoothing or self.focal:
                raise ConfigError("loss: a function of your own goes without label_smoothing and focal")

    def __call__(self, outputs: Any, batch: Mapping[str, Any], key: jax.Array | None = None) -> Mapping[str, Any]:
        """Return the terms `loss` and `accuracy` of logits (B, C)."""
        targets = batch["target"]
        labels = targets if targets.ndim == 1 else targets.argmax(-1)
        correct = outputs.argmax(-1) == labels
        if key is None:
            return {"loss": cross_entropy(outputs, targets), "accuracy": correct}
        losses = self._losses(outputs, targets)
        if not self.class_weights:
            return {"loss": losses, "accuracy": correct}
        weights = jnp.asarray(self.class_weights, outputs.dtype)[labels]
        return {"loss": (weights * losses, weights), "accuracy": correct}

    def _losses(self, logits: jax.Array, targets: jax.Array) -> jax.Array:
        if self.loss is not None:
            return self.loss(logits, targets)
        losses = cross_entropy(logits, targets, self.label_smoothing)
        if not self.focal:
            return losses
        plain = cross_entropy(logits, targets) if self.label_smoothing else losses
        # The gradient is that of the whole product, as published; -expm1(-x) is 1 - exp(-x) without cancellation.
        return (-jnp.expm1(-plain)) ** self.focal * losses

    def check(self, outputs: Any, source: Source) -> None:
        """Raise `ConfigError` for outputs other than (B, C), more classes than these, and unfit weights or losses."""
        if len(getattr(outputs, "shape", ())) != 2:
            raise ConfigError(f"the model's outputs are {outputs}, expected logits (B, classes): give it another head")
        count = outputs.shape[-1]
        if len(source.classes) > count:
            raise ConfigError(f"the data have {len(source.classes)} classes and the model {count}: give it a new head")
        if target_kind(source) == "soft" and len(source.classes) != count:
            raise ConfigError(f"soft labels of {len(source.classes)} classes, and the model has {count}: give as many")
        if self.class_weights != BALANCED and self.class_weights and len(self.class_weights) != count:
            raise ConfigError(
                f"{len(self.class_weights)} class weights for {count} classes: give one a class, in order"
            )
        if self.loss is not None:
            check_loss(self.loss, count)

    def fitted(self, source: Source) -> "Classification":
        """Return the objective with the weights that "balanced" stands for."""
        if self.class_weights != BALANCED:
            return self
        return replace(self, class_weights=balanced_weights(source))

    def predict(self, outputs: Any) -> jax.Array:
        """Return the probability of each class, (B, C) float32."""
        return jax.nn.softmax(outputs)


def check_loss(function: Callable[..., Any], classes: int) -> None:
    """Raise `ConfigError` where a function cannot take logits of so many classes, or does not return (B,)."""
    examples = classes + 1  # a number of its own, so that the axes cannot be taken for one another
    logits = jax.ShapeDtypeStruct((examples, classes), jnp.float32)
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        losses = jax.eval_shape(function, logits, jax.ShapeDtypeStruct((examples,), jnp.int32))
    except Exception as error:  # whatever it raises
        what = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise ConfigError(
            f"loss: {name} cannot take logits (B, {classes}) float32 and labels (B,) int32 ({what})"
        ) from error
    if getattr(losses, "shape", None) != (examples,):
        shape = getattr(losses, "shape", None)
        returned = type(losses).__name__ if shape is None else str(shape).replace(str(examples), "B")
        raise ConfigError(f"loss: {name} returns {returned}, expected the loss of each example, (B,)")


def balanced_weights(source: Source) -> tuple[float, ...]:
    """Return class weights by the inverse of frequency, N / (C * count), so that every class weighs the same in all.

    Raise `DataError` for a class without an example. (scikit-learn's `class_weight="balanced"`.)

    >>> from tlx.data import ArraySource
    >>> balanced_weights(ArraySource(np.zeros((4, 8, 8), np.uint8), [0, 0, 0, 1]))
    (0.6666666666666666, 2.0)
    """
    counts = np.bincount(labels_of(source), minlength=len(source.classes))
    absent = [name for name, count in zip(source.classes, counts, strict=True) if not count]
    if absent:
        raise DataError(f"no training example of {quote(absent)}: balanced class weights need one of each class")
    return tuple(float(len(source) / (len(counts) * count)) for count in counts)


def cross_entropy(logits: jax.Array, targets: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Return the cross-entropy (B,), in nats, of logits (B, C) and labels (B,), or probabilities (B, C)."""
    if targets.ndim == 1 and not label_smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    if targets.ndim == 1:
        targets = jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))
