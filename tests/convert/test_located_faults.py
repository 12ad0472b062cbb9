"""Faults of a conversion, one at a time: each is found, and at the stage where it is (without one: test_parity)."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from marks import slow_but
from reference_files import keras_network, save_keras, size_of

from tlx.convert import TABLES, Row
from tlx.convert.rules import KINDS, LeafRule
from tlx.convert.transforms import TRANSFORMS, Transform
from tlx.errors import WeightsError
from tlx.models import ARCHITECTURES, Base
from tlx.models.inception_v3 import ARRANGEMENTS as INCEPTION
from tlx.models.layers import Norm
from tlx.models.mobilenet_v2 import ARRANGEMENTS as MOBILENET
from tlx.models.resnet import ARRANGEMENTS as RESNET
from tlx.presets import ConvertOptions, conversion, convert_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras

GAMMA, BETA, MEAN, VAR = KINDS["keras"]["norm"]


@dataclass(frozen=True)
class Rolled(Transform):
    """Takes each channel's kernel for its neighbour's."""

    axis: int = 0

    def moved(self, array: np.ndarray) -> np.ndarray:
        return np.roll(super().moved(array), 1, self.axis)


# Ways to break a conversion: each takes pytest's monkeypatch and the table's name.


def as_kind(module: str, target: str, *rules: LeafRule) -> Callable[[Any, str], None]:
    """Read one module by other rules."""

    def inject(patch, name):
        patch.setitem(KINDS["keras"], "faulty", rules)
        patch.setitem(TRANSFORMS, "transposed", Transform((1, 0, 2, 3)))
        patch.setitem(TRANSFORMS, "inputs rolled", Rolled((0, 1, 2, 3), axis=2))
        patch.setitem(TRANSFORMS, "outputs rolled", Rolled((0, 1, 2, 3), axis=3))
        patch.setitem(TRANSFORMS, "depthwise transposed", Transform((1, 0, 3, 2)))
        patch.setitem(TRANSFORMS, "rows", ColumnsFirst((0, 1)))
        rows = (Row("faulty", module, target), *TABLES[name].rows)
        patch.setitem(TABLES, name, replace(TABLES[name], rows=rows))

    return inject


class ColumnsFirst(Transform):
    """Takes features (H, W, C), 2 by 3, for (W, H, C) before a dense layer."""

    def moved(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(2, 3, 512, -1).transpose(1, 0, 2, 3).reshape(array.shape)


def with_layer(stage: str, **changes: Any) -> Callable[[Any, str], None]:
    """Build one stage's layer with other fields."""

    def inject(patch, name):
        own = ARCHITECTURES[TABLES[name].architecture]

        def build(**how: Any) -> Base:
            base = own.build(**how)
            return Base(
                tuple(
                    replace(each, layer=each.layer.clone(**changes)) if each.name == stage else each
                    for each in base.stages
                )
            )

        patch.setitem(ARCHITECTURES, TABLES[name].architecture, replace(own, build=build))

    return inject


def with_preprocess(**changes: Any) -> Callable[[Any, str], None]:
    """Bring images to the network in another way."""

    def inject(patch, name):
        def describe(*arguments: Any) -> Any:
            described = own(*arguments)
            return replace(described, preprocess=replace(described.preprocess, **changes))

        own = conversion.describe
        patch.setattr(conversion, "describe", describe)

    return inject


def conv(transform: str) -> tuple[LeafRule, LeafRule]:
    return LeafRule("kernel", "kernel", transform), LeafRule("bias", "bias")


def renamed(rule: LeafRule, by: LeafRule) -> LeafRule:
    return replace(rule, source=by.source)


def norm_of(arrangement: Any, **changes: Any) -> Any:
    return replace(arrangement, norm=replace(arrangement.norm, **changes))


FAULTS: dict[str, tuple[str, str, Callable[[Any, str], None]]] = {
    "a transposed square kernel": (
        "keras/resnet50",
        "block2_1",
        as_kind("conv3_block1_2_conv", "base/block2_1/conv2", *conv("transposed")),
    ),
    "a transposed depthwise kernel": (
        "keras/mobilenet_v2",
        "block7",
        as_kind("block_7_depthwise", "base/block7/depthwise", LeafRule("kernel", "kernel", "depthwise transposed")),
    ),
    "input channels permuted": (
        "keras/resnet50",
        "block1_2",
        as_kind("conv2_block2_1_conv", "base/block1_2/conv1", *conv("inputs rolled")),
    ),
    "output channels permuted": (
        "keras/inception_v3",
        "conv3",
        as_kind("conv2d_2", "base/conv3/conv", *conv("outputs rolled")),
    ),
    "features flattened column by column": (
        "keras/vgg16",
        "logits",
        as_kind("fc1", "head/hidden1", *conv("rows")),
    ),
    "gamma for beta": (
        "keras/mobilenet_v2",
        "block3",
        as_kind("block_3_expand_BN", "base/block3/expand_norm", renamed(GAMMA, BETA), renamed(BETA, GAMMA), MEAN, VAR),
    ),
    "mean for variance": (
        "keras/inception_v3",
        "mixed2",
        as_kind("batch_normalization_20", "base/mixed2/branch5x5_1_norm", BETA, renamed(MEAN, VAR), renamed(VAR, MEAN)),
    ),
    "another epsilon": (
        "keras/resnet50",
        "block3_2",
        with_layer("block3_2", arrangement=norm_of(RESNET["keras"], epsilon=1e-3)),
    ),
    "the other library's epsilon": (
        "keras/mobilenet_v2",
        "stem",
        with_layer("stem", norm=Norm(epsilon=1e-5, momentum=0.999)),
    ),
    "another padding": (
        "keras/mobilenet_v2",
        "block1",
        with_layer("block1", arrangement=replace(MOBILENET["keras"], padding=1)),
    ),
    "padding that counts": (
        "keras/inception_v3",
        "mixed4",
        with_layer("mixed4", arrangement=replace(INCEPTION["keras"], count_padding=True)),
    ),
    "the stride in another convolution": (
        "keras/resnet50",
        "block2_1",
        with_layer("block2_1", arrangement=replace(RESNET["keras"], strided=2)),
    ),
    "another activation": ("keras/mobilenet_v2", "top", with_layer("top", activation=nn.relu)),
    "a smooth activation": ("keras/inception_v3", "conv2", with_layer("conv2", activation=nn.gelu)),
    "RGB for BGR": ("keras/resnet50", "input", with_preprocess(channel_order="rgb")),
    "BGR for RGB": ("keras/mobilenet_v2", "input", with_preprocess(channel_order="bgr")),
    "0 to 255 for -1 to 1": ("keras/mobilenet_v2", "input", with_preprocess(scale=1.0, mean=())),
    "0 to 1 for 0 to 255": ("keras/vgg16", "input", with_preprocess(scale=1 / 255)),
    "another mean": ("keras/resnet50", "input", with_preprocess(mean=(103.939, 116.779, 123.18))),
}


BY_NETWORK = sorted(FAULTS, key=lambda fault: FAULTS[fault][0])


def _size(name: str) -> tuple[int, int]:
    return size_of(TABLES[name])


class Remembering:
    """A reference that runs once for the same inputs."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference
        self._found: dict[bytes, Any] = {}

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        return self._reference.preprocess(images)

    def outputs(self, inputs: np.ndarray, nodes: Any) -> dict[str, np.ndarray]:
        key = inputs.tobytes()
        if key not in self._found:
            self._found[key] = self._reference.outputs(inputs, nodes)
        return self._found[key]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    folder = tmp_path_factory.mktemp("files")

    @functools.cache
    def file(name: str) -> Path:
        (folder / name).mkdir(parents=True)
        return save_keras(keras_network(TABLES[name], _size(name)), folder / name, ".h5")

    yield file
    for path in folder.rglob("*.h5"):
        path.unlink()


@pytest.fixture(scope="module")
def remembered() -> dict[str, Remembering]:
    """The reference of one network: several, and all that is compiled for them, would take 2 GB."""
    return {}


@pytest.fixture
def compare(files, remembered, monkeypatch, tmp_path) -> Callable[[str], Any]:
    def reference_for(table: Any, *arguments: Any) -> Remembering:
        if table.name not in remembered:
            remembered.clear()
            jax.clear_caches()
            remembered[table.name] = Remembering(own(table, *arguments))
        return remembered[table.name]

    def compare(name: str) -> Any:
        options = ConvertOptions(input_size=_size(name), allow_negative_variance=True, compare=True)  # as means are
        done = convert_weights(files(name), tmp_path / "made", name, options)
        return done.verification

    own = conversion.reference_for
    monkeypatch.setattr(conversion, "reference_for", reference_for)
    return compare


@pytest.mark.slow
@pytest.mark.parametrize("fault", slow_but("gamma for beta", "BGR for RGB", of=BY_NETWORK))
def test_a_fault_is_found_at_its_stage(compare, monkeypatch, tmp_path, fault):
    name, stage, inject = FAULTS[fault]
    inject(monkeypatch, name)
    with pytest.raises(WeightsError, match=f"differs from keras:.* at '{stage}' by ") as caught:
        compare(name)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
