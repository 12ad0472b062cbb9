"""Small bases: a two-layer MLP and a three-convolution CNN for 28x28 grey images, and none at all for vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.models.base import Base, Stage
from tlx.models.layers import Conv, DType


class Dense(nn.Dense):
    """Flatten, then a dense layer and a ReLU: (B, …) to (B, features)."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.relu(super().__call__(x.reshape(x.shape[0], -1)))


class Identity(nn.Module):
    """Return the input."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def vectors(*, dtype: DType = jnp.float32) -> Base:
    """Build the base of vectors that are features already: one stage, which returns its inputs; it has no parameters.

    >>> vectors().stage_names
    ('features',)
    """
    return Base((Stage("features", Identity()),))


def mlp(*, dtype: DType = jnp.float32) -> Base:
    """Build the MLP 784-8-4: 6,316 parameters, features (B, 4).

    >>> mlp().stage_names
    ('dense1', 'dense2')
    """
    return Base((Stage("dense1", Dense(8, dtype=dtype)), Stage("dense2", Dense(4, dtype=dtype))))


def cnn(*, dtype: DType = jnp.float32) -> Base:
    """Build the CNN of 3x3 'valid' convolutions with 32, 64 and 64 filters: 55,744 parameters, features (B, 3, 3, 64).

    (F. Chollet, Deep Learning with Python, section 5.1.)

    >>> cnn().stage_names
    ('conv1', 'conv2', 'conv3')
    """
    return Base(
        (
            Stage("conv1", Conv(32, (3, 3), padding="VALID", pool=True, dtype=dtype)),
            Stage("conv2", Conv(64, (3, 3), padding="VALID", pool=True, dtype=dtype)),
            Stage("conv3", Conv(64, (3, 3), padding="VALID", dtype=dtype)),
        )
    )
