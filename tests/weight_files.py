"""Write small weight files by hand, as PyTorch and Keras lay them out, without either."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors.numpy

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(3, 3, 2, 4)).astype(np.float32)
BIAS = RANDOM.normal(size=4).astype(np.float32)


# Pickles, an opcode at a time


def name(module: str, attribute: str) -> bytes:
    return b"c%s\n%s\n" % (module.encode(), attribute.encode())


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def row(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + row(*arguments) + b"R"


def mapping(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def ordered(entries: Mapping[str, bytes]) -> bytes:
    return call(name("collections", "OrderedDict")) + mapping(entries)[1:]


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


NONE, TRUE, FALSE, EMPTY = b"N", b"\x88", b"\x89", call(name("collections", "OrderedDict"))


def storage(key: str, count: int, kind: str = "FloatStorage", *, old: bool = False, view: bytes = NONE) -> bytes:
    extra = (view,) if old else ()
    return row(text("storage"), name("torch", kind), text(key), text("cpu"), number(count), *extra) + b"Q"


def tensor(store: bytes, size: Sequence[int], stride: Sequence[int] | None = None, offset: int = 0) -> bytes:
    if stride is None:
        stride = [int(np.prod(size[axis + 1 :], dtype=int)) for axis in range(len(size))]
    sizes, strides = row(*map(number, size)), row(*map(number, stride))
    return call(name("torch._utils", "_rebuild_tensor_v2"), store, number(offset), sizes, strides, FALSE, EMPTY)


def torch_zip(
    path: Path,
    tree: bytes,
    storages: Mapping[str, bytes],
    *,
    order: str = "little",
    packing: int = zipfile.ZIP_STORED,
) -> Path:
    """Write what torch.save writes of a pickled tree and its storages."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("archive/data.pkl", pickled(tree))
        archive.writestr("archive/byteorder", order)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return path


MAGIC = pickled(number(0x1950A86A20F9469CFC6C))


def torch_legacy(path: Path, tree: bytes, storages: Mapping[str, tuple[int, bytes]]) -> Path:
    """Write what torch.save wrote before 1.6; a storage is its count of elements and its bytes."""
    system = mapping({"protocol_version": number(1001), "little_endian": TRUE})
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    parts = [MAGIC, *map(pickled, (number(1001), system, tree, keys))]
    parts += [struct.pack("<q", count) + content for count, content in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


def torch_tree(*, old: bool = False) -> bytes:
    """Write a checkpoint of a convolution: kernel (a transposed view), bias (within the same storage), an epoch."""
    store = storage("0", KERNEL.size + 4, old=old)
    size, stride = (4, 2, 3, 3), (1, 4, 24, 8)
    state = ordered({"conv.weight": tensor(store, size, stride), "conv.bias": tensor(store, (4,), offset=KERNEL.size)})
    return mapping({"state_dict": state + mapping({"_metadata": EMPTY}) + b"b", "epoch": number(3)})


CONTENT = KERNEL.tobytes() + BIAS.tobytes()


# HDF5


def legacy_h5(path: Path, layers: Mapping[str, Mapping[str, Any]], *, root: str = "/", **attributes: Any) -> Path:
    """Write Keras's legacy layout: a group a layer, its weights by the names in `weight_names`."""
    with h5py.File(path, "w") as file:
        for key, value in attributes.items():
            file.attrs[key] = value
        group = file.require_group(root)
        group.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, weights in layers.items():
            group.create_group(layer).attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in weights.items():
                group[layer].create_dataset(weight, data=array)
    return path


def numbered_h5(path: Path, layers: Mapping[str, tuple[str, Sequence[Any]]]) -> Path:
    """Write the layout of Keras 3: the path of a layer's group, its own name, its variables."""
    with h5py.File(path, "w") as file:
        for group, (own, arrays) in layers.items():
            variables = file.create_group(f"{group}/vars")
            variables.attrs["name"] = own
            for index, array in enumerate(arrays):
                variables.create_dataset(str(index), data=array)
    return path


def keras_archive(path: Path, weights: bytes, config: Any, packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return path


# safetensors


def safetensors_bytes(header: Any, content: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + content


def entry(dtype: str, shape: Sequence[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


# One small file of each format


def _sample_legacy_h5(path: Path) -> None:
    layers = {"conv": {"conv/kernel:0": KERNEL, "conv/bias:0": BIAS}, "pool": {}, "fc": {"m/fc/kernel": np.eye(3)}}
    legacy_h5(path, layers, root="model_weights", model_config='{"class_name": "Functional"}')


def _sample_packed_h5(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = ["conv"]
        group = file.create_group("conv", track_order=True)
        group.attrs["weight_names"] = ["conv/kernel", "conv/bias", "conv/small"]
        group.create_dataset("conv/kernel", data=KERNEL, chunks=(2, 2, 2, 3), compression="gzip", shuffle=True)
        group.create_dataset("conv/bias", data=BIAS.astype(">f8"), chunks=(3,))
        small = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        small.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        dataset = h5py.h5d.create(group["conv"].id, b"small", h5py.h5t.IEEE_F32LE, space, small)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, BIAS)


def _sample_dense_h5(path: Path) -> None:
    """Links and attributes too many to stand in object headers: heaps and trees, in the new layout and the old."""
    layers = {f"layer_{index}": {f"layer_{index}/bias": BIAS[:1]} for index in range(20)}
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = list(layers)
        for index in range(12):
            file.attrs[f"note{index}"] = f"text {index}"
        for layer, weights in layers.items():
            file.create_group(layer, track_order=True).attrs["weight_names"] = list(weights)
            for weight, array in weights.items():
                file[layer].create_dataset(weight, data=array)


def _sample_wide_h5(path: Path) -> None:
    layers = {f"layer_{index}": {f"layer_{index}/bias": BIAS[:1]} for index in range(40)}
    legacy_h5(path, layers, root="model_weights", model_config=json.dumps({"config": {"name": "m" * 5000}}))


def _sample_numbered_h5(path: Path) -> None:
    layers = {
        "layers/conv2d": ("conv", [KERNEL, BIAS]),
        "layers/dense_1": ("fc", [np.eye(3)]),
        "optimizer": ("", [BIAS]),
    }
    numbered_h5(path, layers)


def _sample_keras(path: Path) -> None:
    weights = path.with_name("model.weights.h5")
    _sample_numbered_h5(weights)
    keras_archive(path, weights.read_bytes(), {"class_name": "Sequential", "config": {"name": "m", "layers": []}})


def _sample_safetensors(path: Path) -> None:
    arrays = {"conv.weight": KERNEL, "conv.bias": BIAS.astype(np.float16), "steps": np.array([3])}
    path.write_bytes(safetensors.numpy.save(arrays, {"format": "pt"}))


def _sample_npz(path: Path) -> None:
    with io.BytesIO() as stream:
        np.savez(stream, **{"conv.weight": KERNEL.astype(">f4"), "conv.bias": BIAS})
        path.write_bytes(stream.getvalue())


SAMPLES: dict[str, tuple[tuple[str, Callable[[Path], Any]], ...]] = {
    "keras-h5": (
        ("model.h5", _sample_legacy_h5),
        ("packed.h5", _sample_packed_h5),
        ("dense.h5", _sample_dense_h5),
        ("wide.h5", _sample_wide_h5),
    ),
    "keras-weights": (("model.weights.h5", _sample_numbered_h5),),
    "keras": (("model.keras", _sample_keras),),
    "torch-zip": (("model.pt", lambda path: torch_zip(path, torch_tree(), {"0": CONTENT})),),
    "torch-legacy": (
        ("model.th", lambda path: torch_legacy(path, torch_tree(old=True), {"0": (len(CONTENT) // 4, CONTENT)})),
    ),
    "safetensors": (("model.safetensors", _sample_safetensors),),
    "npz": (("model.npz", _sample_npz),),
}
"""A few small files of each format: their names, and the functions that write them."""


def _external_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv"]
        file.create_group("conv").attrs["weight_names"] = ["w"]
        file["conv"].create_dataset("w", (4,), "f4", external=[("secret", 0, 16)])


def _linked_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv"]
        file.create_group("conv").attrs["weight_names"] = ["w"]
        file["conv"]["w"] = h5py.ExternalLink("secret", "/w")
        file["conv"]["v"] = h5py.SoftLink("/conv/w")


def _virtual_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv"]
        file.create_group("conv").attrs["weight_names"] = ["w"]
        layout = h5py.VirtualLayout((4,), "f4", maxshape=(None,))
        source = h5py.VirtualSource("secret", "w", (4,), "f4", maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        file["conv"].create_virtual_dataset("w", layout)


def _evil_torch_zip(path: Path) -> None:
    torch_zip(path, call(name("posix", "system"), text("touch canary")), {})


HOSTILE: dict[str, tuple[tuple[str, Callable[[Path], Any]], ...]] = {
    "keras-h5": (("external.h5", _external_h5), ("linked.h5", _linked_h5), ("virtual.h5", _virtual_h5)),
    "torch-zip": (("evil.pt", _evil_torch_zip),),
}
"""Files that reach outside themselves, to a file `secret`, or would run code: to be refused, whole or damaged."""
