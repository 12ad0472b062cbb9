"""Text models written for others: Google's checkpoints and KerasHub's presets, read again to the same bytes."""

import dataclasses
import json

import h5py
import jax
import numpy as np
import pytest
from keras_hub_presets import write_preset
from text_models import TINY, write_text_folder

import tlx
from tlx.convert.source import Tensor
from tlx.errors import ConfigError, StorageError
from tlx.presets import ConvertOptions, convert_weights, export_weights
from tlx.presets.keras_hub_export import export_keras_hub
from tlx.tree.paths import flatten


def converted(tmp_path, changes=None, **how):
    folder = write_text_folder(tmp_path / "tiny", TINY | (changes or {}), **how)
    return convert_weights(folder, tmp_path / "converted").path


def assert_same_weights(first, second):
    assert jax.tree.structure(first.variables) == jax.tree.structure(second.variables)
    jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)


def test_a_checkpoint_as_google_writes_them(tmp_path):
    path = converted(tmp_path)
    done = export_weights(path, tmp_path / "google", "google")
    assert (done.arch, done.notes) == ("google/bert", ())
    assert sorted(each.name for each in done.path.iterdir()) == [
        *("bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index", "checkpoint"),
        *("tokenizer_config.json", "vocab.txt"),
    ]
    before, after = tlx.load(path), tlx.load(done.path)
    assert_same_weights(before, after)
    assert (after.config, after.preprocess.to_dict()) == (before.config, before.preprocess.to_dict())


def test_a_large_index_has_several_blocks(tmp_path):
    path = converted(tmp_path, {"num_hidden_layers": 12})
    assert_same_weights(tlx.load(path), tlx.load(export_weights(path, tmp_path / "google", "google").path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"layer_norm_eps": 1e-5}, "layer_norm_eps 1e-12, not 1e-05"), ({}, "classes")],
)
@pytest.mark.parametrize("to", ["google", "keras_hub"])
def test_what_they_cannot_say_is_refused_and_nothing_is_left(changes, words, to, tmp_path, refuses):
    path = converted(tmp_path, changes, classes=0 if changes else 2)
    with refuses(ConfigError, words):
        export_weights(path, tmp_path / "there", to)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["converted", "tiny"]


@pytest.mark.parametrize("kind", ["BertBackbone", "DistilBertBackbone", "RobertaBackbone", "ElectraBackbone"])
def test_a_preset_comes_back_as_it_was(kind, tmp_path):
    write_preset(tmp_path / "preset", kind)
    path = convert_weights(tmp_path / "preset", tmp_path / "converted").path
    done = export_weights(path, tmp_path / "back", "keras_hub")
    before, after = tlx.load(tmp_path / "preset"), tlx.load(done.path)
    assert done.notes == ()
    assert_same_weights(before, after)
    assert (after.config, after.preprocess.tokenizer) == (before.config, before.preprocess.tokenizer)
    with h5py.File(tmp_path / "preset" / "model.weights.h5") as old, h5py.File(done.path / "model.weights.h5") as new:
        place = "layers/transformer_encoder_1/_self_attention_layer/output_dense/vars/0"
        np.testing.assert_array_equal(old[place], new[place])


def test_a_preset_of_a_bert_says_what_keras_hub_does_otherwise(tmp_path):
    path = converted(tmp_path)
    done = export_weights(path, tmp_path / "preset", "keras_hub")
    assert len(done.notes) == 2
    assert "gelu_new" in done.notes[0]
    assert_same_weights(tlx.load(path), tlx.load(done.path))
    assert json.loads((done.path / "config.json").read_text())["config"]["num_segments"] == 2


def test_a_model_without_a_pooler_is_no_bert_backbone(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    path = convert_weights(folder, tmp_path / "converted").path
    with refuses(ConfigError, "pooler"):
        export_weights(path, tmp_path / "preset", "keras_hub")
    whole = convert_weights(folder, tmp_path / "whole", "hf/bert", ConvertOptions(use_hub_config=False)).path
    export_weights(whole, tmp_path / "preset", "keras_hub")


def test_a_roberta_of_hugging_face_s_loses_its_rows_for_padding(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny", TINY | {"layer_norm_eps": 1e-5})
    model = tlx.load(folder)
    changes = {"first_position": 2, "max_position_embeddings": 38, "type_vocab_size": 1}
    settings = dataclasses.replace(model.config.settings, **changes)
    config = dataclasses.replace(model.config, input_shape=(38,), settings=settings, pool="average")
    spec = dataclasses.replace(model.preprocess, max_length=38)
    model = dataclasses.replace(model, config=config, preprocess=spec)
    leaves = {
        path: Tensor(path, leaf.shape, "float32", lambda leaf=leaf: np.asarray(leaf))
        for path, leaf in flatten(model.variables).items()
    }
    segment = "params/base/embeddings/segment/embedding"
    with refuses(ConfigError, "type_vocab_size 0, not 1"):
        export_keras_hub(model, leaves, tmp_path / "preset", "RobertaBackbone")
    leaves[segment] = Tensor(segment, (1, 12), "float32", lambda: np.zeros((1, 12), np.float32))
    export_keras_hub(model, leaves, tmp_path / "preset", "RobertaBackbone")
    with h5py.File(tmp_path / "preset" / "model.weights.h5") as file:
        rows = file["layers/token_and_position_embedding/position_embedding/vars/0"][:]
    np.testing.assert_array_equal(rows, model.variables["params"]["base"]["embeddings"]["position"]["embedding"][2:])


def test_a_place_that_cannot_be_written_is_named(tmp_path, refuses):
    path = converted(tmp_path)
    (tmp_path / "file").write_text("")
    with refuses(StorageError, "there"):
        export_weights(path, tmp_path / "file" / "there", "google")
