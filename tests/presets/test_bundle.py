"""A saved model loads to the same bits, and what is not one is refused by name."""

import hashlib
import json
import math
import re
import shutil
import struct
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import assert_same_bits, plant
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as to_safetensors

import tlx
from tlx.errors import ConfigError, StorageError, WeightsError
from tlx.presets import PRESETS, load_bundle
from tlx.tree import flatten

SOUND = PRESETS / "mlp-mnist"
BIAS = "params/head/logits/bias"


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(SOUND, tmp_path / "bundle")


def edit(bundle, **changes):
    """Change the configuration; 'model__classes' names a key below 'model', None a key to remove."""
    config = json.loads((bundle / "config.json").read_text())
    for name, value in changes.items():
        *above, last = name.split("__")
        place = config
        for key in above:
            place = place[key]
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    (bundle / "config.json").write_text(json.dumps(config))


REMOVED = ...


def put(bundle, content):
    """Replace the weights, and own up to it: the configuration's SHA-256 is that of the new ones."""
    content = content if isinstance(content, bytes) else to_safetensors(content)
    (bundle / "model.safetensors").write_bytes(content)
    edit(bundle, weights__sha256=hashlib.sha256(content).hexdigest())


def tensors(**changes):
    return {**tensors_of((SOUND / "model.safetensors").read_bytes()), **changes}


def refused(bundle, name):
    """Return the one line with which a bundle is refused; it names the file."""
    with pytest.raises(WeightsError) as stop:
        load_bundle(bundle)
    message = str(stop.value)
    assert stop.value.exit_code == 3
    assert message.startswith(f"{bundle / name}: ")
    assert "\n" not in message
    return message


# Save and load


def model(**changes):
    config = tlx.models.ModelConfig("cnn", 3, (28, 28, 1), hidden=(5,), pool="average", dropout=0.25)
    whole = {
        "name": "mine",
        "config": config,
        "variables": tlx.models.init_variables(config, seed=1),
        "preprocess": tlx.Preprocess(28, 28, 1, interpolation="lanczos", mean=(0.1,), std=(0.3,), invert=True),
        "classes": ("Äpfel", "b\nb", "<script>"),
        "card": {"licence": "none", "accuracy": "ünknown\n# not a title"},
    }
    return tlx.Pretrained(**{**whole, **changes})


def test_what_is_loaded_is_what_was_saved(tmp_path):
    mine = model()
    leaves = mine.variables["params"]["head"]["logits"]
    leaves["bias"] = plant(leaves["bias"], np.float32(-0.0))
    leaves["kernel"] = plant(leaves["kernel"], np.float32(1e-45))  # a subnormal
    assert tlx.save(mine, tmp_path / "saved") == tmp_path / "saved"
    again = tlx.load(tmp_path / "saved")
    assert_same_bits(again.variables, mine.variables)
    for name in ("name", "config", "preprocess", "classes", "card"):
        assert getattr(again, name) == getattr(mine, name)
    images = np.zeros((2, 28, 28, 1), np.float32) + 0.5
    one, other = (tlx.predict(m.model, m.variables, images) for m in (mine, again))
    assert one.tobytes() == other.tobytes()


def test_saving_what_was_loaded_gives_the_same_weights_file(tmp_path):
    tlx.save(tlx.load("mlp-mnist"), tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (SOUND / "model.safetensors").read_bytes()
    assert (tmp_path / "again" / "config.json").read_bytes() == (SOUND / "config.json").read_bytes()


def test_the_folder_is_written_whole(tmp_path):
    tlx.save(model(), tmp_path / "deep" / "down")
    assert {entry.name for entry in (tmp_path / "deep").iterdir()} == {"down"}
    files = {entry.name for entry in (tmp_path / "deep" / "down").iterdir()}
    assert files == {"model.safetensors", "config.json", "README.md"}
    card = (tmp_path / "deep" / "down" / "README.md").read_text(encoding="utf-8")
    assert "- **accuracy**: ünknown # not a title\n" in card
    config = json.loads((tmp_path / "deep" / "down" / "config.json").read_text(encoding="utf-8"))
    assert config["weights"]["sha256"] in card
    assert set(config) == {"format", "name", "model", "preprocess", "classes", "weights", "card"}


def test_arrays_in_another_order_of_memory_are_saved_as_they_read(tmp_path):
    mine = model()
    kernel = np.asarray(mine.variables["params"]["head"]["logits"]["kernel"])
    variables = jax.tree.map(lambda leaf: leaf, mine.variables)
    variables["params"]["head"]["logits"]["kernel"] = np.asfortranarray(kernel)
    tlx.save(replace(mine, variables=variables), tmp_path / "saved")
    assert_same_bits(tlx.load(tmp_path / "saved").variables, mine.variables)


def test_a_number_keeps_its_shape(tmp_path):
    variables = {"params": {"base": {"scale": jnp.float32(2.0)}, "head": {"b": jnp.zeros(3)}}}
    tlx.save(model(variables=variables), tmp_path / "saved")
    kept = tensors_of((tmp_path / "saved" / "model.safetensors").read_bytes())
    assert kept["params/base/scale"].shape == ()


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("used", "file"):
        with pytest.raises(ConfigError, match="is already there"):
            tlx.save(model(), tmp_path / name)
    assert (tmp_path / "used" / "notes").read_text() == "mine"


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "empty").mkdir()
    tlx.save(model(), tmp_path / "empty")
    assert tlx.load(tmp_path / "empty").name == "mine"


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        tlx.save(model(), tmp_path / "file" / "saved")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a", "b")}, "2 class names for 3 outputs"),
        ({"preprocess": tlx.Preprocess(32, 28, 1)}, r"makes inputs of \(32, 28, 1\), the model takes \(28, 28, 1\)"),
        ({"preprocess": tlx.Preprocess(28, 28, 3)}, r"makes inputs of \(28, 28, 3\)"),
    ],
    ids=str,
)
def test_parts_that_do_not_belong_together_are_refused(changes, message):
    with pytest.raises(ConfigError, match=f"mine: .*{message}"):
        model(**changes)


# Strict about weights


def test_a_sound_bundle_loads(bundle):
    put(bundle, tensors())
    load_bundle(bundle)


@pytest.mark.parametrize("place", [0, 8, 9, 300, -1])
def test_a_flipped_bit_is_noticed(bundle, place):
    weights = bundle / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[place] ^= 1
    weights.write_bytes(content)
    assert "SHA-256 is" in refused(bundle, "model.safetensors")


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_a_cut_file_is_noticed(bundle, size):
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "SHA-256 is" in refused(bundle, "model.safetensors")


def test_other_weights_of_the_same_shape_are_noticed(bundle):
    """The file of another model, renamed."""
    other = tlx.load("mlp-mnist").with_head(tuple("0123456789"), seed=5)
    tlx.save(other, bundle.parent / "other")
    shutil.copy(bundle.parent / "other" / "model.safetensors", bundle / "model.safetensors")
    assert "SHA-256 is" in refused(bundle, "model.safetensors")


def without(name):
    left = tensors()
    del left[name]
    return left


def header(content, data=b""):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(content)) + content + data


def tensor(dtype="F32", shape=(1,), start=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without(BIAS), f"missing '{BIAS}'"),
        (tensors(**{"params/head/extra": np.zeros(3, np.float32)}), "not used 'params/head/extra'"),
        (tensors(**{"batch_stats/base/x/mean": np.zeros(3, np.float32)}), "not used 'batch_stats/base/x/mean'"),
        (tensors(**{BIAS: np.zeros(11, np.float32)}), rf"'{BIAS}' has shape \(11,\), wanted \(10,\)"),
        (tensors(**{BIAS: np.zeros((10, 1), np.float32)}), rf"'{BIAS}' has shape \(10, 1\)"),
        (tensors(**{BIAS: np.full(10, np.nan, np.float32)}), rf"not finite in '{BIAS} \(10\)'"),
        (tensors(**{BIAS: np.array([math.inf, *range(9)], np.float32)}), rf"not finite in '{BIAS} \(1\)'"),
        (tensors(**{BIAS: np.zeros(10, np.int8)}), rf"another type than the model's in '{BIAS} \(int8\)'"),
        (tensors(**{BIAS: np.zeros(10, np.float16)}), rf"'{BIAS} \(float16\)'"),
        (tensors(**{BIAS: np.zeros(10, np.float64)}), rf"'{BIAS} \(float64\)'"),
        (tensors(**{BIAS: np.zeros(10, bool)}), rf"'{BIAS} \(bool\)'"),
        ({}, "missing"),
        (header({"a": tensor("BF16", (2,))}, b"abcd"), "the type 'BF16'"),
        (header({"a": tensor("F8_E4M3", (4,))}, b"abcd"), "the type 'F8_E4M3'"),
        (header({"a//b": tensor()}, b"\0" * 4), "'a//b' has an empty name"),
        (header({"": tensor()}, b"\0" * 4), "not used"),
        (header({"../../etc/passwd": tensor()}, b"\0" * 4), "not used '../../etc/passwd'"),
        (header({"a": tensor(), "a/b": tensor(start=4, end=8)}, b"\0" * 8), "goes on below|both a leaf and a branch"),
        (struct.pack("<Q", 2**63), "not a safetensors file .*header too large"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "not a safetensors file"),
        (struct.pack("<Q", 200_000_000) + b"{}", "not a safetensors file"),
        (struct.pack("<Q", 1000) + b"{}", "not a safetensors file"),
        (header(b"no json"), "not a safetensors file"),
        (header(b"[" * 50_000), "not a safetensors file"),
        (header({"a": tensor(shape=(2**40, 2**40))}, b"abcd"), "not a safetensors file"),
        (header({"a": tensor(), "b": tensor()}, b"abcd"), "not a safetensors file"),
        (header({"a": tensor()}, b"abcdefgh"), "not a safetensors file"),
        (header({"a": tensor("X1")}, b"abcd"), "not a safetensors file"),
        (b"", "not a safetensors file"),
        (b"<!DOCTYPE html>", "not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a safetensors file"),
        (b"PK\x03\x04" + bytes(99), "not a safetensors file"),
        (b"\x80\x04N.", "not a safetensors file"),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_weights_that_are_not_just_the_models_are_refused(bundle, content, message):
    put(bundle, content)
    assert re.search(message, refused(bundle, "model.safetensors"))


def test_all_that_does_not_fit_is_named_at_once(bundle):
    changed = without(BIAS)
    changed["params/head/extra"] = np.zeros(3, np.float32)
    changed["params/base/dense2/bias"] = np.zeros(5, np.float32)
    put(bundle, changed)
    message = refused(bundle, "model.safetensors")
    assert all(name in message for name in (BIAS, "params/head/extra", "params/base/dense2/bias"))


# Strict about the configuration


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": "1"},
        {"format": REMOVED},
        {"name": REMOVED},
        {"name": 5},
        {"card": REMOVED},
        {"card": None},
        {"card": [1]},
        {"classes": REMOVED},
        {"classes": None},
        {"classes": 5},
        {"classes": "0123456789"},
        {"classes": list("012345678")},
        {"classes": list(range(10))},
        {"classes": list("0123456788")},
        {"model": REMOVED},
        {"model": None},
        {"model": []},
        {"model__architecture": "vgg"},
        {"model__architecture": {"a": 1}},
        {"model__layers": 3},
        {"model__classes": REMOVED},
        {"model__classes": "10"},
        {"model__classes": 0},
        {"model__hidden": [1.5]},
        {"model__hidden": 64},
        {"model__input_shape": [28, 28]},
        {"model__input_shape": 28},
        {"model__pool": None},
        {"model__dropout": "much"},
        {"preprocess": None},
        {"preprocess__height": 32},
        {"preprocess__height": -1},
        {"preprocess__colour": 1},
        {"preprocess__mean": [math.nan]},
        {"preprocess__scale": "1"},
        {"weights": REMOVED},
        {"weights": []},
        {"weights": {}},
    ],
    ids=str,
)
def test_a_configuration_that_tlx_did_not_write_is_refused(bundle, changes):
    edit(bundle, **changes)
    assert "that tlx wrote" in refused(bundle, "config.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"model__classes": 11, "classes": list("0123456789a")},
        {"model__hidden": [10**30]},
        {"model__architecture": "cnn"},
    ],
    ids=str,
)
def test_a_configuration_of_another_model_is_refused(bundle, changes):
    edit(bundle, **changes)
    assert "weights do not fit" in refused(bundle, "model.safetensors")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"<html>", b"[" * 100_000, b"1" * 5000, b'{"format": NaN}'],
    ids=lambda content: repr(content[:9]),
)
def test_a_configuration_that_is_no_json_object_is_refused(bundle, content):
    (bundle / "config.json").write_bytes(content)
    refused(bundle, "config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    assert "cannot be read" in refused(bundle, name)
    (bundle / name).mkdir()
    assert "cannot be read" in refused(bundle, name)


def test_every_leaf_is_where_it_says(bundle):
    """Tensors are found by their names and not by their order."""
    shuffled = dict(reversed(tensors().items()))
    put(bundle, to_safetensors(shuffled))
    assert_same_bits(load_bundle(bundle).variables, tlx.load("mlp-mnist").variables)
    assert set(flatten(load_bundle(bundle).variables)) == set(shuffled)
