"""A function of one's own as the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tlx.errors import ConfigError
from tlx.training.loss import Loss


@dataclass(frozen=True)
class LossFunction:
    """Train by `function(logits, labels)`, which returns the loss of each example.

    It takes logits (B, C) float32 and labels (B,) int32 and returns (B,), is traced by JAX, and must be differentiable.
    A batch's loss is the mean. Validation and test go on to measure the cross-entropy.

    >>> import optax
    >>> loss = LossFunction(optax.softmax_cross_entropy_with_integer_labels)
    >>> round(float(loss(jnp.zeros((4, 10)), jnp.arange(4))), 4)  # the logarithm of 10
    2.3026
    """

    function: Callable[[jax.Array, jax.Array], jax.Array]

    def check(self, classes: int) -> None:
        """Raise `ConfigError` where the function cannot take logits of so many classes, or does not return (B,)."""
        examples = classes + 1  # a number of its own, so that the axes cannot be taken for one another
        logits = jax.ShapeDtypeStruct((examples, classes), jnp.float32)
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        try:
            losses = jax.eval_shape(self.function, logits, jax.ShapeDtypeStruct((examples,), jnp.int32))
        except Exception as error:  # whatever it raises
            what = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise ConfigError(
                f"loss: {name} cannot take logits (B, {classes}) float32 and labels (B,) int32 ({what})"
            ) from error
        if getattr(losses, "shape", None) != (examples,):
            shape = getattr(losses, "shape", None)
            returned = type(losses).__name__ if shape is None else str(shape).replace(str(examples), "B")
            raise ConfigError(f"loss: {name} returns {returned}, expected the loss of each example, (B,)")

    def sums(self, logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Return the sum of the losses and their number (`Loss.sums`)."""
        losses = self.function(logits, labels)
        return losses.sum(where=mask), jnp.ones_like(losses).sum(where=mask)

    def __call__(self, logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the mean of the losses where `mask` is true."""
        return self.function(logits, labels).mean(where=mask)


def as_loss(loss: Any) -> Loss:
    """Return what a fit takes as its loss: a `Loss` or another object with its methods, a function, or None.

    >>> as_loss(None)
    Loss(label_smoothing=0.0, class_weights=())
    >>> as_loss(1.0)
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: loss: 1.0 is neither a tlx.Loss nor a function of logits and labels
    """
    if loss is None:
        return Loss()
    if isinstance(loss, type) or not callable(loss):
        raise ConfigError(f"loss: {loss!r:.80} is neither a tlx.Loss nor a function of logits and labels")
    made: Any = loss if hasattr(loss, "check") and hasattr(loss, "sums") else LossFunction(loss)
    found: Loss = made  # or what has its methods
    return found
