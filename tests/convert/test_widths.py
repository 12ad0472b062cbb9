"""A variant of a network, and a network without a table, are named as what they are."""

import pytest
from sources import changed, lazy, source_of

from tlx.convert import TABLES, identify, make_plan
from tlx.convert.strangers import stranger
from tlx.convert.widths import likely_variant
from tlx.errors import WeightsError

MOBILENET, RESNET = TABLES["torchvision/mobilenet_v2"], TABLES["torchvision/resnet50"]


def resized(table, size):
    """Return a table's file with other sizes: of a shape (out, in, …) by a function of the tensor's name and shape."""

    def change(tensors):
        for name, each in list(tensors.items()):
            tensors[name] = lazy(name, size(name, each.shape))

    return changed(source_of(table, counters=False), change)


def halved(name, shape):
    channels = [n if n in (1, 3) or name.startswith(("classifier", "features.18")) else n // 2 for n in shape[:2]]
    return (*channels, *shape[2:])


def wide(name, shape):
    if "layer" not in name or "downsample" in name:
        return shape
    if ".conv3.weight" in name:
        return (shape[0], 2 * shape[1], *shape[2:])
    if ".conv1.weight" in name or ".bn1." in name or ".bn2." in name:
        return (2 * shape[0], *shape[1:])
    return (2 * shape[0], 2 * shape[1], *shape[2:]) if ".conv2.weight" in name else shape


def grouped(name, shape):
    shape = wide(name, shape)
    return (shape[0], shape[1] // 32, *shape[2:]) if ".conv2.weight" in name else shape


@pytest.mark.parametrize(
    ("table", "size", "words"),
    [
        (MOBILENET, halved, "its layers are 0.5 times as wide, as of a width multiplier"),
        (RESNET, wide, "its layers are 2 times as wide, as of a wide variant"),
        (RESNET, grouped, "as of grouped convolutions"),
    ],
)
def test_a_variant_of_another_width_is_named(table, size, words):
    source = resized(table, size)
    with pytest.raises(WeightsError, match=f"does not fit {table.name}: .*{words}.*no table of it"):
        make_plan(source, table)
    assert identify(source)[0].table.name == table.name


@pytest.mark.parametrize(
    "kernels",
    [
        [],
        [((3, 3, 8, 8), (3, 3, 8, 8))] * 5,
        [((3, 3, 8, 8), (3, 3, 16, 16)), ((3, 3, 8, 8), (3, 3, 16, 4)), ((3, 3, 64, 64), (3, 3, 16, 16))] * 2,
        [((0, 3, 8, 8), (3, 3, 16, 16)), ((8,), (16,))],
    ],
)
def test_shapes_that_differ_by_no_factor_are_no_variant(kernels):
    assert likely_variant(kernels) == ""


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("module.blocks.3.attn.qkv.weight", "a vision transformer of timm"),
        ("vit.encoder.layer.0.attention.attention.query.weight", "a vision transformer of transformers"),
        ("features.denseblock1.denselayer1.norm1.weight", "a DenseNet"),
        ("block1.rep.0.conv1.weight", "timm's Xception"),
        ("conv1.3.weight", "a ResNet-D"),
        ("model.0.conv.weight", "a YOLO"),
        ("block2a_se_reduce/kernel", "an EfficientNet of Keras"),
        ("backbone.bottom_up.res2.0.conv1.weight", "Detectron2"),
    ],
)
def test_a_network_without_a_table_is_known_by_its_names(name, whose):
    assert whose in stranger(["a", name])


@pytest.mark.parametrize(
    "name",
    ["keras/resnet50", "keras/mobilenet_v2", "torchvision/resnet50", "torchvision/mobilenet_v2", "timm/mobilenet_v2"],
)
def test_no_network_with_a_table_is_a_stranger(name):
    assert stranger(source_of(TABLES[name]).tensors) is None
