"""The transformer encoder: self-attention and a layer of it, shared by all families."""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.models.layers import DType

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(nn.gelu, approximate=False),  # by the error function, as the paper defines it
    "gelu_new": functools.partial(nn.gelu, approximate=True),  # by tanh, as Google's code computes it
    "relu": nn.relu,
    "silu": nn.silu,
}
OTHER_NAMES = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "gelu_python": "gelu", "swish": "silu"}


class LayerNorm(nn.LayerNorm):
    """A layer norm whose variance is that of the differences from the mean, as PyTorch and Keras compute it.

    Flax's default, the mean of squares less the square of the mean, loses digits where the mean is large. Statistics
    are float32 in any type.
    """

    use_fast_variance: bool = False


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), (B, T, C) to (B, T, C).

    `__call__` takes hidden states and `mask`, bool, (B, 1, 1, T) or (B, 1, T, T), true where a position may be looked
    at. Scores and softmax are float32 at least, whatever the `dtype` of the products. A row that may look at nothing
    attends everywhere alike, and stays finite.
    """

    heads: int
    dropout: float = 0.0
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, hidden: jax.Array, mask: jax.Array, deterministic: bool = True) -> jax.Array:
        width = hidden.shape[-1]
        # Heads before positions: XLA for a CPU is a tenth faster with the products in this order.
        query, key, value = (
            nn.Dense(width, dtype=self.dtype, name=name)(hidden)
            .reshape(*hidden.shape[:2], self.heads, -1)
            .transpose(0, 2, 1, 3)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum(
            "bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.promote_types(self.dtype, "float32")
        )
        scores = scores * (query.shape[-1] ** -0.5)
        weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min)).astype(self.dtype)
        weights = nn.Dropout(self.dropout, name="dropout")(weights, deterministic=deterministic)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, value).transpose(0, 2, 1, 3).reshape(hidden.shape)
        return nn.Dense(width, dtype=self.dtype, name="output")(mixed)


class Mlp(nn.Module):
    """Two dense layers with an activation between them, (B, T, C) to (B, T, C)."""

    width: int
    activation: str
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        inner = nn.Dense(self.width, dtype=self.dtype, name="up")(hidden)
        inner = ACTIVATIONS[self.activation](inner)
        return nn.Dense(hidden.shape[-1], dtype=self.dtype, name="down")(inner)


class EncoderLayer(nn.Module):
    """One layer of BERT's encoder: attention and MLP, each with dropout, a shortcut and a layer norm behind it.

    It takes and returns a mapping of `hidden` (B, T, C) and `mask` (B, T), true where a position counts; where it has
    `blocks` (B, T), numbers, a position looks at those of its own block only.
    """

    heads: int
    inner: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], deterministic: bool = True) -> dict[str, jax.Array]:
        hidden = x["hidden"]
        attention = SelfAttention(self.heads, self.attention_dropout, self.dtype, name="attention")
        y = attention(hidden, attended(x), deterministic)
        y = nn.Dropout(self.dropout, name="attention_dropout")(y, deterministic=deterministic)
        hidden = LayerNorm(self.epsilon, dtype=self.dtype, name="attention_norm")(hidden + y)
        y = Mlp(self.inner, self.activation, self.dtype, name="mlp")(hidden)
        y = nn.Dropout(self.dropout, name="mlp_dropout")(y, deterministic=deterministic)
        return {**x, "hidden": LayerNorm(self.epsilon, dtype=self.dtype, name="mlp_norm")(hidden + y)}


def attended(x: Mapping[str, jax.Array]) -> jax.Array:
    """Return which positions each position may look at, bool (B, 1, 1, T), or (B, 1, T, T) where there are blocks.

    >>> attended({"mask": jnp.array([[True, False]])}).shape
    (1, 1, 1, 2)
    """
    mask = x["mask"][:, None, None, :]
    if "blocks" not in x:
        return mask
    same: jax.Array = x["blocks"][:, None, :, None] == x["blocks"][:, None, None, :]
    return mask & same
