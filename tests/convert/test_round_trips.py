"""There and back: a file of another library, tlx's folder, and a file that the library loads again, bit for bit."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from cases import bits
from marks import slow_but
from peers import import_peer
from reference_files import (
    cifar_network,
    empty_keras_network,
    empty_torch_network,
    fill,
    keras_network,
    save_keras,
    save_torch,
    size_of,
    torch_network,
)
from sources import config_for, lazy, source_of

import tlx
from tlx.convert import TABLES, Conversion, Table, make_plan, open_weights
from tlx.convert.export import export
from tlx.convert.source import Source, Tensor
from tlx.presets import convert_weights, export_weights
from tlx.tree import flatten

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras


def leaves_of(source: Source, table: Table) -> tuple[Any, list[Tensor]]:
    """Convert in memory; return the configuration and the leaves as tensors."""
    plan = make_plan(source, table, input_size=config_for(table).input_shape[:2])
    leaves = flatten(Conversion(plan, "memory").variables())
    return plan, [Tensor(path, leaf.shape, "float32", lambda leaf=leaf: leaf) for path, leaf in leaves.items()]


def contents(source: Source) -> Iterator[tuple[str, Any]]:
    for tensor in source.tensors.values():
        yield tensor.name, bits(tensor.read())


@pytest.mark.parametrize("name", slow_but("keras/mobilenet_v2", "torchvision/resnet18", "cifar/resnet20", of=TABLES))
def test_a_files_tensors_come_back_bit_for_bit(tmp_path, name):
    """Every table, PyTorch's counters and Inception's auxiliary classifier included; VGG with a narrower head."""
    table = replace(TABLES[name], hidden=(8, 6) if TABLES[name].hidden else ())
    source = source_of(table)
    if "inception" in name and table.dialect == "torch":
        auxiliary = [lazy("AuxLogits.conv0.conv.weight", (128, 768, 1, 1)), lazy("AuxLogits.fc.bias", (1000,))]
        source = Source(source.path, source.format, {**source.tensors, **{each.name: each for each in auxiliary}})
    plan, leaves = leaves_of(source, table)
    kept = [source.tensors[unused.source] for unused in plan.ignored if unused.kept]
    path = tmp_path / ("back.h5" if table.dialect == "keras" else "back.pth")
    done = export(table, plan.config, leaves, path, kept)
    assert set(done.tensors) | set(done.kept) == source.tensors.keys()
    back = open_weights(path)
    assert dict(contents(back)) == dict(contents(source))
    assert [layer.name for layer in back.layers] == [layer.name for layer in source.layers]
    assert [layer.tensors for layer in back.layers] == [layer.tensors for layer in source.layers]
    path.unlink()


# The library itself loads what comes back, strictly


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "suffix"),
    [("keras/mobilenet_v2", ".weights.h5"), ("keras/inception_v3", ".h5")],
)
def test_keras_loads_what_it_wrote(tmp_path, name, suffix):
    table, size = TABLES[name], size_of(TABLES[name])
    network = keras_network(table, size)
    path = save_keras(network, tmp_path, suffix)
    convert_weights(path, tmp_path / "tlx", arch=name, options=tlx.ConvertOptions(input_size=size))
    done = export_weights(tmp_path / "tlx", tmp_path / "back.h5", "keras")
    assert (done.arch, done.coverage) == (name, 1)
    again = empty_keras_network(table, size)
    again.load_weights(tmp_path / "back.h5")
    assert len(again.weights) == len(network.weights)
    for one, other in zip(again.weights, network.weights, strict=True):
        assert bits(one.numpy()) == bits(other.numpy())
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source_suffix", "suffix"),
    [
        ("torchvision/resnet18", ".pth", ".pth"),
        ("torchvision/mobilenet_v2", ".legacy.pth", ".pt"),
        ("torchvision/inception_v3", ".pth", ".safetensors"),
        ("timm/mobilenet_v2", ".safetensors", ".safetensors"),
        ("cifar/resnet20", ".legacy.pth", ".pth"),
    ],
)
def test_pytorch_loads_what_it_wrote(tmp_path, name, source_suffix, suffix):
    torch = import_peer("torch")
    table = TABLES[name]
    network = fill(cifar_network(20)).eval() if "cifar" in name else torch_network(table)
    size = (32, 32) if "cifar" in name else size_of(table)
    path = save_torch(network, tmp_path, source_suffix)
    convert_weights(path, tmp_path / "tlx", arch=name, options=tlx.ConvertOptions(input_size=size))
    back = tmp_path / f"back{suffix}"
    export_weights(tmp_path / "tlx", back, name.partition("/")[0])
    if suffix == ".safetensors":
        state = import_peer("safetensors.torch").load_file(back)
    else:
        state = torch.load(back, weights_only=True)
    own = network.state_dict()
    assert state.keys() == own.keys()
    for key, value in own.items():
        assert bits(state[key].numpy()) == bits(value.numpy())
    again = cifar_network(20) if "cifar" in name else empty_torch_network(table).to_empty(device="cpu")
    again.load_state_dict(state, strict=True)
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), network(images))
    for file in (path, back):
        file.unlink()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_kept_tensor_keeps_its_type(tmp_path, suffix):
    """Counters are 0-dimensional int64; half precision may stand among them, too."""
    table = TABLES["cifar/resnet20"]
    plan, leaves = leaves_of(source_of(table), table)
    kept = [
        lazy("a.num_batches_tracked", (), "int64"),
        lazy("b.bias", (3,), "float16"),
        lazy("c.weight", (2, 3), "float64"),
    ]
    export(table, plan.config, leaves, tmp_path / f"back{suffix}", kept)
    found = dict(contents(open_weights(tmp_path / f"back{suffix}")))
    for tensor in kept:
        assert found[tensor.name] == bits(tensor.read())


@pytest.mark.slow
def test_what_another_librarys_table_wrote_has_not_its_kept_tensors(tmp_path):
    """timm has no name for what stands beside torchvision's weights."""
    table = TABLES["torchvision/resnet18"]
    source = source_of(table, config_for(table, classes=3))
    plan, leaves = leaves_of(source, table)
    kept = [source.tensors[unused.source] for unused in plan.ignored if unused.kept]
    export(table, plan.config, leaves, tmp_path / "file.pth", kept)
    convert_weights(
        tmp_path / "file.pth",
        tmp_path / "tlx",
        arch="torchvision/resnet18",
        options=tlx.ConvertOptions(input_size=(32, 32)),
    )
    export_weights(tmp_path / "tlx", tmp_path / "timm.pth", "timm")
    export_weights(tmp_path / "tlx", tmp_path / "torchvision.pth", "torchvision")
    counted = {
        name: "num_batches" in "".join(open_weights(tmp_path / f"{name}.pth").tensors)
        for name in ("timm", "torchvision")
    }
    assert counted == {"timm": False, "torchvision": True}
