"""BERT and its relatives as Hugging Face and Google write them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tlx.convert.rules import Ignored, Row, Table
from tlx.models.head import WORDS, Pool

BUFFERS = Ignored(r"embeddings\.(position_ids|token_type_ids)", "a buffer that counts positions", kept=False)


def _layers(prefix: str, names: Mapping[str, str]) -> tuple[Row, ...]:
    """Return the rows of a layer: what its parts are called below `prefix`, by their paths in tlx."""
    kinds = {"attention_norm": "layer_norm", "mlp_norm": "layer_norm"}
    return tuple(
        Row(kinds.get(path, "dense"), f"{prefix}{name}", f"base/layer{{i}}/{path}") for path, name in names.items()
    )


_BERT = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp/up": "intermediate.dense",
    "mlp/down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
_DISTILBERT = {
    "attention/query": "attention.q_lin",
    "attention/key": "attention.k_lin",
    "attention/value": "attention.v_lin",
    "attention/output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "mlp/up": "ffn.lin1",
    "mlp/down": "ffn.lin2",
    "mlp_norm": "output_layer_norm",
}
_EMBEDDINGS = (
    Row("embedding", "embeddings.word_embeddings", "base/embeddings/word"),
    Row("embedding", "embeddings.position_embeddings", "base/embeddings/position"),
    Row("embedding", "embeddings.token_type_embeddings", "base/embeddings/segment"),
    Row("layer_norm", "embeddings.LayerNorm", "base/embeddings/norm"),
)
_ENCODER = (*_EMBEDDINGS, *_layers("encoder.layer.{i}.", _BERT))
_POOLER = Row("dense", "pooler.dense", "head/pooler")
_LOGITS = Row("dense", "classifier", "head/logits", outside=True)


def _google(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return rows as Google's code names them, from those of Hugging Face."""

    def named(source: str) -> str:
        return source.replace("encoder.layer.{i}", "encoder.layer_{i}").replace(".", "/")

    return tuple(Row(row.kind, named(row.source), row.target) for row in rows)


def _stages(prefix: str) -> tuple[tuple[str, str], ...]:
    return (("embeddings", "embeddings"), ("layer{i}", f"{prefix}{{i}}"))


PRETRAINING = Ignored(r"cls\..*", "of the heads of pretraining")

TEXT_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "hf/bert",
            "bert",
            "torch",
            (*_ENCODER, _POOLER, _LOGITS),
            reference="transformers:bert",
            stages=_stages("encoder.layer."),
            pool="pooler",
            ignored=(BUFFERS, PRETRAINING),
        ),
        Table(
            "hf/distilbert",
            "bert",
            "torch",
            (
                _EMBEDDINGS[0],
                _EMBEDDINGS[1],
                _EMBEDDINGS[3],
                *_layers("transformer.layer.{i}.", _DISTILBERT),
                Row("dense", "pre_classifier", "head/hidden1", outside=True),
                _LOGITS,
            ),
            reference="transformers:distilbert",
            stages=_stages("transformer.layer."),
            pool="cls",
            ignored=(BUFFERS, Ignored(r"vocab_(transform|layer_norm|projector)\..*", "of the head of pretraining")),
        ),
        Table(
            "hf/roberta",
            "bert",
            "torch",
            (
                *_ENCODER,
                Row("dense", "classifier.dense", "head/pooler", outside=True),
                Row("dense", "classifier.out_proj", "head/logits", outside=True),
            ),
            reference="transformers:roberta",
            stages=_stages("encoder.layer."),
            pool="pooler",
            ignored=(
                BUFFERS,
                Ignored(r"lm_head\..*", "of the head of pretraining"),
                Ignored(r"pooler\.dense\..*", "a pooler that was not trained: RoBERTa's heads bring their own"),
            ),
        ),
        Table(
            "hf/electra",
            "bert",
            "torch",
            (*_ENCODER, Row("dense", "embeddings_project", "base/embeddings/projection")),
            reference="transformers:electra",
            stages=_stages("encoder.layer."),
            pool="cls",
            ignored=(
                BUFFERS,
                Ignored(r"(discriminator|generator)_(predictions|lm_head)\..*", "of the heads of pretraining"),
            ),
        ),
        Table(
            "google/bert",
            "bert",
            "tf",
            _google((*_ENCODER, _POOLER)),
            pool="pooler",
            ignored=(Ignored(r"cls/.*", "of the heads of pretraining"),),
        ),
    )
}
"""The tables of text models by name."""


def tagging(table: Table) -> Table:
    """Return the table of a family's models that tag words: one linear layer on every piece, and no pooler.

    >>> [row.source for row in tagging(TEXT_TABLES["hf/roberta"]).rows if row.target.startswith("head/")]
    ['classifier']
    """
    base = tuple(row for row in table.rows if not row.target.startswith("head/"))
    pooler = Ignored(r"pooler\.dense\..*", "a pooler, which models that tag words have no use for")
    return replace(table, rows=(*base, _LOGITS), pool=WORDS, ignored=(*table.ignored, pooler))


@dataclass(frozen=True)
class Family:
    """How a configuration of Hugging Face's kind describes a family of text models.

    Args:
        table: the name of the table that reads its weights.
        names: what it calls the fields of `tlx.models.BertConfig`, where it has other names.
        fixed: fields that it does not name, because they are the same for all.
        refused: keys that must have these values, or be absent: another value makes another network.
        pool: how a classifier of the family pools.
    """

    table: str
    names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, Any] = field(default_factory=dict)
    pool: Pool = "pooler"


_ABSOLUTE = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
FAMILIES: dict[str, Family] = {
    "bert": Family("hf/bert", refused=_ABSOLUTE),
    "roberta": Family("hf/roberta", refused=_ABSOLUTE),
    "electra": Family("hf/electra", refused=_ABSOLUTE, pool="cls"),
    "distilbert": Family(
        "hf/distilbert",
        names={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
            "hidden_dropout_prob": "dropout",
            "attention_probs_dropout_prob": "attention_dropout",
        },
        fixed={"layer_norm_eps": 1e-12, "type_vocab_size": 0},
        refused={"sinusoidal_pos_embds": False},
        pool="cls",
    ),
}
"""What `model_type` in a `config.json` stands for."""
