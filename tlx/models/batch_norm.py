"""Batch norm, written so that a training step passes over its input as rarely as can be."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


def is_variance(path: str) -> bool:
    """Say whether a leaf holds the stored variances of a batch norm, which are never negative.

    >>> is_variance("batch_stats/base/stem/conv_norm/var"), is_variance("params/base/var/kernel")
    (True, False)
    """
    return path.startswith("batch_stats/") and path.endswith("/var")


class BatchNorm(nn.BatchNorm):
    """Flax's batch norm: (B, ..., C) to the same shape, of its `dtype`, else of x's.

    In training the normalised input is `factor * x + offset`, a number each for a channel. Its gradients then need sums
    of the output's cotangent and of that times x, which a CPU takes without keeping an array; Flax's
    `(x - mean) * factor + bias` has two more arrays of x's size kept or passed over. With stored statistics it is
    Flax's own.

    `shift` (C,) is the bias of the convolution before it, added here: in training it moves the stored mean alone, and
    its own gradient is zero. `mask`, broadcastable to x, says what counts in the statistics. Those are of the rows of
    all devices along `axis_name`, where there is one, however many count on each. With `groups` each of so many equal
    groups of rows, one after the other, has its own (ghost batch norm: E. Hoffer et al., Train longer, generalize
    better, 2017); the average of those in which something counts is stored.
    """

    groups: int = 1

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
        if stored or self.axis != -1:
            shifted = x if shift is None else x + shift.astype(x.dtype)
            found: jax.Array = super().__call__(shifted, use_running_average, mask=mask)
            return found
        features = (x.shape[-1],)
        stored_mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        stored_var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        scale = self.param("scale", self.scale_init, features, self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, features, self.param_dtype) if self.use_bias else None

        def normalise(x: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
            mean, var = self._moments(x, mask)
            factor = lax.rsqrt(var + self.epsilon)
            if scale is not None:
                factor *= scale
            offset = -mean * factor
            if bias is not None:
                offset += bias
            return (x * factor + offset).astype(self.dtype or x.dtype), mean, var

        if self.groups == 1 or self.is_initializing():
            y, mean, var = normalise(x, mask)
        else:
            y, mean, var = self._in_groups(normalise, x, mask)
        if not self.is_initializing():
            came = mean if shift is None else mean + shift
            stored_mean.value = self.momentum * stored_mean.value + (1 - self.momentum) * came
            stored_var.value = self.momentum * stored_var.value + (1 - self.momentum) * var
        return y

    def _moments(self, x: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Return mean and variance, (C,), of what counts."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.axis_name is None or self.is_initializing():
            mean, square = (_mean(each, mask) for each in (wide, lax.square(wide)))
        else:
            over = tuple(range(x.ndim - 1))
            counted = jnp.ones(x.shape, bool) if mask is None else jnp.broadcast_to(_shaped(mask, x), x.shape)
            sums = [each.sum(over, where=counted) for each in (wide, lax.square(wide))]
            (total, squares), count = lax.psum((sums, counted.sum(over)), self.axis_name)
            mean, square = total / count, squares / count
        return mean, jnp.maximum(0, square - lax.square(mean))

    def _in_groups(
        self, normalise: Any, x: jax.Array, mask: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Normalise each group, and average the statistics of those that are not all padding."""

        def grouped(rows: jax.Array) -> jax.Array:
            return rows.reshape(self.groups, -1, *rows.shape[1:])

        if mask is None:
            y, means, vars_ = jax.vmap(normalise, (0, None))(grouped(x), None)
            return y.reshape(x.shape), means.mean(0), vars_.mean(0)
        mask = grouped(jnp.broadcast_to(_shaped(mask, x), (len(x), *_shaped(mask, x).shape[1:])))
        some = mask.any(range(1, mask.ndim), keepdims=True)
        y, means, vars_ = jax.vmap(normalise)(grouped(x), mask | ~some)  # what is all padding must be finite
        mean, var = (each.mean(0, where=some.reshape(-1, 1)) for each in (means, vars_))
        return y.reshape(x.shape), mean, var


def _shaped(mask: Any, x: jax.Array) -> jax.Array:
    """Give a mask as many axes as x."""
    mask = jnp.asarray(mask, bool)
    return mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)


def _mean(x: jax.Array, mask: Any) -> jax.Array:
    """Average over all axes but the last what counts: first over those along which the mask is the same."""
    over = tuple(range(x.ndim - 1))
    if mask is None:
        return x.mean(over)
    mask = _shaped(mask, x)
    alike = tuple(axis for axis in over if mask.shape[axis] == 1)
    return x.mean(alike, keepdims=True).mean(over, where=mask)
