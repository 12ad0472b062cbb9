"""Small networks over words, for heads on word vectors: a convolution, and an LSTM read both ways."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.models.layers import DType

WIDTHS, FILTERS, STATE = (3, 4, 5), 100, 128


class WordCnn(nn.Module):
    """Convolutions of 3, 4 and 5 words, 100 filters each, with ReLU and the maximum over a text (Kim 2014).

    `hidden` (B, T, C) and `mask` (B, T) to (B, 300); what a filter makes where it sees padding alone does not count.
    """

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array]) -> jax.Array:
        mask = x["mask"].astype(bool)[..., None]
        hidden = jnp.where(mask, x["hidden"], 0)
        pooled = []
        for width in WIDTHS:
            y = nn.relu(nn.Conv(FILTERS, (width,), dtype=self.dtype, name=f"conv{width}")(hidden))
            pooled.append(jnp.where(mask, y, 0).max(1))
        return jnp.concatenate(pooled, axis=-1)


class WordLstm(nn.Module):
    """An LSTM of 128 states read in each direction, and the maximum of its states over a text (Conneau et al. 2017).

    `hidden` (B, T, C) and `mask` (B, T) to (B, 256).
    """

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array]) -> jax.Array:
        mask = x["mask"].astype(bool)
        lengths = mask.sum(1)
        forward = nn.RNN(nn.OptimizedLSTMCell(STATE, dtype=self.dtype))
        backward = nn.RNN(nn.OptimizedLSTMCell(STATE, dtype=self.dtype))
        states: Any = nn.Bidirectional(forward, backward, name="lstm")(x["hidden"], seq_lengths=lengths)
        lowest = jnp.finfo(states.dtype).min
        pooled: jax.Array = jnp.where(mask[..., None], states, lowest).max(1)
        return jnp.where(lengths[:, None] > 0, pooled, 0)
