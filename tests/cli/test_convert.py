"""The command with weight files of others: convert, inspect, predict, finetune."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from cases import bits
from PIL import Image
from reference_files import keras_network, save_keras
from sources import changed, lazy, renamed, source_of, tensor
from text_models import write_text_folder
from tf_files import write_row

import tlx
from tlx.convert import TABLES, Row, open_weights
from tlx.convert.rules import KINDS, LeafRule
from tlx.convert.torch_writer import write_torch
from tlx.convert.transforms import TRANSFORMS, Transform

CIFAR = TABLES["cifar/resnet20"]
VGG = "vgg16_blocks1to3_weights_tf_dim_ordering_tf_kernels_notop.h5"
RESNET20 = "resnet20-12fca82f.th"
MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"


@pytest.fixture
def file(tmp_path) -> Path:
    write_torch(tmp_path / "resnet20.th", list(source_of(CIFAR).tensors.values()))
    return tmp_path / "resnet20.th"


def put(path: Path, change) -> Path:
    write_torch(path, list(changed(source_of(CIFAR), change).tensors.values()))
    return path


def nan(tensors):
    bias = tensors["linear.bias"].read()
    bias[:2] = np.nan
    tensors["linear.bias"] = tensor("linear.bias", bias)


def test_convert_says_what_it_did(call, file, tmp_path):
    done = call("convert", file, tmp_path / "made")
    assert done.code == 0
    assert f"{tmp_path / 'made'}: cifar/resnet20, 100.0% of the leaves filled" in done.out
    assert "bn1.num_batches_tracked" in done.out
    assert "a counter of batches" in done.out


@pytest.mark.slow
def test_convert_says_it_in_json(call, tmp_path):
    source = renamed(source_of(CIFAR), lambda name: f"state_dict.{name}")
    source = changed(source, lambda tensors: tensors.update({"optimizer.x": lazy("optimizer.x", (2,))}))
    write_torch(tmp_path / "a.pth", list(source.tensors.values()))
    done = call("convert", tmp_path / "a.pth", tmp_path / "made", "--fresh", "head", "--json").json
    assert (done["arch"], done["prefix"], done["matched_by"]) == ("cifar/resnet20", "state_dict.", "name")
    assert done["fresh"] == ["params/head/logits/bias", "params/head/logits/kernel"]
    assert {"source": "optimizer.x", "reason": "the state of an optimizer"} in done["ignored"]
    assert done["certificate"] == str(tmp_path / "made" / "certificate.json")
    assert done["verification"] is None
    assert 0.97 < done["coverage"] < 1


REFUSED = {
    "no file": (3, ["missing.pth", "made"], "missing.pth"),
    "no destination": (2, ["resnet20.th", ""], "name a SOURCE and a DEST"),
    "an unknown arch": (2, ["resnet20.th", "made", "--arch", "cifar/resnet21"], "did you mean 'cifar/resnet"),
    "another arch": (3, ["resnet20.th", "made", "--arch", "cifar/resnet32"], "tensors are missing"),
    "an unknown stage": (2, ["resnet20.th", "made", "--until", "block9"], "unknown stage 'block9'"),
    "a prefix that is not there": (
        3,
        ["resnet20.th", "made", "--arch", "cifar/resnet20", "--prefix", "x."],
        "no name begins with --prefix 'x.'",
    ),
    "numbers that are not finite": (3, ["nan.pth", "made"], "not finite in 'linear.bias (2 of 10)'"),
    "whole numbers": (3, ["int8.pth", "made", "--arch", "cifar/resnet20"], "quantized"),
    "no library to verify with": (2, ["resnet20.th", "made", "--verify"], "leave out --verify"),
    "a library without the network": (2, ["resnet20.th", "back.h5", "--to", "keras"], "keras has no network"),
    "a file that is there": (2, ["resnet20.th", "resnet20.th", "--to", "cifar"], "is already there"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_is_one_line_and_leaves_nothing(refused, file, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "nan.pth", nan)
    put(
        tmp_path / "int8.pth", lambda tensors: tensors.update({"linear.bias": tensor("linear.bias", np.ones(10, "i1"))})
    )
    before = set(tmp_path.rglob("*"))
    code, arguments, words = REFUSED[what]
    assert words in refused(code, "convert", *arguments)
    assert set(tmp_path.rglob("*")) == before


def test_numbers_that_are_not_finite_may_be_wanted(call, tmp_path):
    assert call("convert", put(tmp_path / "nan.pth", nan), tmp_path / "made", "--allow-nonfinite").code == 0


def test_there_and_back(call, file, tmp_path):
    call("convert", file, tmp_path / "made")
    back = call("convert", tmp_path / "made", tmp_path / "back.pth", "--to", "cifar", "--json").json
    assert back["coverage"] == 1
    call("convert", file, tmp_path / "direct.safetensors", "--to", "cifar")
    sources = [open_weights(each).tensors for each in (file, tmp_path / "back.pth", tmp_path / "direct.safetensors")]
    first, *others = [{name: bits(each.read()) for name, each in source.items()} for source in sources]
    assert others == [first, first]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
def test_verify_ends_with_3_where_a_table_is_wrong(call, refused, tmp_path, monkeypatch):
    table = TABLES["keras/mobilenet_v2"]
    file = save_keras(keras_network(table, (32, 32)), tmp_path, ".weights.h5")
    arguments = ["convert", file, tmp_path / "made", "--arch", table.name, "--input-size", 32, 32, "--verify"]
    monkeypatch.setitem(TRANSFORMS, "transposed", Transform((1, 0, 3, 2)))
    monkeypatch.setitem(KINDS["keras"], "faulty", (LeafRule("kernel", "kernel", "transposed"),))
    rows = (Row("faulty", "block_5_depthwise", "base/block5/depthwise"), *table.rows)
    with monkeypatch.context() as patch:
        patch.setitem(TABLES, table.name, replace(table, rows=rows))
        line = refused(3, *arguments)
    assert "differs from keras:MobileNetV2 at 'block5' by" in line
    assert not (tmp_path / "made").exists()
    done = call(*arguments, "--json").json
    assert list(done["verification"])[:2] == ["input", "stem"]
    assert max(done["verification"].values()) < 1e-4
    assert "it records a comparison with keras:MobileNetV2" in call("inspect", tmp_path / "made").out


def test_a_file_that_ends_early_is_told_with_all_that_lacks(call, refused, shared_data, tmp_path):
    file = shared_data / "weights" / VGG
    line = refused(3, "convert", file, tmp_path / "made", "--arch", "keras/vgg16")
    late = [f"'block{b}_conv{c}/{kind}'" for b in (4, 5) for c in (1, 2, 3) for kind in ("kernel", "bias")]
    assert [name for name in late if name not in line] == []
    assert "12 tensors are missing" in line
    assert "--until" in line
    done = call("convert", file, tmp_path / "made", "--arch", "keras/vgg16", "--until", "block3_conv3", "--json").json
    assert done["coverage"] == 1
    assert call("inspect", tmp_path / "made", "--json").json["total"] == 1_735_488


# inspect


def test_inspect_tells_a_published_model_from_shapes_alone(call):
    found = call("inspect", "keras/resnet50", "--json").json
    assert (found["base"], found["head"], found["total"]) == (23_587_712, 2_049_000, 25_636_712)


def test_inspect_tells_what_a_file_looks_like(call, file):
    found = call("inspect", file, "--json").json
    assert (found["format"], [each["arch"] for each in found["looks_like"]]) == ("torch-zip", ["cifar/resnet20"])
    assert "looks like cifar/resnet20: 97 tensors, 0 missing" in call("inspect", file).out


def test_inspect_reads_a_tensorflow_checkpoint_by_its_prefix_and_without_its_data(call, refused, tmp_path):
    index = write_row(tmp_path)
    index.with_name("model.ckpt.data-00000-of-00001").unlink()
    for name in ("model.ckpt", "model.ckpt.index", ""):
        found = call("inspect", tmp_path / name, "--json").json
        assert (found["format"], found["total"]) == ("tf", 8)
    assert "no architecture that tlx knows" in refused(3, "convert", tmp_path / "model.ckpt", tmp_path / "back.pth")


def test_inspect_checks_a_certificate(call, refused, file, tmp_path):
    call("convert", file, tmp_path / "made")
    found = call("inspect", tmp_path / "made", "--json").json
    assert found["certificate"] == {"leaves": 97, "proven": 97, "ignored": 19, "fresh": 0, "verified_with": None}
    assert "certificate holds: 97 leaves, 97 go back to the source's" in call("inspect", tmp_path / "made").out
    path = tmp_path / "made" / "certificate.json"
    certificate = json.loads(path.read_text())
    certificate["leaves"]["params/head/logits/bias"]["source_sha256"] = "0" * 64
    path.write_text(json.dumps(certificate))
    line = refused(3, "inspect", tmp_path / "made")
    assert "'params/head/logits/bias is not linear.bias transformed'" in line
    path.write_text("{}")
    assert "cannot be read as a certificate" in refused(3, "inspect", tmp_path / "made")


def test_inspect_finds_a_changed_byte(call, refused, file, tmp_path):
    call("convert", file, tmp_path / "made")
    weights = tmp_path / "made" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "model.safetensors" in refused(3, "inspect", tmp_path / "made")


# predict and finetune


@pytest.mark.slow
def test_predict_names_the_classes_of_a_published_model(call, refused, shared_data, tmp_path):
    image = next((shared_data / "imagenet50").glob("*zebra*"))
    options = ["--base", "keras/mobilenet_v2", "--weights", shared_data / "weights" / MOBILENET]
    found = call("predict", *options, image, "--top", 2, "--json").json
    assert found["predictions"][0]["top"][0]["label"] == "zebra"
    assert len(found["predictions"][0]["top"]) == 2
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert "did you mean 'cifar/resnet" in refused(2, "predict", "--base", "cifar/resnet21", tmp_path / "a.png")
    options[-1] = shared_data / "weights" / VGG
    assert "mobilenet" in refused(3, "predict", *options, tmp_path / "a.png")


@pytest.mark.slow
def test_finetune_begins_with_a_published_model(call, shared_data, tmp_path):
    """A probe of the CIFAR network on the digits, its inputs and head made to fit."""
    weights = shared_data / "weights" / RESNET20
    options = ["--base", "cifar/resnet20", "--weights", weights, "--data", "digits", "--recipe", "probe"]
    done = call(
        "finetune",
        *options,
        "--head-epochs",
        6,
        "--labels-per-class",
        8,
        "--compare-scratch",
        "never",
        "--json",
        "--out",
        tmp_path / "run",
    )
    assert done.code == 0, done
    (phase,) = done.json["phases"]
    assert phase["trainable"] == 650
    assert done.json["test_accuracy"] > 0.3
    inspected = call("inspect", tmp_path / "run", "--json").json
    assert (inspected["trainable"], inspected["head"]) == (650, 650)


@pytest.mark.parametrize("to", ["hf", "google", "keras_hub"])
def test_text_models_are_written_for_others_from_a_folder_of_the_hub(to, call, tmp_path):
    folder = write_text_folder(tmp_path / "tiny")
    done = call("convert", folder, tmp_path / "back", "--to", to)
    assert done.code == 0, done.err
    jax.tree.map(np.testing.assert_array_equal, tlx.load(folder).variables, tlx.load(tmp_path / "back").variables)
