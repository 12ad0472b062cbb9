"""Presets of KerasHub: names, settings of its classes, tokenizer, heads, embedders, and what is wrong with a folder."""

import json

import h5py
import numpy as np
import pytest
from keras_hub_presets import described, write_h5, write_preset
from safetensors.numpy import load_file
from text_models import TEXTS, TINY, write_text_folder

import tlx
from tlx.errors import ConfigError, UnsafeFileError, WeightsError
from tlx.presets import ConvertOptions, convert_weights, export_weights
from tlx.presets.conversion import check_folder

ALBERT = json.dumps(described("AlbertBackbone", vocabulary_size=3))
CLASSIFIER = {"num_classes": 3, "activation": "linear", "dropout": 0.3}


def config_of(folder, name="config.json", **changes):
    """Change keys of what a configuration of Keras holds below 'config'."""
    content = json.loads((folder / name).read_text())
    inside = {key: value for key, value in (content["config"] | changes).items() if value is not None}
    (folder / name).write_text(json.dumps(content | {"config": inside}))


def hidden(base, texts=TEXTS):
    spec = base.preprocess
    batch = spec.on_device(spec.collate(list(texts)))
    return np.asarray(base.model.apply(base.variables, batch, method="features")["hidden"])


@pytest.mark.slow
def test_a_preset_is_the_network_that_hugging_face_writes_with_tanh(tmp_path):
    tensors = write_preset(tmp_path / "preset")
    base = tlx.load(tmp_path / "preset")
    theirs = tlx.load(write_text_folder(tmp_path / "hf", TINY | {"hidden_act": "gelu_new"}, tensors))
    assert (base.config.pool, base.stages, base.preprocess.max_length) == ("pooler", theirs.stages, 40)
    assert base.config.settings.hidden_dropout_prob == base.config.settings.attention_probs_dropout_prob == 0.2
    assert base.card["settings"] == "gelu_new and epsilon 1e-12, as KerasHub's BertBackbone says"
    np.testing.assert_array_equal(hidden(base), hidden(theirs))
    erf = tlx.load(write_text_folder(tmp_path / "erf", TINY, tensors))
    assert np.abs(hidden(base) - hidden(erf)).max() > 1e-5


@pytest.mark.parametrize(
    ("kind", "activation", "epsilon"),
    [("DistilBertBackbone", "gelu", 1e-12), ("RobertaBackbone", "gelu", 1e-5), ("ElectraBackbone", "gelu_new", 1e-12)],
)
def test_settings_are_those_of_the_class(kind, activation, epsilon, tmp_path):
    tensors = write_preset(tmp_path / "preset", kind)
    base = tlx.load(tmp_path / "preset")
    settings = base.config.settings
    assert (settings.hidden_act, settings.layer_norm_eps, settings.first_position) == (activation, epsilon, 0)
    assert (base.config.pool, settings.type_vocab_size) == ("average", 2 if kind == "ElectraBackbone" else 0)
    query = base.variables["params"]["base"]["layer1"]["attention"]["query"]["kernel"]
    np.testing.assert_array_equal(query, tensors["encoder.layer.1.attention.self.query.weight"].T)
    out = base.variables["params"]["base"]["layer0"]["attention"]["output"]["kernel"]
    np.testing.assert_array_equal(out, tensors["encoder.layer.0.attention.output.dense.weight"].T)


def test_electra_projects_embeddings_of_another_width(tmp_path):
    write_preset(tmp_path / "preset", "ElectraBackbone")
    config_of(tmp_path / "preset", embedding_dim=8)
    draw = np.random.default_rng(0)
    with h5py.File(tmp_path / "preset" / "model.weights.h5", "a") as file:
        for name in ("dense/vars/0", "dense/vars/1"):
            file.move(f"layers/{name}", f"layers/{name.replace('dense', 'dense_1')}")
        for name in ("reversible_embedding", "position_embedding", "embedding", "layer_normalization"):
            for own in list(file[f"layers/{name}/vars"]):
                old = file[f"layers/{name}/vars/{own}"][()]
                del file[f"layers/{name}/vars/{own}"]
                file[f"layers/{name}/vars/{own}"] = old[..., :8]
        file["layers/dense/vars/0"] = draw.normal(size=(8, 12)).astype(np.float32)
        file["layers/dense/vars/1"] = np.zeros(12, np.float32)
    base = tlx.load(tmp_path / "preset")
    assert base.variables["params"]["base"]["embeddings"]["projection"]["kernel"].shape == (8, 12)


@pytest.mark.parametrize(
    ("kind", "pool", "leaves"),
    [
        ("BertBackbone", "pooler", {"pooler", "logits"}),
        ("DistilBertBackbone", "cls", {"hidden1", "logits"}),
        ("RobertaBackbone", "pooler", {"pooler", "logits"}),
    ],
)
def test_a_classifier_keeps_its_head(kind, pool, leaves, tmp_path):
    write_preset(tmp_path / "preset", kind, kind.replace("Backbone", "TextClassifier"), **CLASSIFIER)
    model = tlx.load(tmp_path / "preset")
    assert (model.classes, model.config.pool, model.config.dropout) == (("class 0", "class 1", "class 2"), pool, 0.3)
    assert set(model.variables["params"]["head"]) == leaves
    assert model.preprocess.max_length == 24
    with h5py.File(tmp_path / "preset" / "task.weights.h5") as file:
        last = "dense" if kind == "BertBackbone" else "dense_1"
        np.testing.assert_array_equal(
            model.variables["params"]["head"]["logits"]["kernel"], file[f"layers/{last}/vars/0"][()]
        )
    assert tlx.load(tmp_path / "preset", head=False).classes == ()


def test_an_embedder_pools_and_normalises_as_its_task_says(tmp_path):
    write_preset(tmp_path / "preset", task="BertTextEmbedder", pooling_mode="max", normalize=False)
    base = tlx.load(tmp_path / "preset")
    assert (base.config.pool, base.config.normalize, base.preprocess.max_length) == ("max", False, 24)
    config_of(tmp_path / "preset", "task.json", pooling_mode="mean", normalize=True)
    base = tlx.load(tmp_path / "preset")
    assert (base.config.pool, base.config.normalize) == ("average", True)


def test_sigmoids_are_several_labels(tmp_path):
    write_preset(tmp_path / "preset", task="BertTextClassifier", **CLASSIFIER | {"activation": "sigmoid"})
    assert tlx.load(tmp_path / "preset").objective == tlx.MultiLabel()


def test_special_pieces_in_texts_are_read_as_the_preset_says(tmp_path):
    write_preset(tmp_path / "preset")
    assert tlx.load(tmp_path / "preset").preprocess.parse_special is False
    config_of(tmp_path / "preset", "tokenizer.json", special_tokens_in_strings=True)
    assert tlx.load(tmp_path / "preset").preprocess.parse_special is True


def test_a_conversion_is_certified_with_whose_settings_they_are(tmp_path):
    tensors = write_preset(tmp_path / "preset", task="BertTextClassifier", **CLASSIFIER)
    done = convert_weights(tmp_path / "preset", tmp_path / "converted")
    assert (done.arch, done.coverage) == ("keras_hub/bert", 1.0)
    said = json.loads(done.certificate.read_text())
    assert set(said["source"]["files"]) == {"model.weights.h5", "task.weights.h5"}
    assert "BertBackbone" in said["text"]["settings_of"]
    assert said["text"]["settings"]["hidden_act"] == "gelu_new"
    checked = check_folder(tmp_path / "converted")
    assert checked.proven == checked.leaves
    export_weights(tmp_path / "converted", tmp_path / "back", to="hf")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert {name: back[f"bert.{name}"].tolist() for name in tensors} == {n: t.tolist() for n, t in tensors.items()}
    logits = tlx.predict(tlx.load(tmp_path / "back"), list(TEXTS)).predictions
    np.testing.assert_allclose(logits, tlx.predict(tlx.load(tmp_path / "converted"), list(TEXTS)).predictions)


def test_a_roberta_without_rows_for_padding_is_not_written_for_transformers(tmp_path, refuses):
    write_preset(tmp_path / "preset", "RobertaBackbone")
    convert_weights(tmp_path / "preset", tmp_path / "converted")
    with refuses(ConfigError, "positions of padding", "--to hf"):
        export_weights(tmp_path / "converted", tmp_path / "back", to="hf")


def test_a_file_of_the_preset_stands_for_it(tmp_path):
    write_preset(tmp_path / "preset")
    done = convert_weights(tmp_path / "preset" / "model.weights.h5", tmp_path / "converted")
    assert done.arch == "keras_hub/bert"


def without(name):
    return lambda folder: (folder / name).unlink()


def linked(folder):
    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink("elsewhere.h5", "/a")


def twice(folder):
    with h5py.File(folder / "model.weights.h5", "a") as file:
        file["layers/_dense/vars/0"] = file["layers/dense/vars/0"][()]


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (lambda folder: config_of(folder, num_heads=None), WeightsError, ["config.json", "num_heads"]),
        (lambda folder: config_of(folder, num_layers=3), WeightsError, ["transformer_encoder_2", "missing"]),
        (lambda folder: config_of(folder, num_layers=1), WeightsError, ["transformer_encoder_1", "no use"]),
        (lambda folder: config_of(folder, vocabulary_size=9), WeightsError, ["reversible_embedding/0"]),
        (lambda folder: config_of(folder, hidden_dim="12"), WeightsError, ["hidden_size", "'12'"]),
        (
            lambda folder: (folder / "config.json").write_text(ALBERT),
            WeightsError,
            ["AlbertBackbone", "BertBackbone"],
        ),
        (without("model.weights.h5"), WeightsError, ["model.weights.h5"]),
        (lambda folder: write_h5(folder / "model.weights.h5", {"a": np.zeros(2)}), WeightsError, ["model.weights.h5"]),
        (linked, UnsafeFileError, ["model.weights.h5", "layers/dense/vars/0"]),
        (twice, WeightsError, ["two tensors", "dense/0"]),
        (without("tokenizer.json"), WeightsError, ["tokenizer.json", "save_to_preset"]),
        (lambda folder: (folder / "tokenizer.json").write_text("[1]"), WeightsError, ["tokenizer.json"]),
        (without("assets/tokenizer/vocabulary.txt"), WeightsError, ["assets/tokenizer", "vocabulary.txt"]),
        (
            lambda folder: config_of(folder, "tokenizer.json", suffix_indicator="@@"),
            WeightsError,
            ["tokenizer.json", "suffix_indicator", "@@"],
        ),
        (
            lambda folder: config_of(folder, "task.json", num_classes=4),
            WeightsError,
            ["task.json", "num_classes", "4", "3"],
        ),
        (
            lambda folder: config_of(folder, "task.json", activation="tanh"),
            WeightsError,
            ["task.json", "activation", "--no-head"],
        ),
        (
            lambda folder: config_of(folder, "task.json", pooling_mode="sum"),
            WeightsError,
            ["task.json", "pooling_mode", "sum"],
        ),
    ],
)
def test_what_is_wrong_with_a_preset_is_named(fault, error, words, tmp_path, refuses):
    write_preset(tmp_path / "preset", task="BertTextClassifier", **CLASSIFIER)
    fault(tmp_path / "preset")
    with refuses(error, *words):
        tlx.load(tmp_path / "preset")
    with refuses(error, *words):
        convert_weights(tmp_path / "preset", tmp_path / "converted")


def test_the_configuration_of_the_task_can_be_left_out(tmp_path):
    write_preset(tmp_path / "preset", task="BertTextEmbedder", pooling_mode="sum")
    done = convert_weights(
        tmp_path / "preset", tmp_path / "converted", "keras_hub/bert", ConvertOptions(use_hub_config=False)
    )
    assert done.coverage == 1.0
