"""A KerasHub preset run by KerasHub itself, to be compared with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlx.convert.reference import keras_backend
from tlx.convert.rules import Table
from tlx.convert.text_outputs import TEXTS, TextOutputs
from tlx.errors import ConfigError, WeightsError
from tlx.text.tokens import Tokens

UNLIKE = "…"  # of which KerasHub makes '...' as one piece


def keras_hub_outputs(table: Table, spec: Tokens, folder: Path, batch: Mapping[str, Any], classes: int) -> TextOutputs:
    """Run a preset's backbone, and its classifier where there are classes, on pieces that tlx made.

    The pieces of WordPiece are compared with those of KerasHub's tokenizer. Those of byte pairs are not: KerasHub
    splits words by two rules, with tensorflow-text as RoBERTa was trained, without it as Llama 3.

    Args:
        table: which table the model was read by.
        spec: its tokenizer.
        folder: the preset.
        batch: what `spec` makes of `TEXTS`.
        classes: how many outputs the classifier has; 0 where there is none.

    Raises:
        ConfigError: where KerasHub cannot be imported.
        WeightsError: where it cannot read the preset.
    """
    try:
        with keras_backend("jax"):
            import keras
            import keras_hub
    except ImportError as error:
        raise ConfigError(
            f"{table.name} is compared with KerasHub, which cannot be imported ({error}): pip install keras-hub, or "
            "leave out --verify"
        ) from error
    ids, mask = np.asarray(batch["ids"]), np.asarray(batch["mask"])
    try:
        task = keras_hub.models.TextClassifier.from_preset(str(folder), preprocessor=None) if classes else None
        backbone = task.backbone if task else keras_hub.models.Backbone.from_preset(str(folder))
        same = _same_pieces(keras_hub, spec, folder)
    except Exception as error:  # whatever KerasHub makes of a folder that tlx reads
        told = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{folder}: KerasHub cannot load it ({type(error).__name__}: {told}): leave out --verify"
        ) from error
    inputs = {"token_ids": ids, "padding_mask": mask.astype(np.int32)}
    if "segment_ids" in backbone.input:
        inputs["segment_ids"] = np.asarray(batch["segments"])
    layers = {layer.name: layer for layer in backbone.layers}
    first = table.node_of("embeddings") or ""
    names = [first if first in layers else "embeddings_layer_norm"]
    names += [f"transformer_layer_{number}" for number in range(backbone.num_layers)]
    outputs = {name: layers[name].output for name in names}
    pools = isinstance(backbone.output, dict) and table.pool == "pooler"
    if pools:
        outputs["pooled"] = backbone.output["pooled_output"]
    found = keras.Model(backbone.input, outputs).predict(inputs, verbose=0)
    logits = None
    if task is not None:
        task.output_dense.activation = keras.activations.linear  # logits, whatever the preset makes of them
        logits = np.asarray(task.predict(inputs, verbose=0))
    return TextOutputs(
        f"keras_hub:{type(task or backbone).__name__}",
        same,
        ids.shape[1],
        tuple(np.asarray(found[name]) for name in names),
        np.asarray(found["pooled"]) if pools else None,
        logits,
    )


def _same_pieces(keras_hub: Any, spec: Tokens, folder: Path) -> bool | None:
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(str(folder))
    if not isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        return None
    texts = [text.replace(UNLIKE, " ") for text in TEXTS]
    own = spec.tokenizer.encode(texts, parse_special=spec.parse_special)
    return all(np.array_equal(ids, np.asarray(tokenizer(text))) for ids, text in zip(own, texts, strict=True))
