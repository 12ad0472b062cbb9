"""Xception: depthwise separable convolutions (F. Chollet, 2016, arXiv:1610.02357), as Keras arranges it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.models._lowerings.convolution import convolve
from tlx.models._lowerings.pooling import max_pool
from tlx.models.base import Base, Stage
from tlx.models.layers import ConvNorm, DType, Norm, batch_norm, conv_norm

NORM = Norm(epsilon=1e-3, momentum=0.99)


class Separable(nn.Module):
    """A depthwise 3x3 convolution `depthwise`, a 1x1 convolution `pointwise`, and a batch norm `norm`."""

    features: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        channels = x.shape[-1]
        shared: dict[str, Any] = {"use_bias": False, "dtype": self.dtype, "conv_general_dilated": convolve}
        x = nn.Conv(channels, (3, 3), feature_group_count=channels, name="depthwise", **shared)(x)
        x = nn.Conv(self.features, (1, 1), name="pointwise", **shared)(x)
        return batch_norm(x, train, name="norm", norm=NORM, dtype=self.dtype)


class SeparableRelu(Separable):
    """A separable convolution, then a ReLU."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.relu(super().__call__(x, train))


class Block(nn.Module):
    """Separable convolutions `sepconv1` and on, each behind a ReLU, beside a shortcut.

    A block that `narrows` ends in a 3x3 max-pool that halves height and width, and its shortcut is a strided 1x1
    convolution; the others' is the input. `opens_bare`: the first convolution has no ReLU before it.
    """

    features: tuple[int, ...]
    narrows: bool = False
    opens_bare: bool = False
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = x
        for index, features in enumerate(self.features, start=1):
            y = y if self.opens_bare and index == 1 else nn.relu(y)
            y = Separable(features, dtype=self.dtype, name=f"sepconv{index}")(y, train)
        if self.narrows:
            more = {"strides": 2, "activation": None, "norm": NORM, "dtype": self.dtype}
            x = conv_norm(x, train, self.features[-1], 1, name="shortcut", **more)
            y = max_pool(y, 3, 2, "SAME")
        return x + y


def xception(*, dtype: DType = jnp.float32) -> Base:
    """Build the Xception base: features (B, H', W', 2048), 10 by 10 for 299 by 299.

    Stages: `block1_conv1`, `block1_conv2`, the blocks `block2` to `block13`, `block14_sepconv1`, `block14_sepconv2`.

    >>> len(xception().stages)
    16
    """
    plain = {"norm": NORM, "padding": "VALID", "dtype": dtype}
    stages = [
        Stage("block1_conv1", ConvNorm(32, 3, strides=2, **plain)),
        Stage("block1_conv2", ConvNorm(64, 3, **plain)),
        Stage("block2", Block((128, 128), narrows=True, opens_bare=True, dtype=dtype)),
        Stage("block3", Block((256, 256), narrows=True, dtype=dtype)),
        Stage("block4", Block((728, 728), narrows=True, dtype=dtype)),
    ]
    stages += [Stage(f"block{index}", Block((728, 728, 728), dtype=dtype)) for index in range(5, 13)]
    stages += [
        Stage("block13", Block((728, 1024), narrows=True, dtype=dtype)),
        Stage("block14_sepconv1", SeparableRelu(1536, dtype=dtype)),
        Stage("block14_sepconv2", SeparableRelu(2048, dtype=dtype)),
    ]
    return Base(tuple(stages))
