"""BERT and its relatives as Hugging Face, Google and KerasHub write them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tlx.convert.rules import Ignored, Row, Table
from tlx.models.head import WORDS, Pool

BUFFERS = Ignored(r"embeddings\.(position_ids|token_type_ids)", "a buffer that counts positions", kept=False)


def _layers(prefix: str, names: Mapping[str, str], layer: str = "layer{i}") -> tuple[Row, ...]:
    """Return the rows of a layer: what its parts are called below `prefix`, by their paths in tlx."""
    kinds = {"attention_norm": "layer_norm", "mlp_norm": "layer_norm"}
    return tuple(
        Row(kinds.get(path, "dense"), f"{prefix}{name}", f"base/{layer}/{path}") for path, name in names.items()
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
_KERAS_HUB = {
    "attention/query": "self_attention_layer/query_dense",
    "attention/key": "self_attention_layer/key_dense",
    "attention/value": "self_attention_layer/value_dense",
    "attention/output": "self_attention_layer/output_dense",
    "attention_norm": "self_attention_layer_norm",
    "mlp/up": "feedforward_intermediate_dense",
    "mlp/down": "feedforward_output_dense",
    "mlp_norm": "feedforward_layer_norm",
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
_OUTPUT = Row("output", "cls/seq_relationship", "head/nsp", outside=True)  # as Google's code names the next
_NEXT = Row("dense", "cls.seq_relationship", "head/nsp", outside=True)


def _masked(bias: str, transform: str, norm: str) -> tuple[Row, ...]:
    """Return the rows of the head for masked words: the modules that hold its bias, dense layer and layer norm."""
    return (
        Row("dense", transform, "head/mlm/transform", outside=True),
        Row("layer_norm", norm, "head/mlm/norm", outside=True),
        Row("bias", bias, "head/mlm", outside=True),
    )


_BERT_MASKED = _masked("cls.predictions", "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm")

# Keras numbers the layers of a class, but the first one of each.
_KERAS_HUB_ENCODER = (
    Row("layer_norm", "layer_normalization", "base/embeddings/norm"),
    *_layers("transformer_encoder/", _KERAS_HUB, "layer0"),
    *_layers("transformer_encoder_{i}/", _KERAS_HUB),
)
_KERAS_HUB_EMBEDDINGS = (
    Row("embedding", "reversible_embedding", "base/embeddings/word"),
    Row("embedding", "position_embedding", "base/embeddings/position"),
    Row("embedding", "embedding", "base/embeddings/segment"),
)
_KERAS_HUB_TOGETHER = (  # in a layer of their own, without segments
    Row("embedding", "token_and_position_embedding/token_embedding", "base/embeddings/word"),
    Row("embedding", "token_and_position_embedding/position_embedding", "base/embeddings/position"),
)


def _google(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return rows as Google's code names them, from those of Hugging Face."""

    def named(source: str) -> str:
        return source.replace("encoder.layer.{i}", "encoder.layer_{i}").replace(".", "/")

    return tuple(Row(row.kind, named(row.source), row.target, row.outside) for row in rows)


def _stages(prefix: str) -> tuple[tuple[str, str], ...]:
    return (("embeddings", "embeddings"), ("layer{i}", f"{prefix}{{i}}"))


_KERAS_HUB_STAGES = (("embeddings", "embeddings_layer_norm"), ("layer{i}", "transformer_layer_{i}"))
PRETRAINING = Ignored(r"cls\..*", "of the heads of pretraining")
# KerasHub computes it by erf and epsilon 1e-5, whatever the backbone does: a head that tlx does not have.
MASKED_WORDS = Ignored(r"task/masked_lm_head/.*", "of the head of pretraining")
TIED = r"(cls\.predictions\.decoder|lm_head\.decoder|vocab_projector|generator_lm_head)\.weight"
"""The decoder of masked words, which is the matrix of pieces again."""
TIED_BIAS = r"(cls\.predictions|lm_head)\.decoder\.bias"
"""Its bias, which is the head's again."""

TEXT_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "hf/bert",
            "bert",
            "torch",
            (*_ENCODER, _POOLER, _LOGITS, *_BERT_MASKED, _NEXT),
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
                *_masked("vocab_projector", "vocab_transform", "vocab_layer_norm"),
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
                *_masked("lm_head", "lm_head.dense", "lm_head.layer_norm"),
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
            (
                *_ENCODER,
                Row("dense", "embeddings_project", "base/embeddings/projection"),
                *_masked("generator_lm_head", "generator_predictions.dense", "generator_predictions.LayerNorm"),
            ),
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
            (*_google((*_ENCODER, _POOLER, *_BERT_MASKED)), _OUTPUT),
            pool="pooler",
            ignored=(Ignored(r"cls/.*", "of the heads of pretraining"),),
        ),
        Table(
            "keras_hub/bert",
            "bert",
            "keras_hub",
            (
                *_KERAS_HUB_EMBEDDINGS,
                *_KERAS_HUB_ENCODER,
                Row("dense", "dense", "head/pooler"),
                Row("dense", "task/dense", "head/logits", outside=True),
            ),
            reference="keras_hub:BertBackbone",
            stages=_KERAS_HUB_STAGES,
            pool="pooler",
            ignored=(MASKED_WORDS,),
        ),
        Table(
            "keras_hub/distilbert",
            "bert",
            "keras_hub",
            (
                *_KERAS_HUB_TOGETHER,
                *_KERAS_HUB_ENCODER,
                Row("dense", "task/dense", "head/hidden1", outside=True),
                Row("dense", "task/dense_1", "head/logits", outside=True),
            ),
            reference="keras_hub:DistilBertBackbone",
            stages=_KERAS_HUB_STAGES,
            pool="cls",
            ignored=(MASKED_WORDS,),
        ),
        Table(
            "keras_hub/roberta",
            "bert",
            "keras_hub",
            (
                *_KERAS_HUB_TOGETHER,
                *_KERAS_HUB_ENCODER,
                Row("dense", "task/dense", "head/pooler", outside=True),
                Row("dense", "task/dense_1", "head/logits", outside=True),
            ),
            reference="keras_hub:RobertaBackbone",
            stages=_KERAS_HUB_STAGES,
            pool="pooler",
            ignored=(MASKED_WORDS,),
        ),
        Table(
            "keras_hub/electra",
            "bert",
            "keras_hub",
            (*_KERAS_HUB_EMBEDDINGS, *_KERAS_HUB_ENCODER, Row("dense", "dense", "base/embeddings/projection")),
            reference="keras_hub:ElectraBackbone",
            stages=(("embeddings", "embeddings_projection"), _KERAS_HUB_STAGES[1]),
            pool="cls",
            ignored=(Ignored(r"dense(_1)?/[01]", "a pooler that was not trained: ELECTRA has none"),),
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

_KERAS_HUB_NAMES = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "dropout",
}
_SEGMENTS = {"type_vocab_size": "num_segments"}
KERAS_HUB: dict[str, Family] = {
    "BertBackbone": Family(
        "keras_hub/bert",
        names=_KERAS_HUB_NAMES | _SEGMENTS,
        fixed={"hidden_act": "gelu_new", "layer_norm_eps": 1e-12},
    ),
    "DistilBertBackbone": Family(
        "keras_hub/distilbert",
        names=_KERAS_HUB_NAMES,
        fixed={"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 0},
        pool="cls",
    ),
    "RobertaBackbone": Family(
        "keras_hub/roberta",
        names=_KERAS_HUB_NAMES,
        fixed={"hidden_act": "gelu", "layer_norm_eps": 1e-5, "type_vocab_size": 0},
    ),
    "ElectraBackbone": Family(
        "keras_hub/electra",
        names=_KERAS_HUB_NAMES | _SEGMENTS | {"vocab_size": "vocab_size", "embedding_size": "embedding_dim"},
        fixed={"hidden_act": "gelu_new", "layer_norm_eps": 1e-12},
        pool="cls",
    ),
}
"""What the class of a KerasHub backbone stands for (KerasHub 0.32). Activation and epsilon stand in its code, not in
`config.json`: whatever the weights were trained with, they are computed so."""
