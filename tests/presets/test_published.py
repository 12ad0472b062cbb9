"""Real files, as their publishers publish them."""

import functools
import json
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

import tlx
from tlx.data.image_files import read_images
from tlx.errors import ConfigError, WeightsError
from tlx.models import ModelConfig, init_variables
from tlx.tree import flatten, label_tree, summarize

MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
VGG = "vgg16_blocks1to3_weights_tf_dim_ordering_tf_kernels_notop.h5"
RESNET20 = "resnet20-12fca82f.th"


@pytest.fixture(scope="module")
def mobilenet(shared_data):
    return tlx.load("keras/mobilenet_v2", shared_data / "weights" / MOBILENET)


@pytest.fixture(scope="module")
def resnet20(shared_data):
    return tlx.load("cifar/resnet20", shared_data / "weights" / RESNET20)


@pytest.mark.slow
def test_mobilenet_names_the_images_as_the_reference_does(shared_data, mobilenet):
    reference = np.load(shared_data / "imagenet50" / "mobilenet_v2_reference.npz")
    expected = next(reference[key] for key in reference if reference[key].shape == (50, 1000))
    images = [read_images(str(shared_data / "imagenet50" / str(name)))[0][1] for name in reference["names"]]
    inputs = np.concatenate([mobilenet.preprocess(image[None]) for image in images])
    probabilities = tlx.predict(mobilenet.model, mobilenet.variables, inputs)
    assert (probabilities.argmax(1) == expected.argmax(1)).sum() == 50
    assert np.abs(probabilities - expected).max() <= 1e-4


RESNET_PROGRAM = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "keras", "tensorflow"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import jax, numpy as np, tlx

folder = sys.argv[1]
found = tlx.load("cifar/resnet20", f"{folder}/weights/resnet20-12fca82f.th")
data = np.load(f"{folder}/cifar10_jpeg_1000.npz")
apply = jax.jit(found.model.apply)
inputs = found.preprocess(data["image"])
logits = np.concatenate([np.asarray(apply(found.variables, inputs[i : i + 250])) for i in range(0, 1000, 250)])
print(len(logits), np.abs(logits - data["resnet20_logits"]).max())
"""


@pytest.mark.slow
def test_resnet20_gives_the_authors_logits_where_no_other_library_can_be_imported(shared_data):
    done = subprocess.run(
        [sys.executable, "-c", RESNET_PROGRAM, str(shared_data)], capture_output=True, text=True, check=True
    )
    count, difference = done.stdout.split()
    assert int(count) == 1000
    assert float(difference) <= 1e-3


@pytest.mark.slow
def test_a_file_that_ends_early_fills_a_base_that_is_cut(shared_data):
    found = tlx.load("keras/vgg16", shared_data / "weights" / VGG, until="block3_conv3")
    assert sum(leaf.size for leaf in flatten(found.variables).values()) == 1_735_488
    assert found.stages[-1] == "block3_conv3"
    assert (found.classes, found.config.classes) == ((), 0)
    features = found.model.apply(
        found.variables, found.preprocess(np.zeros((1, 30, 40, 3), np.uint8)), method="features"
    )
    assert features.shape == (1, 56, 56, 256)


LATE = [f"block{b}_conv{c}/{kind}" for b in (4, 5) for c in (1, 2, 3) for kind in ("kernel", "bias")]


def test_a_file_that_ends_early_does_not_fill_the_whole(shared_data):
    with pytest.raises(WeightsError) as caught:
        tlx.load("keras/vgg16", shared_data / "weights" / VGG)
    assert [name for name in LATE if f"'{name}'" not in str(caught.value)] == []
    assert "12 tensors are missing" in str(caught.value)
    assert "--until" in str(caught.value)


def test_a_base_without_its_head(mobilenet, shared_data):
    alone = tlx.load("keras/mobilenet_v2", shared_data / "weights" / MOBILENET, head=False)
    assert (alone.classes, mobilenet.classes[340], len(mobilenet.classes)) == ((), "zebra", 1000)
    assert flatten(alone.variables).keys() == {
        p for p in flatten(mobilenet.variables) if not p.startswith("params/head/")
    }


def shape(pretrained, pixels, **how):
    apply = functools.partial(pretrained.model.apply, **how)
    return jax.eval_shape(apply, pretrained.variables, pretrained.preprocess(pixels)).shape


def outputs(pretrained, pixels):
    return np.asarray(jax.jit(pretrained.model.apply)(pretrained.variables, pretrained.preprocess(pixels)))


@pytest.mark.slow
def test_surgery_on_a_published_model(resnet20):
    """Other inputs, another head, a base that ends earlier: each gives outputs of its shape."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3)).astype(np.uint8)
    grey = resnet20.with_input((24, 20), channels=1)
    assert (grey.preprocess.height, grey.preprocess.width, grey.preprocess.channels) == (24, 20, 1)
    assert shape(grey, pixels) == (2, 10)
    five = resnet20.without_head().with_input((33, 27), channels=5)
    assert flatten(five.variables)["params/base/stem/conv/kernel"].shape == (3, 3, 5, 16)
    assert shape(five, np.repeat(pixels[..., :1], 5, -1)) == (2, 64)
    cut = resnet20.cut("block2_1")
    assert cut.stages == resnet20.stages[:5]
    assert shape(cut, pixels, method="features") == (2, 16, 16, 32)
    other = resnet20.with_head(tuple("abc"), hidden=(8,))
    assert shape(other, pixels) == (2, 3)
    before = flatten(resnet20.variables)
    for changed in (grey, five, cut, other):
        own = {path: leaf for path, leaf in flatten(changed.variables).items() if path.startswith("params/base/block")}
        assert own
        assert all(np.array_equal(leaf, before[path]) for path, leaf in own.items())


@pytest.mark.slow
def test_grey_images_give_what_the_same_in_colour_gave(resnet20):
    """The first kernel is averaged over its channels, so the statistics of colours must be, too."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1)).astype(np.uint8)
    statistics = {"mean": (0.4,) * 3, "std": (0.3,) * 3}  # equal, so that nothing is lost
    colour = replace(resnet20, preprocess=replace(resnet20.preprocess, **statistics))
    one, other = (outputs(each, pixels) for each in (colour, colour.with_input(channels=1)))
    assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()


def test_what_trains_of_a_transferred_resnet50():
    """96,303 = 2048 * 47 + 47, and nothing else."""
    config = ModelConfig("resnet50_keras", 47, (32, 32, 3), pool="flatten")
    variables = jax.eval_shape(functools.partial(init_variables, config))
    labels = label_tree(variables["params"], [("base", "frozen"), ("head", "head")])
    totals = summarize(variables, labels).totals()
    assert totals["trainable"] == 96_303
    assert totals["base"] == 23_587_712
    assert totals["head"] == 96_303


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("keras/vgg161", "did you mean 'keras/vgg16'"),
        ("keras/", "no published model"),
        ("timm/resnet51", "did you mean"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, words):
    with pytest.raises(ConfigError, match=words):
        tlx.load(name)


def test_a_folder_that_was_converted_is_loaded_as_the_file_is(tmp_path, shared_data):
    file = shared_data / "weights" / RESNET20
    tlx.convert_weights(file, tmp_path / "made")
    folder, direct = tlx.load(tmp_path / "made"), tlx.load("cifar/resnet20", file)
    assert (folder.config, folder.preprocess, folder.classes) == (direct.config, direct.preprocess, direct.classes)
    one, other = flatten(folder.variables), flatten(direct.variables)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[path], other[path]) for path in one)
    certificate = json.loads((tmp_path / "made" / "certificate.json").read_text())
    assert (certificate["table"], certificate["prefix"]) == ("cifar/resnet20", "state_dict.module.")
