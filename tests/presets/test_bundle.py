"""A saved model loads to the same bits, and what is not one is refused by name."""

import hashlib
import json
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest

import tlx
from tlx.errors import ConfigError, StorageError, WeightsError
from tlx.models import ModelConfig, init_variables
from tlx.tree import flatten

PACKAGED = tlx.presets.PRESETS


@pytest.fixture
def copy(tmp_path):
    """A copy of the packaged MLP that a test may damage."""
    return shutil.copytree(PACKAGED / "mlp-mnist", tmp_path / "copy")


def store(folder, tensors):
    """Replace a bundle's weights, with the hash that belongs to them."""
    from safetensors.numpy import save

    content = tensors if isinstance(tensors, bytes) else save(tensors)
    (folder / "model.safetensors").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["weights"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def tensors_of(folder):
    return flatten(tlx.load(folder).variables)


def test_saving_and_loading_changes_no_bit(tmp_path):
    before = tlx.load("mlp-mnist")
    kernel = np.array(before.variables["params"]["head"]["logits"]["kernel"])
    kernel.flat[:2] = -0.0, np.float32(1e-45)
    before.variables["params"]["head"]["logits"]["kernel"] = kernel
    after = tlx.load(tlx.save(before, tmp_path / "saved"))
    assert flatten(after.variables).keys() == flatten(before.variables).keys()
    for path, leaf in flatten(before.variables).items():
        assert np.asarray(leaf).tobytes() == np.asarray(flatten(after.variables)[path]).tobytes(), path
    assert replace(after, variables=None) == replace(before, variables=None)


def test_a_place_in_use_is_refused(tmp_path):
    (tmp_path / "mine").write_text("precious")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ConfigError, match="already there"):
            tlx.save(tlx.load("mlp-mnist"), place)
    with pytest.raises(StorageError, match="mine"):
        tlx.save(tlx.load("mlp-mnist"), tmp_path / "mine" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def missing(tensors):
    del tensors["params/head/logits/bias"]


def extra(tensors):
    tensors["params/head/more"] = np.zeros(2, np.float32)


def shape(tensors):
    tensors["params/head/logits/bias"] = np.zeros(3, np.float32)


def dtype(tensors):
    tensors["params/head/logits/bias"] = np.zeros(10, np.int8)


def nan(tensors):
    tensors["params/head/logits/bias"] = np.full(10, np.nan, np.float32)


def none(tensors):
    tensors.clear()


@pytest.mark.parametrize("fault", [missing, extra, shape, dtype, nan, none])
def test_tensors_that_do_not_fit(copy, fault):
    tensors = {path: np.array(leaf) for path, leaf in tensors_of(copy).items()}
    fault(tensors)
    store(copy, tensors)
    with pytest.raises(WeightsError, match=r"model\.safetensors: .*params/") as caught:
        tlx.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        b"\x80\x04N.",
    ],
)
def test_files_that_are_no_weights(copy, content):
    store(copy, content)
    with pytest.raises(WeightsError, match=r"model\.safetensors") as caught:
        tlx.load(copy)
    assert "\n" not in str(caught.value)


def test_every_changed_byte_is_seen(copy):
    path = copy / "model.safetensors"
    good = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(good), 50):
        bad = bytearray(good)
        bad[place] ^= 1 << (int(place) % 8)
        path.write_bytes(bad)
        with pytest.raises(WeightsError, match="SHA-256"):
            tlx.load(copy)
    path.write_bytes(good[:-1])
    with pytest.raises(WeightsError, match="SHA-256"):
        tlx.load(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.pop("model"),
        lambda config: config.pop("weights"),
        lambda config: config.update(format=2),
        lambda config: config.update(classes=["one"]),
        lambda config: config.update(classes=["same"] * 10),
        lambda config: config.update(classes="0123456789"),
        lambda config: config["model"].update(architecture="transformer"),
        lambda config: config["model"].update(hidden="many"),
        lambda config: config["model"].update(input_shape=[28, 28]),
        lambda config: config["model"].update(more=1),
        lambda config: config["preprocess"].update(height=-1),
        lambda config: config["preprocess"].update(heigth=28),
        lambda config: config["preprocess"].update(height=32),
    ],
)
def test_configurations_that_tlx_did_not_write(copy, change):
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"config\.json") as caught:
        tlx.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_configurations(copy, content):
    (copy / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        tlx.load(copy)


def test_unknown_names_get_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'cnn-mnist'"):
        tlx.load("cnn-mnst")
    with pytest.raises(ConfigError, match="neither a finished run nor an export"):
        tlx.load(tmp_path)


def test_a_new_head_keeps_the_base():
    base = tlx.load("mlp-mnist")
    letters = base.with_head(tuple(map(str, range(47))), seed=3)
    assert base.stages == letters.stages == ("dense1", "dense2")
    before, after = (flatten(model.variables["params"]["base"]) for model in (base, letters))
    assert all((np.asarray(before[path]) == np.asarray(after[path])).all() for path in before)
    labels = tlx.tree.label_tree(letters.variables["params"], tlx.recipes.probe(base.stages)[0].rules)
    summary = tlx.tree.summarize(letters.variables, labels)
    assert (summary.trainable, summary.frozen, summary.total) == (235, 6_316, 6_551)
    fresh = init_variables(ModelConfig("mlp", 47, (28, 28, 1), pool="flatten"), seed=3)
    np.testing.assert_array_equal(
        letters.variables["params"]["head"]["logits"]["kernel"], fresh["params"]["head"]["logits"]["kernel"]
    )


@pytest.mark.parametrize(("name", "total"), [("cnn-mnist", 93_322), ("mlp-mnist", 6_366)])
def test_packaged_presets_are_whole(name, total):
    preset = tlx.load(name)
    assert tlx.tree.summarize(preset.variables).total == total
    assert preset.classes == tuple("0123456789")
    assert {"description", "data", "accuracy", "licence", "command"} <= set(preset.card)
    assert preset.card["licence"] == "Apache-2.0"


@pytest.mark.parametrize(("name", "at_least"), [("cnn-mnist", 0.99), ("mlp-mnist", 0.85)])
def test_the_card_tells_the_truth(name, at_least, shared_data):
    preset, data = tlx.load(name), tlx.load_data(f"idx:{shared_data}/mnist")
    scores = tlx.evaluate(preset.model, preset.variables, data.test, preset.preprocess)
    assert scores.accuracy >= at_least
    # The last digit may differ on another processor, where sums round otherwise.
    assert scores.accuracy == pytest.approx(float(preset.card["accuracy"].split()[0]), abs=2.1e-4)
