"""Batch norm, written so that a training step passes over its input as rarely as can be."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


class BatchNorm(nn.BatchNorm):
    """Flax's batch norm: (B, ..., C) to the same shape, of its `dtype`, else of x's.

    In training the normalised input is `factor * x + offset`, a number each for a channel. Its slopes then need sums of
    the output's slope and of that times x, which a CPU takes without keeping an array; Flax's `(x - mean) * factor +
    bias` has two more arrays of x's size kept or passed over. With stored statistics it is Flax's own.

    `shift` (C,) is the bias of the convolution before it, added here: in training it moves the stored mean alone, and
    its own slope is zero. `mask`, broadcastable to x, says what counts in the statistics.
    """

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        use_running_average: bool | None = None,
        *,
        mask: jax.Array | None = None,
        shift: jax.Array | None = None,
    ) -> jax.Array:
        stored = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        if stored or self.axis != -1 or self.axis_name is not None:
            shifted = x if shift is None else x + shift.astype(x.dtype)
            found: jax.Array = super().__call__(shifted, use_running_average, mask=mask)
            return found
        features, least = (x.shape[-1],), jnp.promote_types(x.dtype, jnp.float32)
        stored_mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        stored_var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        mean, square = (_mean(each, mask) for each in (x.astype(least), lax.square(x.astype(least))))
        var = jnp.maximum(0, square - lax.square(mean))
        if not self.is_initializing():
            came = mean if shift is None else mean + shift
            stored_mean.value = self.momentum * stored_mean.value + (1 - self.momentum) * came
            stored_var.value = self.momentum * stored_var.value + (1 - self.momentum) * var
        factor = lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            factor *= self.param("scale", self.scale_init, features, self.param_dtype)
        offset = -mean * factor
        if self.use_bias:
            offset += self.param("bias", self.bias_init, features, self.param_dtype)
        return (x * factor + offset).astype(self.dtype or x.dtype)


def _mean(x: jax.Array, mask: Any) -> jax.Array:
    """Average over all axes but the last what counts: first over those along which the mask is the same."""
    over = tuple(range(x.ndim - 1))
    if mask is None:
        return x.mean(over)
    mask = jnp.asarray(mask, bool)
    mask = mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)
    alike = tuple(axis for axis in over if mask.shape[axis] == 1)
    return x.mean(alike, keepdims=True).mean(over, where=mask)
