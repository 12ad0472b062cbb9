"""The loss: sparse cross-entropy with label smoothing and class weights."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.data.source import Source, labels_of
from tlx.errors import ConfigError, DataError
from tlx.optim.schedules import check_fraction, check_positive
from tlx.tree.paths import quote


@dataclass(frozen=True)
class Loss:
    """Choose label smoothing (0 to under 1) and class weights (one positive number a class, or none).

    Smoothing mixes the true class with the uniform distribution over all classes (C. Szegedy et al., Rethinking the
    Inception Architecture, 2016). A batch's loss is the weighted mean: sum of weight * loss over the sum of weights.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_fraction(self, label_smoothing=self.label_smoothing)
        object.__setattr__(self, "class_weights", tuple(self.class_weights))
        for index, weight in enumerate(self.class_weights):
            check_positive(self, **{f"class_weights[{index}]": weight})

    def check(self, classes: int) -> None:
        """Raise `ConfigError` where the class weights are not one for each of `classes` classes."""
        if self.class_weights and len(self.class_weights) != classes:
            raise ConfigError(
                f"{len(self.class_weights)} class weights for {classes} classes: give one a class, in order"
            )

    def sums(self, logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Return the sum of weight * loss and the sum of weights; the quotient of several batches' is that of all.

        >>> total, weight = Loss(class_weights=(1.0, 3.0)).sums(jnp.zeros((2, 4)), jnp.arange(2))
        >>> round(float(total / weight), 4), float(weight)  # the logarithm of 4
        (1.3863, 4.0)
        """
        losses = cross_entropy(logits, labels, self.label_smoothing)
        weights = jnp.asarray(self.class_weights, logits.dtype)[labels] if self.class_weights else jnp.ones_like(losses)
        return (weights * losses).sum(where=mask), weights.sum(where=mask)

    def __call__(self, logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the loss, a scalar, of logits (B, C) and labels (B,) int; rows where `mask` is false do not count.

        >>> round(float(Loss()(jnp.zeros((4, 10)), jnp.arange(4))), 4)  # the logarithm of 10
        2.3026
        """
        losses = cross_entropy(logits, labels, self.label_smoothing)
        if not self.class_weights:
            return losses.mean(where=mask)
        weights = jnp.asarray(self.class_weights, logits.dtype)[labels]
        return (weights * losses).sum(where=mask) / weights.sum(where=mask)


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


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Return the cross-entropy (B,) of each example's logits (B, C) and label (B,), in nats."""
    if not label_smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)
