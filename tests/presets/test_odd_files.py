"""Any well-formed file can be inspected, whatever its tensors are."""

import h5py
import numpy as np
import pytest
from marks import slow_but
from safetensors.numpy import save_file
from weight_files import legacy_h5, numbered_h5

from tlx.errors import WeightsError
from tlx.presets.summary import summarize_file

SHAPES = [(), (4,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 4, 5), (0,), (0, 3, 3, 3), (3, 0)]
NAMES = {"conv1.weight": "f4", "fc.weight": "i8", "0.weight": "f4", "params/base/..é": "?", "x" * 900: "f4"}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tensors_of_any_shape_and_type_are_tabulated(tmp_path, shape):
    for name, dtype in NAMES.items():
        save_file({name: np.zeros(shape, dtype)}, tmp_path / "a.safetensors")
        summary, about = summarize_file(tmp_path / "a.safetensors")
        assert (len(summary.rows), summary.total) == (1, int(np.prod(shape)))
        assert about["looks_like"] == [] or about["looks_like"][0]["missing"]
    np.savez(tmp_path / "a.npz", w=np.zeros(shape, "c8"))
    assert summarize_file(tmp_path / "a.npz")[0].rows[0].dtype == "complex64"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("head", ["fc", "linear", "classifier.6", "1.8"])
def test_a_head_of_any_shape_beside_a_first_layer(tmp_path, head, shape):
    names = ("conv1.weight", "layer1.0.conv1.weight", "features.0.weight", "0.0.weight")
    tensors = {name: np.zeros(shape, "f4") for name in (*names, f"{head}.weight", f"{head}.bias")}
    save_file(tensors, tmp_path / "a.safetensors")
    assert len(summarize_file(tmp_path / "a.safetensors")[0].rows) == 6


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layers_of_keras_with_any_weights_are_tabulated(tmp_path, shape):
    for layer, weight in (("scale", "gamma"), ("conv2d", "kernel"), ("predictions", "x"), ("block1_conv1", "kernel")):
        legacy_h5(tmp_path / "a.h5", {layer: {weight: np.zeros(shape, "f4")}})
        assert len(summarize_file(tmp_path / "a.h5")[0].rows) == 1
        numbered_h5(tmp_path / "b.weights.h5", {f"layers/{layer}": (layer, [np.zeros(shape, "f4")])})
        assert len(summarize_file(tmp_path / "b.weights.h5")[0].rows) == 1


def test_files_without_tensors(tmp_path):
    save_file({}, tmp_path / "a.safetensors")
    assert summarize_file(tmp_path / "a.safetensors")[0].total == 0
    np.savez(tmp_path / "a.npz")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = np.array([], "S1")
    assert summarize_file(tmp_path / "a.h5")[0].rows == ()
    with pytest.raises(WeightsError, match="an empty zip file"):
        summarize_file(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "name", slow_but("t{}.weight", of=["t{}.weight", "layer{}.0.conv1.weight", "a{}.b.c.conv1.weight"])
)
def test_thousands_of_tensors(tmp_path, name):
    save_file({name.format(i): np.zeros(2, "f4") for i in range(1500)}, tmp_path / "a.safetensors")
    assert len(summarize_file(tmp_path / "a.safetensors")[0].rows) == 1500
