"""The library that a file is written for is told by its suffix where only one is meant."""

import os
from pathlib import Path

import pytest
from sources import source_of

from tlx.convert import TABLES, open_weights
from tlx.convert.library import TORCH, library_of, torch_table
from tlx.convert.reference import keras_backend
from tlx.convert.torch_writer import write_torch
from tlx.errors import ConfigError
from tlx.presets import convert_weights, export_weights

KNOWN = {"a.h5": "keras", "a.pth": TORCH, "a.PT": TORCH, "a.safetensors": "safetensors", "a": None, "resnet50.v2": None}


@pytest.mark.parametrize("name", KNOWN)
def test_the_suffix_tells(name):
    assert library_of(Path(name)) == KNOWN[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.onnx", "torch.onnx.export"),
        ("a.keras", "--to keras"),
        ("a.tflite", "Keras model"),
        ("a.bin", "name it .pth"),
        ("a.gguf", "does not write a GGUF file"),
        ("a.mlpackage", "does not write a Core ML model"),
    ],
)
def test_what_is_not_written_is_refused_with_the_way_out(name, words):
    with pytest.raises(ConfigError, match=f"{name}: .*{words}"):
        library_of(Path(name))


def test_a_file_of_pytorch_is_that_of_the_library_it_came_from_or_the_only_one():
    assert torch_table(Path("a.pth"), "resnet20").name == "cifar/resnet20"
    assert torch_table(Path("a.pth"), "resnet50").name == "torchvision/resnet50"  # timm has the same names
    assert torch_table(Path("a.pth"), "vgg16", "timm/vgg16").name == "timm/vgg16"
    with pytest.raises(ConfigError, match=r"a\.pth: 'torchvision', 'timm' name its tensors otherwise.*--to"):
        torch_table(Path("a.pth"), "vgg16", "fastai/vgg16")
    with pytest.raises(ConfigError, match="torchvision has no network"):
        torch_table(Path("a.pth"), "xception")


def test_a_conversion_goes_back_by_the_suffix_and_is_not_converted_twice(tmp_path):
    write_torch(tmp_path / "a.pth", list(source_of(TABLES["cifar/resnet20"]).tensors.values()))
    convert_weights(tmp_path / "a.pth", tmp_path / "made")
    assert export_weights(tmp_path / "made", tmp_path / "back.pth").arch == "cifar/resnet20"
    assert open_weights(tmp_path / "back.pth").tensors.keys() == open_weights(tmp_path / "a.pth").tensors.keys()
    export_weights(tmp_path / "made", tmp_path / "back.safetensors")
    assert "params/head/logits/bias" in open_weights(tmp_path / "back.safetensors").tensors
    with pytest.raises(ConfigError, match="its name tells no format"):
        export_weights(tmp_path / "made", tmp_path / "back")
    for again in (tmp_path / "made", tmp_path / "made" / "model.safetensors", tmp_path / "back.safetensors"):
        with pytest.raises(ConfigError, match=r"is tlx's own already: .*--to"):
            convert_weights(again, tmp_path / "again")


@pytest.mark.parametrize(("before", "within"), [(None, "jax"), ("torch", "torch")])
def test_keras_is_told_of_a_backend_while_it_is_imported_where_nobody_named_one(monkeypatch, before, within):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if before is not None:
        monkeypatch.setenv("KERAS_BACKEND", before)
    with keras_backend("jax"):
        assert os.environ["KERAS_BACKEND"] == within
    assert os.environ.get("KERAS_BACKEND") == before
