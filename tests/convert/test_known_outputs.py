"""A network is compared with arrays that the original made, and told what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

import tlx
from tlx.convert.known_outputs import looks_like_probabilities, read_known_outputs, verify_outputs
from tlx.errors import ConfigError, TlxError, UnsafeFileError, WeightsError
from tlx.models import ModelConfig, init_variables
from tlx.presets import convert_weights
from tlx.tree import flatten, map_with_path

CONFIG = ModelConfig("mlp", 10, (28, 28, 1), pool="flatten")
SEE = tlx.Preprocess(28, 28, 1)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 28, 28, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def variables():
    return init_variables(CONFIG, seed=1)


@pytest.fixture(scope="module")
def arrays(variables):
    """What the network, written down in NumPy, makes of the images."""
    leaves = {path: np.asarray(leaf, np.float64) for path, leaf in flatten(variables["params"]).items()}
    x = IMAGES.reshape(20, -1) / 255
    found = {}
    for stage in ("dense1", "dense2"):
        x = found[stage] = np.maximum(x @ leaves[f"base/{stage}/kernel"] + leaves[f"base/{stage}/bias"], 0)
    logits = x @ leaves["head/logits/kernel"] + leaves["head/logits/bias"]
    return {"inputs": IMAGES, **found, "outputs": logits}


@pytest.fixture
def write(tmp_path):
    def write(arrays):
        np.savez(tmp_path / "known.npz", **arrays)
        return tmp_path / "known.npz"

    return write


@pytest.mark.parametrize("form", ["images", "floats", "half", "big endian"])
def test_a_network_that_makes_the_known_outputs(write, variables, arrays, form):
    given = dict(arrays)
    if form != "images":
        given["inputs"] = (IMAGES / 255).astype(np.float32)
    if form == "half":
        given["outputs"] = given["outputs"].astype(np.float16)
    if form == "big endian":
        given = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in given.items()}
    known = read_known_outputs(write(given), CONFIG)
    found = verify_outputs(known, CONFIG, variables, SEE)
    assert [each.stage for each in found.differences] == ["dense1", "dense2", "outputs"]
    assert found.largest < (1e-3 if form == "half" else 1e-5)
    assert found.first == ("outputs" if form == "half" else None)
    assert found.reference.startswith("known.npz, SHA-256 ")


@pytest.mark.parametrize("row", [0, 19])
def test_the_first_stage_that_differs_and_by_how_much(write, variables, arrays, row):
    spoilt = {name: array.copy() for name, array in arrays.items()}
    spoilt["dense2"][row, 0] += 0.5
    found = verify_outputs(read_known_outputs(write(spoilt), CONFIG), CONFIG, variables, SEE)
    assert found.first == "dense2"
    assert found.differences[1].absolute == pytest.approx(0.5, abs=1e-4)


def test_an_output_that_is_not_finite_is_no_match(write, variables, arrays):
    broken = map_with_path(lambda path, leaf: leaf * np.nan if path.endswith("logits/bias") else leaf, variables)
    found = verify_outputs(read_known_outputs(write(arrays), CONFIG), CONFIG, broken, SEE)
    assert found.first == "outputs"


def test_a_base_alone_makes_its_pooled_features(write, variables, arrays):
    config = replace(CONFIG, classes=0)
    known = read_known_outputs(write({"inputs": IMAGES, "outputs": arrays["dense2"]}), config)
    assert verify_outputs(known, config, variables, SEE).first is None


FAULTS = {
    "no outputs": ({"outputs": None}, ConfigError, "no array is called 'outputs'"),
    "a name": (
        {"ouputs": np.zeros((20, 10))},
        ConfigError,
        "'ouputs' is no output of the network, did you mean 'outputs'",
    ),
    "a stage": ({"dense3": np.zeros((20, 10))}, ConfigError, "did you mean 'dense2'? it has"),
    "rows": ({"outputs": np.zeros((19, 10))}, ConfigError, "'outputs' has shape (19, 10), and there are 20 inputs"),
    "no rows": ({"inputs": IMAGES[:0]}, ConfigError, "'inputs' has shape (0, 28, 28, 1)"),
    "a size": ({"inputs": IMAGES[:, :14]}, ConfigError, "the network takes (N, 28, 28, 1)"),
    "whole numbers": ({"outputs": np.zeros((20, 10), int)}, ConfigError, "'outputs' holds int64, expected floats"),
    "whole inputs": ({"inputs": IMAGES.astype(int)}, ConfigError, "'inputs' holds int64, expected floats, or uint8"),
    "NaN": (
        {"outputs": np.full((20, 10), np.nan)},
        ConfigError,
        "'outputs' has 200 numbers of 200 that are not finite",
    ),
    "too large": ({"outputs": np.full((20, 10), 1e300)}, ConfigError, "200 numbers of 200 that are not finite"),
    "text": ({"outputs": np.full((20, 10), "x")}, ConfigError, "no array is called 'outputs'"),
    "objects": ({"outputs": np.array([{}], object)}, UnsafeFileError, "Python objects"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_arrays_that_cannot_be_compared_are_refused(write, arrays, what):
    change, kind, words = FAULTS[what]
    given = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    with pytest.raises(TlxError) as caught:
        read_known_outputs(write(given), CONFIG)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "known.npz" in str(caught.value)


def test_the_order_of_axes_of_pytorch_is_told(write):
    config = ModelConfig("resnet20", 10, (32, 32, 3))
    path = write({"inputs": np.zeros((2, 3, 32, 32)), "outputs": np.zeros((2, 10))})
    with pytest.raises(ConfigError, match=r"its axes are \(N, C, H, W\), transpose\(0, 2, 3, 1\)"):
        read_known_outputs(path, config)


def test_an_output_of_another_shape_is_refused(write, variables, arrays):
    known = read_known_outputs(write({**arrays, "outputs": np.zeros((20, 9))}), CONFIG)
    with pytest.raises(ConfigError, match=r"'outputs' has shape \(20, 9\), the network makes \(N, 10\)"):
        verify_outputs(known, CONFIG, variables, SEE)


def test_probabilities_are_recognised(write, arrays):
    shares = np.exp(arrays["outputs"])
    shares /= shares.sum(1, keepdims=True)
    assert looks_like_probabilities(read_known_outputs(write({**arrays, "outputs": shares}), CONFIG))
    assert not looks_like_probabilities(read_known_outputs(write(arrays), CONFIG))


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "known.npz"
    path.write_text("no arrays")
    with pytest.raises(WeightsError, match="a text"):
        read_known_outputs(path, CONFIG)


@pytest.mark.slow
def test_real_logits_verify_a_network_that_no_library_has(shared_data, tmp_path):
    """The logits that the author's network makes of CIFAR-10's images."""
    file = shared_data / "weights" / "resnet20-12fca82f.th"
    with np.load(shared_data / "cifar10_jpeg_1000.npz") as data:
        images, logits = data["image"][:40], data["resnet20_logits"][:40]
    np.savez(tmp_path / "known.npz", inputs=images, outputs=logits)
    done = convert_weights(
        file, tmp_path / "made", arch="cifar/resnet20", options=tlx.ConvertOptions(compare=tmp_path / "known.npz")
    )
    assert done.verification.largest < 1e-4
    assert "known.npz, SHA-256" in done.certificate.read_text()
    np.savez(tmp_path / "known.npz", inputs=images, outputs=logits[::-1])
    with pytest.raises(WeightsError, match=r"differs from known\.npz, SHA-256 .* at 'outputs' by \d+\.\d+, which is"):
        convert_weights(
            file, tmp_path / "other", arch="cifar/resnet20", options=tlx.ConvertOptions(compare=tmp_path / "known.npz")
        )
    assert not (tmp_path / "other").exists()
