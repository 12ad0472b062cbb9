"""The base of word vectors: a matrix of them, which texts are looked up in."""

from collections.abc import Mapping
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import ConfigError
from tlx.models.base import Base, Stage
from tlx.models.layers import DType


@dataclass(frozen=True)
class WordsConfig:
    """The size of a matrix of word vectors.

    Args:
        vocab_size: its rows: one for each word, and the first one, of what is no word.
        vector_size: the numbers of a vector.

    Raises:
        ConfigError: for sizes that are no whole numbers of 1 or more.
    """

    vocab_size: int = 1
    vector_size: int = 50

    def __post_init__(self) -> None:
        for name in ("vocab_size", "vector_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}: {value!r} is not a whole number of 1 or more")


class WordEmbeddings(nn.Module):
    """Look up the vectors of words: `ids` (B, T) and `mask` (B, T) to `hidden` (B, T, D) and `mask`."""

    config: WordsConfig
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        rows, width = self.config.vocab_size, self.config.vector_size
        hidden = nn.Embed(rows, width, dtype=self.dtype, name="word")(x["ids"])
        return {"hidden": hidden, "mask": x["mask"].astype(bool)}


def words(config: WordsConfig, *, dtype: DType = jnp.float32) -> Base:
    """Build the base of word vectors: one stage, `embeddings`.

    >>> words(WordsConfig(100, 50)).stage_names
    ('embeddings',)
    """
    return Base((Stage("embeddings", WordEmbeddings(config, dtype)),))
