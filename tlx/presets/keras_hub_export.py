"""Write text models as presets of KerasHub, as `read_keras_hub_folder` reads them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlx.convert.keras_hub_file import BACKBONE
from tlx.convert.source import Tensor
from tlx.convert.tables.texts import KERAS_HUB, TEXT_TABLES
from tlx.errors import ConfigError
from tlx.files import write_bytes, write_json
from tlx.presets.converted import Converted
from tlx.presets.keras_hub_folder import CONFIG
from tlx.presets.pretrained import Pretrained
from tlx.presets.text_export import (
    KERAS,
    as_source,
    lines,
    refuse_classes,
    refuse_settings,
    tokens_of,
    word_pieces,
    write_folder,
)
from tlx.text import keras_hub_tokenizer
from tlx.text.tokenizer import PROBE, Tokenizer
from tlx.text.tokens import Tokens

VERSIONS = {"keras_version": "3.15.1", "keras_hub_version": "0.32.0"}  # whose layout of files this is


def export_keras_hub(
    pretrained: Pretrained, leaves: Mapping[str, Tensor], dest: Path, kind: str = "BertBackbone"
) -> Converted:
    """Write a text model as a preset of KerasHub 0.32: the backbone's weights and configuration, and the tokenizer.

    Activation and epsilon stand in KerasHub's code. A model with another kind of GELU is written with a note, as
    KerasHub itself converts it; another epsilon is refused.

    Args:
        pretrained: the model, without classes.
        leaves: its leaves by path.
        dest: the folder to make.
        kind: the class of the backbone.

    Raises:
        ConfigError: for a network or tokenizer that the class does not have, and for classes.
        StorageError: where the folder cannot be written.
    """
    spec, settings = tokens_of(pretrained, "KerasHub", KERAS), pretrained.config.settings
    refuse_classes(pretrained, "the backbones of KerasHub's presets")
    if pretrained.config.pretraining is not None:
        raise ConfigError(f"{pretrained.name}: KerasHub has other heads of pretraining: leave them out (--no-head)")
    family = KERAS_HUB[kind]
    notes = []
    act = family.fixed["hidden_act"]
    if settings.hidden_act != act and {settings.hidden_act, act} == {"gelu", "gelu_new"}:
        notes.append(
            f"{pretrained.name} computes {settings.hidden_act}, KerasHub's {kind} {act}: outputs differ a little"
        )
        settings = replace(settings, hidden_act=act)
    if settings.hidden_dropout_prob != settings.attention_probs_dropout_prob:
        notes.append(f"KerasHub's {kind} has one rate of dropout: {settings.hidden_dropout_prob}")
    first = settings.first_position if kind == "RobertaBackbone" else 0
    settings = replace(settings, first_position=settings.first_position - first)
    segment = leaves.get("params/base/embeddings/segment/embedding")
    if settings.type_vocab_size == 1 and segment is not None and not np.any(segment.read()):
        settings = replace(settings, type_vocab_size=0)  # transformers gives RoBERTa one segment, of zeros
    pretrained = replace(pretrained, config=replace(pretrained.config, settings=settings))
    refuse_settings(pretrained, replace(settings, **family.fixed), f"KerasHub's {kind}", settings)
    table = TEXT_TABLES[family.table]
    if kind == "BertBackbone" and pretrained.config.pool != "pooler":
        raise ConfigError(
            f"{pretrained.name}: has no pooler, and KerasHub's {kind} does: convert its folder again with --arch "
            "hf/bert --no-hub-config, which leaves out how sentences are pooled, or write --to hf"
        )
    datasets = {}
    for tensor in as_source(table, pretrained, leaves, ""):
        datasets[_place(tensor.name)] = _split(tensor, settings.num_attention_heads, first)
    files, split = _tokenizer_files(pretrained.name, spec, kind)
    notes += split
    inside = {
        key: getattr(settings, name) for name, key in reversed(list(family.names.items())) if name not in family.fixed
    }
    if kind == "ElectraBackbone" and inside["embedding_dim"] is None:
        inside["embedding_dim"] = settings.hidden_size

    def write(folder: Path) -> None:
        _write_h5(folder / BACKBONE, datasets)
        write_json(folder / CONFIG, _described(kind, {"name": "backbone", "trainable": True, **inside}))
        write_json(folder / "metadata.json", VERSIONS)
        (folder / keras_hub_tokenizer.ASSETS).mkdir(parents=True)
        for name, content in files.items():
            write_bytes(folder / name, content)

    write_folder(dest, write)
    return Converted(dest, table.name, 1.0, preprocessing="tokenizer.json", notes=tuple(notes))


def _tokenizer_files(model: str, spec: Tokens, kind: str) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of a preset's tokenizer, and a note where its rules make other pieces of odd texts."""
    tokenizer = spec.tokenizer
    assert isinstance(tokenizer, Tokenizer)  # of word vectors it is another
    said = json.loads(tokenizer.json)
    assets, notes = keras_hub_tokenizer.ASSETS, []
    cased: dict[str, Any] = {"special_tokens_in_strings": spec.parse_special}
    if said["model"]["type"] == "BPE":
        pieces, merges = said["model"]["vocab"], said["model"]["merges"]
        for added in said["added_tokens"]:
            pieces[added["content"]] = added["id"]
        merged = ["#version: 0.2", *(pair if isinstance(pair, str) else " ".join(pair) for pair in merges)]
        files = {
            f"{assets}/{keras_hub_tokenizer.PIECES}": json.dumps(pieces, ensure_ascii=False).encode(),
            f"{assets}/{keras_hub_tokenizer.MERGES}": lines(merged),
        }
        cased = {"add_prefix_space": bool((said["pre_tokenizer"] or {}).get("add_prefix_space", False))}
        rules = keras_hub_tokenizer.byte_pairs(pieces, merged[1:], prefix_space=cased["add_prefix_space"])
        same = rules.encode([PROBE])[0].tolist() == tokenizer.encode([PROBE])[0].tolist()
    else:

        def build(pieces: Sequence[str], *, lower: bool, accents: bool, chinese: bool) -> Tokenizer:
            return keras_hub_tokenizer.word_pieces(pieces, lower=lower, strip_accents=not accents, chinese=chinese)

        found, choice = word_pieces(spec, build)
        same = found is not None
        if not same:
            plain, choice = word_pieces(spec, Tokenizer.from_vocabulary)
            if plain is None:
                raise ConfigError(
                    f"{model}: its tokenizer is no vocabulary of word pieces by BERT's rules, and KerasHub has no "
                    "others: write --to hf"
                )
        lower, accents, chinese = choice
        cased |= {"lowercase": lower, "strip_accents": not accents, "split_on_cjk": chinese}
        cased |= {"split": True, "suffix_indicator": "##", "oov_token": "[UNK]"}
        files = {f"{assets}/{keras_hub_tokenizer.WORD_PIECES}": lines(tokenizer.pieces)}
    if not same:
        notes.append("KerasHub splits some texts otherwise (odd blanks, control characters): its rules are its own")
    name = kind.replace("Backbone", "Tokenizer")
    described = _described(name, {"name": "tokenizer", "trainable": True, **cased})
    return files | {keras_hub_tokenizer.CONFIG: json.dumps(described, indent=2).encode()}, notes


def _described(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an object as Keras does."""
    module = kind.replace("Backbone", "").replace("Tokenizer", "")
    small = {"Bert": "bert", "DistilBert": "distil_bert", "Roberta": "roberta", "Electra": "electra"}[module]
    what = "backbone" if kind.endswith("Backbone") else "tokenizer"
    return {
        "module": f"keras_hub.src.models.{small}.{small}_{what}",
        "class_name": kind,
        "config": dict(config),
        "registered_name": f"keras_hub>{kind}",
    }


def _place(name: str) -> str:
    """Return where a tensor stands in the file (Keras 3.15): attributes of an encoder's layer begin with '_'.

    >>> _place("transformer_encoder/self_attention_layer/query_dense/0")
    'layers/transformer_encoder/_self_attention_layer/query_dense/vars/0'
    """
    *parts, number = name.split("/")
    if parts[0].startswith("transformer_encoder"):
        parts[1] = f"_{parts[1]}"
    return "/".join(["layers", *parts, "vars", number])


def _split(tensor: Tensor, heads: int, first: int) -> Tensor:
    """Part the axes of heads, as Keras's attention has them, and leave out rows of positions before the `first`."""
    if tensor.name.endswith("position_embedding/0") and first:
        shape = (tensor.shape[0] - first, *tensor.shape[1:])
        return replace(tensor, shape=shape, read=lambda: tensor.read()[first:])
    if "/self_attention_layer/" not in tensor.name:
        return tensor
    shape = tensor.shape
    if "output_dense" in tensor.name:
        shape = (heads, shape[0] // heads, shape[1]) if len(shape) == 2 else shape
    else:
        shape = (*shape[:-1], heads, shape[-1] // heads)
    return replace(tensor, shape=shape, read=lambda: tensor.read().reshape(shape))


def _write_h5(path: Path, datasets: Mapping[str, Tensor]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for place, tensor in datasets.items():
            file.create_dataset(place, data=tensor.read())
