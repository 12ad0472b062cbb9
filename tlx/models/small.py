"""Small bases for 28x28 grey pictures: a two-layer MLP and a three-convolution CNN."""

import flax.linen as nn
import jax

from tlx.models.base import Base, Stage


class Dense(nn.Dense):
    """Flatten, then a dense layer and a ReLU: (B, …) to (B, features)."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.relu(super().__call__(x.reshape(x.shape[0], -1)))


class Conv(nn.Conv):
    """A convolution and a ReLU, then a 2x2 max-pool where `pool` says so: (B, H, W, C) to (B, H', W', features)."""

    pool: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(super().__call__(x))
        return max_pool_2x2(x) if self.pool else x


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Halve height and width by the maximum of each 2x2 square; an odd last row or column is left out.

    The same values as `nn.max_pool(x, (2, 2), (2, 2))`, without the `select_and_scatter` that makes that one's gradient
    slow on a CPU. Equal maxima share the gradient.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def mlp() -> Base:
    """Build the MLP 784-8-4: 6,316 parameters, features (B, 4).

    >>> mlp().stage_names
    ('dense1', 'dense2')
    """
    return Base((Stage("dense1", Dense(8)), Stage("dense2", Dense(4))))


def cnn() -> Base:
    """Build the CNN of 3x3 'valid' convolutions with 32, 64 and 64 filters: 55,744 parameters, features (B, 3, 3, 64).

    (F. Chollet, Deep Learning with Python, section 5.1.)

    >>> cnn().stage_names
    ('conv1', 'conv2', 'conv3')
    """
    return Base(
        (
            Stage("conv1", Conv(32, (3, 3), padding="VALID", pool=True)),
            Stage("conv2", Conv(64, (3, 3), padding="VALID", pool=True)),
            Stage("conv3", Conv(64, (3, 3), padding="VALID")),
        )
    )
