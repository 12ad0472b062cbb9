"""The head: pooling, hidden layers, dropout and a linear layer to the logits."""

from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import ConfigError
from tlx.models.layers import adaptive_avg_pool

Pool = Literal["flatten", "average", "max", "average7x7"]
POOLS: tuple[str, ...] = get_args(Pool)


class Head(nn.Module):
    """Turn features (B, …, C) into logits (B, classes).

    `pool` brings features with spatial axes to (B, D): 'flatten' keeps every value, 'average' and 'max' pool over all
    axes between the first and the last, 'average7x7' averages over a grid of 7 by 7 cells (torchvision's VGG) and keeps
    every cell. `hidden` gives the sizes of ReLU layers (none: a linear head), `dropout` the rate at which each layer's
    inputs are dropped in training. There is no softmax: the loss and `predict` apply it. With 0 classes it is no head:
    it has no parameters and returns the pooled features (B, D). `dtype` is that of the computation; parameters and
    logits are float32. Raise `ConfigError` for features without any value, which a base gives for pictures that are too
    small for it.

    >>> import jax.numpy as jnp
    >>> head = Head(classes=5, hidden=(16,), pool="average")
    >>> variables = head.init(jax.random.key(0), jnp.zeros((1, 3, 3, 64)))
    >>> jax.tree.map(jnp.shape, variables["params"])
    {'hidden1': {'bias': (16,), 'kernel': (64, 16)}, 'logits': {'bias': (5,), 'kernel': (16, 5)}}
    """

    classes: int
    hidden: tuple[int, ...] = ()
    pool: Pool = "average"
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
        x = pooled(features, self.pool)
        if not self.classes:
            return x.astype(jnp.float32)
        for index, size in enumerate(self.hidden, start=1):
            x = nn.Dropout(self.dropout, name=f"dropout{index}")(x, deterministic=not train)
            x = nn.relu(nn.Dense(size, dtype=self.dtype, name=f"hidden{index}")(x))
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(x).astype(jnp.float32)


def pooled(features: jax.Array, pool: Pool) -> jax.Array:
    """Bring features (B, …, C) to (B, D), as `Head` says of each `pool`."""
    if 0 in features.shape[1:]:
        raise ConfigError(f"the base leaves features of shape {features.shape[1:]}: use larger pictures")
    if features.ndim == 4 and pool == "average7x7":
        features, pool = adaptive_avg_pool(features, 7), "flatten"
    if features.ndim == 2 or pool == "flatten":
        return features.reshape(features.shape[0], -1)
    between = tuple(range(1, features.ndim - 1))
    return features.mean(between) if pool == "average" else features.max(between)
