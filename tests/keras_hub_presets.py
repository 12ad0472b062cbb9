"""KerasHub's presets of texts as `save_to_preset` of KerasHub 0.32 lays them out, from Hugging Face's names."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from text_models import TINY, VOCABULARY, tensors_of

LAYER = {  # Hugging Face's name in a layer, by KerasHub's attribute
    "_self_attention_layer/query_dense": "attention.self.query",
    "_self_attention_layer/key_dense": "attention.self.key",
    "_self_attention_layer/value_dense": "attention.self.value",
    "_self_attention_layer/output_dense": "attention.output.dense",
    "_self_attention_layer_norm": "attention.output.LayerNorm",
    "_feedforward_intermediate_dense": "intermediate.dense",
    "_feedforward_output_dense": "output.dense",
    "_feedforward_layer_norm": "output.LayerNorm",
}
TOKENIZER = {"lowercase": True, "strip_accents": True, "split": True, "suffix_indicator": "##", "oov_token": "[UNK]"}


def described(kind: str, **config: Any) -> dict[str, Any]:
    """Describe an object as Keras does."""
    return {
        "module": "keras_hub.src.models",
        "class_name": kind,
        "config": config,
        "registered_name": f"keras_hub>{kind}",
    }


def weights_of(tensors: dict[str, np.ndarray], heads: int, kind: str = "BertBackbone") -> dict[str, np.ndarray]:
    """Turn Hugging Face's tensors of a BERT into the datasets of KerasHub's backbone, by path."""
    together = kind in ("DistilBertBackbone", "RobertaBackbone")
    word, position = ("token_embedding", "position_embedding") if together else ("", "")
    start = "layers/token_and_position_embedding/" if together else "layers/"
    found = {
        f"{start}{word or 'reversible_embedding'}/vars/0": tensors["embeddings.word_embeddings.weight"],
        f"{start}{position or 'position_embedding'}/vars/0": tensors["embeddings.position_embeddings.weight"],
        "layers/layer_normalization/vars/0": tensors["embeddings.LayerNorm.weight"],
        "layers/layer_normalization/vars/1": tensors["embeddings.LayerNorm.bias"],
    }
    if not together:
        found["layers/embedding/vars/0"] = tensors["embeddings.token_type_embeddings.weight"]
        found["layers/dense/vars/0"] = tensors["pooler.dense.weight"].T
        found["layers/dense/vars/1"] = tensors["pooler.dense.bias"]
    for number in range(TINY["num_hidden_layers"]):
        layer = "layers/transformer_encoder" + (f"_{number}" if number else "")
        for name, theirs in LAYER.items():
            weight, bias = (tensors[f"encoder.layer.{number}.{theirs}.{each}"] for each in ("weight", "bias"))
            if name.startswith("_self_attention_layer/"):
                width = len(bias)
                split = (heads, width // heads, width) if "output" in name else (width, heads, width // heads)
                weight = weight.T.reshape(split)
                bias = bias if "output" in name else bias.reshape(heads, -1)
            elif "norm" not in name:
                weight = weight.T
            found |= {f"{layer}/{name}/vars/0": weight, f"{layer}/{name}/vars/1": bias}
    return found


def write_h5(path: Path, datasets: dict[str, np.ndarray], **names: str) -> None:
    """Write datasets by path; `names` are the layers' own, which Keras keeps beside the variables."""
    with h5py.File(path, "w") as file:
        for name, array in datasets.items():
            file[name] = np.ascontiguousarray(array)
        for group, name in names.items():
            file.require_group(f"layers/{group}/vars").attrs["name"] = name


def write_preset(
    folder: Path, kind: str = "BertBackbone", task: str | None = None, seed: int = 0, **of_task: Any
) -> dict[str, np.ndarray]:
    """Write a preset; return Hugging Face's tensors of the same network. `of_task` is the task's configuration."""
    tensors = tensors_of(TINY, seed=seed)
    heads, width = TINY["num_attention_heads"], TINY["hidden_size"]
    config = {
        "vocabulary_size": TINY["vocab_size"],
        "num_layers": TINY["num_hidden_layers"],
        "num_heads": heads,
        "hidden_dim": width,
        "intermediate_dim": TINY["intermediate_size"],
        "dropout": 0.2,
        "max_sequence_length": TINY["max_position_embeddings"],
    }
    if kind in ("BertBackbone", "ElectraBackbone"):
        config["num_segments"] = TINY["type_vocab_size"]
    if kind == "ElectraBackbone":
        config["vocab_size"], config["embedding_dim"] = config.pop("vocabulary_size"), width
    (folder / "assets" / "tokenizer").mkdir(parents=True)
    write_h5(
        folder / "model.weights.h5",
        weights_of(tensors, heads, kind),
        transformer_encoder="transformer_layer_0",
        transformer_encoder_1="transformer_layer_1",
        dropout="embeddings_dropout",
    )
    (folder / "config.json").write_text(json.dumps(described(kind, name="backbone", **config)))
    if kind == "RobertaBackbone":
        pieces = {name: number for number, name in enumerate(["<s>", "<pad>", "</s>", "<mask>", *"abcdefgo", "go"])}
        (folder / "assets" / "tokenizer" / "vocabulary.json").write_text(json.dumps(pieces))
        (folder / "assets" / "tokenizer" / "merges.txt").write_text("#version: 0.2\ng o\n")
        tokenizer = described("RobertaTokenizer", add_prefix_space=False)
    else:
        (folder / "assets" / "tokenizer" / "vocabulary.txt").write_text("\n".join(VOCABULARY) + "\n")
        tokenizer = described(kind.replace("Backbone", "Tokenizer"), **TOKENIZER)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "metadata.json").write_text(json.dumps({"keras_version": "3.15.1", "keras_hub_version": "0.32.0"}))
    if task:
        (folder / "task.json").write_text(json.dumps(described(task, **of_task)))
        (folder / "preprocessor.json").write_text(json.dumps(described(f"{task}Preprocessor", sequence_length=24)))
    if "num_classes" in of_task:
        draw = np.random.default_rng(seed + 1)
        sizes = [of_task["num_classes"]] if kind == "BertBackbone" else [width, of_task["num_classes"]]
        head = {}
        for number, size in enumerate(sizes):
            name = "layers/dense" + (f"_{number}" if number else "")
            kernel, bias = draw.normal(size=(width, size)), draw.normal(size=size)
            head |= {f"{name}/vars/0": kernel.astype(np.float32), f"{name}/vars/1": bias.astype(np.float32)}
        write_h5(folder / "task.weights.h5", {**head, "optimizer/vars/0": np.zeros((), np.int32)}, dropout="dropout")
    return tensors
