"""Layers that families share: convolutions with their batch norms, and pools padded as each source pads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.models._lowerings.convolution import convolve
from tlx.models._lowerings.pooling import max_pool
from tlx.models.batch_norm import BatchNorm

Padding = str | int | Sequence[tuple[int, int]]  # 'SAME' as TensorFlow pads, 'VALID', or so many on every side
DType = Any


@dataclass(frozen=True)
class Norm:
    """What a source's batch norms have in common: epsilon, the share of the average kept a step, whether they scale.

    Keras's momentum is the share that stays; PyTorch's 0.1 is the share that goes, so 0.9 stays.
    """

    epsilon: float
    momentum: float
    use_scale: bool = True


TORCH = Norm(epsilon=1e-5, momentum=0.9)


class Conv(nn.Conv):
    """A convolution and a ReLU, then a 2x2 max-pool where `pool` says so: (B, H, W, C) to (B, H', W', features)."""

    pool: bool = False
    conv_general_dilated: Any = convolve

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = relu(super().__call__(x))
        return max_pool(x, 2, 2) if self.pool else x


def relu(x: jax.Array) -> jax.Array:
    """Apply a ReLU, written as a selection, to a residual block's sum or to a convolution that nothing normalises.

    XLA for a CPU would repeat a maximum in every later fusion that takes it, and keep both addends for them, from block
    to block; and where a mean is taken, YNNPACK would take the maximum along, and the convolutions before it.

    >>> relu(jnp.array([3.0, -1.0, jnp.nan])).tolist()
    [3.0, 0.0, nan]
    """
    return jnp.where(x <= 0, 0, x)


def conv_norm(
    x: jax.Array,
    train: bool,
    features: int,
    kernel: int | tuple[int, int],
    *,
    name: str,
    norm: Norm,
    dtype: DType,
    strides: int = 1,
    padding: Padding = "SAME",
    groups: int = 1,
    bias: bool = False,
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu,
) -> jax.Array:
    """Apply a convolution called `name`, a batch norm called `name`_norm and an activation, inside a compact module."""
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    x, shift = _BiasApart(
        features,
        size,
        (strides, strides),
        padding,
        feature_group_count=groups,
        conv_general_dilated=convolve,
        use_bias=False,
        with_bias=bias,
        dtype=dtype,
        name=name,
    )(x)
    x = batch_norm(x, train, name=f"{name}_norm", norm=norm, dtype=dtype, shift=shift)
    return x if activation is None else activation(x)


class _BiasApart(nn.Conv):
    """A convolution that leaves its bias to what comes after it: (B, H, W, C) to (B, H', W', features), and a bias."""

    with_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        y = super().__call__(x)
        return y, self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.with_bias else None


def batch_norm(
    x: jax.Array, train: bool, *, name: str, norm: Norm, dtype: DType, shift: jax.Array | None = None
) -> jax.Array:
    """Apply a batch norm as a source has it, inside a compact module, to x or to x and a bias."""
    return BatchNorm(
        use_running_average=not train,
        momentum=norm.momentum,
        epsilon=norm.epsilon,
        use_scale=norm.use_scale,
        dtype=dtype,
        name=name,
    )(x, shift=shift)


class ConvNorm(nn.Module):
    """A stage of one convolution called `conv`, its batch norm and a ReLU."""

    features: int
    kernel: int
    norm: Norm
    strides: int = 1
    padding: Padding = "SAME"
    bias: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return conv_norm(
            x,
            train,
            self.features,
            self.kernel,
            name="conv",
            norm=self.norm,
            dtype=self.dtype,
            strides=self.strides,
            padding=self.padding,
            bias=self.bias,
            activation=self.activation,
        )


class MaxPool(nn.Module):
    """A stage without parameters: the maximum of each square of `window`, every `strides` pixels."""

    window: int
    strides: int
    padding: str | Sequence[tuple[int, int]] = "VALID"

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return max_pool(x, self.window, self.strides, self.padding)


def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
    """Average (B, H, W, C) over a grid of `size` by `size` cells that may overlap, as `torch.nn.AdaptiveAvgPool2d`.

    Cell i covers the rows from floor(i H / size) to ceil((i + 1) H / size).

    >>> adaptive_avg_pool(jnp.arange(4.0).reshape(1, 2, 2, 1), 1).item()
    1.5
    """
    for axis in (1, 2):
        length = x.shape[axis]
        cells = [(i * length // size, -((i + 1) * -length // size)) for i in range(size)]
        means = [jax.lax.slice_in_dim(x, start, stop, axis=axis).mean(axis, keepdims=True) for start, stop in cells]
        x = x if size == length else jnp.concatenate(means, axis)
    return x
