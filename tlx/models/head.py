"""The head: pooling, hidden layers, dropout and a linear layer to the logits."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import ConfigError, check_choice
from tlx.models.layers import adaptive_avg_pool
from tlx.models.sequence import WordCnn, WordLstm
from tlx.tree.paths import quote

Pool = Literal["flatten", "average", "max", "average7x7", "cls", "pooler", "cnn", "lstm", "words"]
POOLS: tuple[str, ...] = get_args(Pool)
OF_TOKENS = ("average", "max", "cls", "pooler", "cnn", "lstm", "words")
WORDS: Literal["words"] = "words"
WHOLE = ("cnn", "lstm", WORDS)  # which look at all tokens of a text, or give outputs for each


class Head(nn.Module):
    """Turn features (B, …, C) into logits (B, classes).

    `pool` brings features with spatial axes to (B, D): 'flatten' keeps every value, 'average' and 'max' pool over all
    axes between the first and the last, 'average7x7' averages over a grid of 7 by 7 cells (torchvision's VGG) and keeps
    every cell. Features may also be a mapping of `hidden` (B, T, C) and `mask` (B, T), true where a token counts: the
    mean and the maximum are then of these; 'cls' takes the first token (of a text in windows, whose numbers are
    `blocks` (B, T), the mean of each one's first), and 'pooler' that through a dense layer of its own and a tanh, as
    BERT was pretrained; 'cnn' and 'lstm' are small networks over all tokens (`WordCnn`, `WordLstm`).

    'words' pools nothing: a word's features are those of its first token, whose place the mapping has in `places`
    (B, W), -1 for none; where there are no `places` every token is a word. The outputs are then `logits` (B, W,
    classes) and `words` (B, W), true where there is one.

    `hidden` gives the sizes of ReLU layers (none: a linear head), `dropout` the rate at which each layer's inputs are
    dropped in training. There is no softmax: the loss and `predict` apply it. With 0 classes it is no head: it returns
    the pooled features (B, D) and has no parameters but the pooler's. `normalize` divides the pooled features by their
    length. `dtype` is that of the computation; parameters and logits are float32. Raise `ConfigError` for features
    without any value, which a base gives for images that are too small for it, or of a shape that `pool` cannot take.

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
    normalize: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        check_choice("pool", self.pool, POOLS)
        if self.classes < 0 or any(size < 1 for size in self.hidden):
            raise ConfigError(f"head: classes={self.classes}, hidden={self.hidden}: sizes must be positive")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"head: dropout must be at least 0 and under 1, not {self.dropout}")
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Any, train: bool = False) -> Any:
        x = pooled(features, self.pool)
        if self.pool == WORDS:
            x, there = at_words(x)
        elif self.pool in WHOLE:
            kind = WordCnn if self.pool == "cnn" else WordLstm
            x = kind(self.dtype, name=self.pool)(x)
        if self.pool == "pooler":
            x = nn.tanh(nn.Dense(x.shape[-1], dtype=self.dtype, name="pooler")(x))
        if self.normalize:
            x = normalized(x)
        if not self.classes:
            return x.astype(jnp.float32)
        for index, size in enumerate(self.hidden, start=1):
            x = nn.Dropout(self.dropout, name=f"dropout{index}")(x, deterministic=not train)
            x = nn.relu(nn.Dense(size, dtype=self.dtype, name=f"hidden{index}")(x))
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        logits = nn.Dense(self.classes, dtype=self.dtype, name="logits")(x).astype(jnp.float32)
        return {"logits": logits, "words": there} if self.pool == WORDS else logits


def pooled(features: Any, pool: Pool) -> Any:
    """Bring features (B, …, C) to (B, D), as `Head` says of each `pool`; of those in `WHOLE` they stay as they are.

    Features (B, C) have nothing to pool and come back as they are. Raise `ConfigError` for another pool, for features
    without any value or without a batch axis, and for 'average7x7' of others than (B, H, W, C).

    >>> pooled(jnp.zeros((2, 5, 4)), "average").shape
    (2, 4)
    """
    check_choice("pool", pool, POOLS)
    if isinstance(features, Mapping):
        return _pooled_hidden(features, pool)
    if pool in WHOLE:
        raise ConfigError(f"pool {pool!r} takes the tokens of a text, and the features are {features.shape}")
    if pool in ("cls", "pooler") and features.ndim != 2:
        raise ConfigError(f"pool {pool!r} takes the first token of a text, and the features are {features.shape}")
    if features.ndim < 2:
        raise ConfigError(f"features of shape {features.shape} cannot be pooled: give a batch of them, (B, …, C)")
    if 0 in features.shape[1:]:
        raise ConfigError(f"the base leaves features of shape {features.shape[1:]}: use larger images")
    if features.ndim > 2 and pool == "average7x7":
        if features.ndim != 4:
            raise ConfigError(f"pool 'average7x7' takes features (B, H, W, C), not {features.shape}: use another pool")
        features, pool = adaptive_avg_pool(features, 7), "flatten"
    if features.ndim == 2 or pool == "flatten":
        return features.reshape(features.shape[0], -1)
    between = tuple(range(1, features.ndim - 1))
    pooled: jax.Array = features.mean(between) if pool == "average" else features.max(between)
    return pooled


def at_words(features: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    """Return the hidden states of the words of texts, (B, W, C), and where there are words, (B, W) bool.

    >>> features = {"hidden": jnp.arange(3.0)[None, :, None], "mask": jnp.ones((1, 3)), "places": jnp.array([[2, -1]])}
    >>> at_words(features)[0][..., 0].tolist(), at_words(features)[1].tolist()
    ([[2.0, 0.0]], [[True, False]])
    """
    hidden = features["hidden"]
    if "places" not in features:
        return hidden, features["mask"].astype(bool)
    places = features["places"]
    there = places >= 0
    found = jnp.take_along_axis(hidden, jnp.maximum(places, 0)[..., None], axis=1)
    return jnp.where(there[..., None], found, 0), there


def normalized(x: jax.Array) -> jax.Array:
    """Divide vectors (B, D) by their length, which is taken as 1e-12 at least (as PyTorch's `normalize` does).

    >>> normalized(jnp.array([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _pooled_hidden(features: Mapping[str, Any], pool: Pool) -> Any:
    """Pool hidden states (B, T, C) over the tokens that a mask (B, T) does not leave out."""
    if "hidden" not in features or "mask" not in features or pool not in OF_TOKENS:
        raise ConfigError(
            f"pool {pool!r} of features {', '.join(features)}: a mapping needs 'hidden' (B, T, C) and 'mask' (B, T), "
            f"and the pool {quote(OF_TOKENS)}"
        )
    hidden, mask = features["hidden"], features["mask"].astype(bool)[..., None]
    if pool in WHOLE:
        return features
    if pool in ("cls", "pooler"):
        return hidden[:, 0] if "blocks" not in features else _mean_of_firsts(hidden, mask, features["blocks"])
    if pool == "max":
        return jnp.where(mask, hidden, jnp.finfo(hidden.dtype).min).max(1)
    return jnp.where(mask, hidden, 0).sum(1) / jnp.maximum(mask.sum(1), 1).astype(hidden.dtype)


def _mean_of_firsts(hidden: jax.Array, mask: jax.Array, blocks: jax.Array) -> jax.Array:
    """Average the first token of each of a text's windows, (B, T, C) to (B, C)."""
    begins = jnp.concatenate([jnp.ones_like(blocks[:, :1], bool), blocks[:, 1:] != blocks[:, :-1]], axis=1)
    first = begins[..., None] & mask
    mean: jax.Array = jnp.where(first, hidden, 0).sum(1) / jnp.maximum(first.sum(1), 1).astype(hidden.dtype)
    return mean
