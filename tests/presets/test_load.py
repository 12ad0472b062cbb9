"""Presets are what their cards say, names and folders are told apart, and a base takes a new head."""

import json
import shutil

import numpy as np
import pytest
from cases import assert_same_bits

import tlx
from tlx.errors import ConfigError
from tlx.presets import PRESETS
from tlx.tree import label_tree, summarize

TOTALS = {"cnn-mnist": 93_322, "mlp-mnist": 6_366}
STAGES = {"cnn-mnist": ("conv1", "conv2", "conv3"), "mlp-mnist": ("dense1", "dense2")}


def test_the_presets_are_these():
    assert tlx.list_presets() == tuple(sorted(TOTALS))


@pytest.mark.parametrize("name", TOTALS)
def test_a_preset_has_just_so_many_parameters(name):
    preset = tlx.load(name)
    assert summarize(preset.variables).total == TOTALS[name]
    assert preset.name == name
    assert preset.stages == STAGES[name]
    assert preset.classes == tuple("0123456789")


def test_the_parameters_of_the_cnn_by_layer():
    stages = summarize(tlx.load("cnn-mnist").variables).by_stage()
    assert [stages[stage]["parameters"] for stage in STAGES["cnn-mnist"]] == [320, 18_496, 36_928]
    head = {row.path: row.parameters for row in summarize(tlx.load("cnn-mnist").variables).rows if row.stage == "head"}
    assert head["head/hidden1/kernel"] + head["head/hidden1/bias"] == 36_928
    assert head["head/logits/kernel"] + head["head/logits/bias"] == 650


@pytest.mark.parametrize("name", TOTALS)
def test_a_card_says_where_the_weights_come_from(name):
    card = tlx.load(name).card
    assert set(card) == {"description", "data", "accuracy", "licence", "command"}
    assert card["licence"] == "Apache-2.0"
    assert f"mnist_presets.py {name} " in card["command"]
    page = (PRESETS / name / "README.md").read_text(encoding="utf-8")
    for value in card.values():
        assert value in page
    assert json.loads((PRESETS / name / "config.json").read_text())["weights"]["sha256"] in page


@pytest.mark.slow
@pytest.mark.parametrize(("name", "at_least"), [("cnn-mnist", 0.99), ("mlp-mnist", 0.85)])
def test_the_card_tells_the_truth(name, at_least, shared_data):
    preset, data = tlx.load(name), tlx.load_data(f"idx:{shared_data}/mnist")
    scores = tlx.evaluate(preset, data.test)
    assert len(scores.labels) == 10_000
    assert scores.accuracy >= at_least
    told, _, where = preset.card["accuracy"].partition(" ")
    assert where == "on MNIST's 10000 test images"
    # The last digit may differ on another processor, where sums round otherwise.
    assert scores.accuracy == pytest.approx(float(told), abs=2.1e-4)


# Names and folders


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cnn-mnits", "did you mean 'cnn-mnist'"),
        ("mlp_mnist", "did you mean 'mlp-mnist'"),
        ("vgg16", "did you mean 'keras/vgg16'"),
        ("nothing-like-it", "tlx presets lists the presets"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, hint):
    with pytest.raises(ConfigError, match=f"no preset and no folder is called '{name}': .*{hint}") as stop:
        tlx.load(name)
    assert stop.value.exit_code == 2


def test_published_weights_are_no_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"convert their file first \(tlx convert FILE FOLDER --arch keras/vgg16\)"):
        tlx.export_weights("keras/vgg16", tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["", "a" * 300, "nul\0", "/dev/null", "~", "../.."], ids=repr)
def test_odd_names_are_refused_like_others(tmp_path, monkeypatch, name):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(ConfigError):
        tlx.load(name)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "export").mkdir()
    with pytest.raises(ConfigError, match=r"neither a finished run nor an export \(config.json is missing\)"):
        tlx.load(tmp_path)


@pytest.mark.parametrize("name", ["m.onnx", "m.pth", "m.h5", "m"])
def test_a_file_of_weights_is_to_be_converted_first(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        ConfigError, match=f"{name}: a file, .*: convert .* first .tlx convert {tmp_path}/{name} FOLDER"
    ):
        tlx.load(tmp_path / name)


def test_a_run_stands_for_its_export(tmp_path):
    shutil.copytree(PRESETS / "mlp-mnist", tmp_path / "run" / "export")
    assert_same_bits(tlx.load(tmp_path / "run").variables, tlx.load("mlp-mnist").variables)


# A new head


def test_a_new_head_of_47_classes_has_235_parameters_to_train():
    letters = tlx.load("mlp-mnist").with_head(tuple(f"letter {i}" for i in range(47)))
    (phase,) = tlx.recipes.probe(letters.stages, epochs=1)
    summary = summarize(letters.variables, label_tree(letters.variables["params"], phase.rules))
    assert summary.totals() == {"total": 6551, "base": 6316, "head": 235, "trainable": 235, "frozen": 6316}


def test_a_new_head_leaves_the_base_and_the_preset_alone():
    preset = tlx.load("cnn-mnist")
    before = {path: np.array(leaf) for path, leaf in tlx.tree.flatten(preset.variables).items()}
    fresh = preset.with_head(("a", "b"), hidden=(7,), pool="average", dropout=0.5)
    assert_same_bits(fresh.variables["params"]["base"], preset.variables["params"]["base"])
    assert_same_bits(preset.variables, before)
    assert fresh.variables["params"]["head"]["hidden1"]["kernel"].shape == (64, 7)
    assert (fresh.config.classes, fresh.config.hidden, fresh.config.pool, fresh.config.dropout) == (
        2,
        (7,),
        "average",
        0.5,
    )
    assert fresh.card == {"licence": "Apache-2.0"}  # what was measured was another model
    assert preset.with_head(("a", "b")).config.pool == "flatten"


@pytest.mark.slow
def test_a_linear_head_begins_at_zero_and_one_with_hidden_layers_as_the_seed_says():
    preset = tlx.load("mlp-mnist")
    one, same, other = (
        preset.with_head(("a", "b"), hidden=(7,), seed=seed).variables["params"]["head"] for seed in (0, 0, 1)
    )
    assert_same_bits(one, same)
    config = tlx.models.ModelConfig("mlp", 2, (28, 28, 1), hidden=(7,), pool="flatten")
    assert_same_bits(one, tlx.models.init_variables(config, seed=0)["params"]["head"])
    for layer in ("hidden1", "logits"):
        assert one[layer]["kernel"].tobytes() != other[layer]["kernel"].tobytes()
    assert not np.any(preset.with_head(("a", "b")).variables["params"]["head"]["logits"]["kernel"])
    assert preset.with_head(()).classes == ()
