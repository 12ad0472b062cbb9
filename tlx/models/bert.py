"""BERT and its relatives (Devlin et al. 2018): embeddings of pieces and an encoder, one stage a layer."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import ConfigError, suggestion
from tlx.models.base import Base, Stage
from tlx.models.layers import DType
from tlx.models.transformer import ACTIVATIONS, OTHER_NAMES, EncoderLayer, LayerNorm

MOST = 1 << 31  # of any size: what a shape in memory could have
MOST_LAYERS = 1000  # far more than any has; each is a stage of its own


@dataclass(frozen=True)
class BertConfig:
    """What makes one BERT another: the sizes and settings of `config.json`, under Hugging Face's names.

    Args:
        vocab_size: rows of the matrix of pieces.
        hidden_size: C, the width of hidden states.
        num_hidden_layers: how many layers, which are stages `layer0` and on.
        num_attention_heads: heads, which divide `hidden_size`.
        intermediate_size: the inner width of each layer's MLP.
        hidden_act: "gelu" (by the error function), "gelu_new" (by tanh), "relu" or "silu".
        layer_norm_eps: the epsilon of all layer norms.
        max_position_embeddings: the longest sequence, in pieces.
        type_vocab_size: how many segments have an embedding; 0 for none (DistilBERT).
        hidden_dropout_prob: the rate of dropout after embeddings, attention and MLP.
        attention_probs_dropout_prob: that of the attention's weights.
        first_position: the row of the first position: 0, but 2 for RoBERTa, which leaves out its padding's.
        embedding_size: the width of the embeddings where it is not `hidden_size` (ELECTRA); None where it is.

    Raises:
        ConfigError: for sizes that are none, and an activation that tlx does not have.

    >>> BertConfig(num_hidden_layers=6, hidden_size=384, intermediate_size=1536).hidden_act
    'gelu'
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    first_position: int = 0
    embedding_size: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_act", OTHER_NAMES.get(self.hidden_act, self.hidden_act))
        if self.hidden_act not in ACTIVATIONS:
            near = suggestion(str(self.hidden_act), ACTIVATIONS)
            raise ConfigError(f"hidden_act: {self.hidden_act!r:.60} is not one of {', '.join(ACTIVATIONS)}{near}")
        least = {"type_vocab_size": 0, "first_position": 0}
        most = {"num_hidden_layers": MOST_LAYERS}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type is int or (each.name == "embedding_size" and value is not None):
                low, high = least.get(each.name, 1), most.get(each.name, MOST - 1)
                if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                    raise ConfigError(f"{each.name}: {value!r:.60} is not a whole number from {low} to {high:,}")
            elif each.type is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ConfigError(f"{each.name}: {value!r:.60} is not a number")
        if not 0 < self.layer_norm_eps < 1:
            raise ConfigError(f"layer_norm_eps: {self.layer_norm_eps} is not above 0 and under 1")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)} is not at least 0 and under 1")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"num_attention_heads: {self.num_attention_heads} heads do not divide hidden_size {self.hidden_size}"
            )


class Embeddings(nn.Module):
    """The sum of a piece's, its position's and its segment's embedding, under a layer norm.

    It takes `ids` (B, T) and `mask` (B, T), and `segments`, `positions` and `blocks` (B, T) where there are such
    (positions count from 0 by default), and returns `hidden` (B, T, C), `mask`, `blocks` and, for the head, `places`.
    """

    config: BertConfig
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], deterministic: bool = True) -> dict[str, jax.Array]:
        config, ids = self.config, x["ids"]
        width = config.embedding_size or config.hidden_size
        length = ids.shape[1]
        if length > config.max_position_embeddings and "positions" not in x:  # windows begin anew at position 0
            raise ConfigError(
                f"texts of {length} pieces, and the model has positions for {config.max_position_embeddings}: lower "
                "max_length"
            )
        embed = {"dtype": self.dtype, "embedding_init": nn.initializers.normal(0.02)}
        hidden = nn.Embed(config.vocab_size, width, name="word", **embed)(ids)
        rows = config.max_position_embeddings + config.first_position
        positions = x.get("positions", jnp.arange(length, dtype=jnp.int32)[None]) + config.first_position
        hidden = hidden + nn.Embed(rows, width, name="position", **embed)(positions)
        if config.type_vocab_size:
            segments = x.get("segments", jnp.zeros_like(ids)) if config.type_vocab_size > 1 else jnp.zeros_like(ids)
            hidden = hidden + nn.Embed(config.type_vocab_size, width, name="segment", **embed)(segments)
        hidden = LayerNorm(config.layer_norm_eps, dtype=self.dtype, name="norm")(hidden)
        hidden = nn.Dropout(config.hidden_dropout_prob, name="dropout")(hidden, deterministic=deterministic)
        if config.embedding_size:
            hidden = nn.Dense(config.hidden_size, dtype=self.dtype, name="projection")(hidden)
        state = {"hidden": hidden, "mask": x["mask"].astype(bool)}
        return {**state, **{name: x[name] for name in ("blocks", "places") if name in x}}


def bert(config: BertConfig, *, dtype: DType = jnp.float32) -> Base:
    """Build a BERT without its pooler: stages `embeddings`, `layer0` and on.

    >>> bert(BertConfig(num_hidden_layers=2)).stage_names
    ('embeddings', 'layer0', 'layer1')
    """
    layer = EncoderLayer(
        heads=config.num_attention_heads,
        inner=config.intermediate_size,
        activation=config.hidden_act,
        epsilon=config.layer_norm_eps,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        dtype=dtype,
    )
    layers = (Stage(f"layer{number}", layer) for number in range(config.num_hidden_layers))
    return Base((Stage("embeddings", Embeddings(config, dtype)), *layers))
