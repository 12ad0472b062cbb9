"""The heads that BERT is pretrained with (Devlin et al. 2018): masked words and next sentence."""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.models.classifier import Classifier
from tlx.models.layers import DType
from tlx.models.transformer import ACTIVATIONS, LayerNorm
from tlx.tree.paths import Tree

Pretraining = Literal["mlm", "mlm+nsp"]


class MaskedWords(nn.Module):
    """Score every piece of the vocabulary at every position: hidden states (B, T, C) to logits (B, T, V).

    A dense layer, the activation and a layer norm come before the decoder, which is `matrix` (V, E), the embeddings of
    pieces, with a bias of its own.
    """

    activation: str = "gelu"
    epsilon: float = 1e-12
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, hidden: jax.Array, matrix: jax.Array) -> jax.Array:
        pieces, width = matrix.shape
        x = ACTIVATIONS[self.activation](nn.Dense(width, dtype=self.dtype, name="transform")(hidden))
        x = LayerNorm(self.epsilon, dtype=self.dtype, name="norm")(x)
        bias = self.param("bias", nn.initializers.zeros_init(), (pieces,))
        return jnp.einsum("bte,ve->btv", x, matrix.astype(self.dtype)).astype(jnp.float32) + bias


class PretrainingHead(nn.Module):
    """Both heads: `mlm`, logits (B, T, V), and, with `next_sentence`, `nsp`, logits (B, 2): follows, or does not.

    The second takes the first token through the pooler, as a classifier of pairs does.
    """

    next_sentence: bool = True
    activation: str = "gelu"
    epsilon: float = 1e-12
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, features: Mapping[str, jax.Array], matrix: jax.Array) -> dict[str, jax.Array]:
        hidden = features["hidden"]
        logits = {"mlm": MaskedWords(self.activation, self.epsilon, self.dtype, name="mlm")(hidden, matrix)}
        if self.next_sentence:
            first = nn.tanh(nn.Dense(hidden.shape[-1], dtype=self.dtype, name="pooler")(hidden[:, 0]))
            logits["nsp"] = nn.Dense(2, dtype=self.dtype, name="nsp")(first).astype(jnp.float32)
        return logits


class PretrainingModel(Classifier):
    """A BERT with the heads of its pretraining, whose decoder is the base's matrix of pieces.

    >>> from tlx.models.bert import BertConfig, bert
    >>> config = BertConfig(50, hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=20)
    >>> model = PretrainingModel(bert(config), PretrainingHead())
    >>> text = {"ids": jnp.ones((1, 8), jnp.int32), "mask": jnp.ones((1, 8), bool)}
    >>> logits = model.init_with_output(jax.random.key(0), text)[0]
    >>> logits["mlm"].shape, logits["nsp"].shape
    ((1, 8, 50), (1, 2))
    """

    def logits(self, features: Tree, train: bool = False) -> Tree:
        """Return what the heads make of the whole base's features: a mapping of logits (`PretrainingHead`)."""
        matrix = self.base.variables["params"]["embeddings"]["word"]["embedding"]
        return self.head(features, matrix)
