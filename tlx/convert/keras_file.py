"""Find layers and their weights in Keras's files: both layouts of HDF5, and the .keras archive of one of them."""

from __future__ import annotations

import json
import os
import re
import tempfile
import weakref
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlx.convert.hdf5 import Dataset, Tree, read_tree
from tlx.convert.source import Format, Layer, Source, Tensor
from tlx.errors import StorageError, WeightsError
from tlx.files.archive import Member
from tlx.files.opening import RegularFile, Stretch, one_line, shown

_MAX_CONFIG = 64 << 20


def read_keras_h5(file: RegularFile) -> Source:
    """List the layers and weights of an .h5 or .weights.h5 file of Keras; see `_legacy` and `_numbered` for names.

    Raises `WeightsError` for an HDF5 file without Keras's layout, and what `read_tree` raises.
    """
    where = shown(file.path)
    tree = read_tree(Stretch(file, 0, file.size), where)
    root = ("model_weights",) if ("model_weights",) in tree.texts else ()
    config = _parse(tree.texts[()].get("model_config", ()), where)
    if _joined(tree.texts[root], "layer_names") is not None:
        return _legacy(file, tree, root, config)
    if any(path[-2:-1] == ("vars",) for path in tree.datasets):
        return _numbered(file, "keras-weights", tree, config)
    raise WeightsError(f"{where}: an HDF5 file, but without the layers of a Keras model; save it with Keras")


def read_keras_archive(file: RegularFile, members: dict[str, Member]) -> Source:
    """List the layers and weights of a .keras file, whose configuration is read as data: nothing in it is made or run.

    Raises what `read_keras_h5` raises, `WeightsError` where a member's CRC does not match, and `StorageError` where
    weights that are packed cannot be unpacked into a temporary file.
    """
    where = shown(file.path)
    member = members["model.weights.h5"]
    config: dict[str, Any] = {}
    if "config.json" in members:
        if members["config.json"].size > _MAX_CONFIG:
            raise WeightsError(f"{where}: a configuration of {members['config.json'].size} bytes; no model has such")
        config = _parse((members["config.json"].read().tobytes(),), where)
    with ExitStack() as on_error:
        source = _numbered(file, "keras", read_tree(_content(member, on_error), member.where), config)
        on_error.pop_all()
    return source


def _content(member: Member, on_error: ExitStack) -> Stretch:
    """Check the CRC of a member and find its bytes in place, or unpack them into a file that goes with the stretch."""
    if member.stored:
        for _ in member.chunks():
            pass
        return Stretch(member.file, member.offset, member.size)
    try:
        with tempfile.NamedTemporaryFile(prefix="tlx-", suffix=".h5", delete=False) as unpacked:
            keep = _Temporary(unpacked.name)
            on_error.callback(keep.remove)  # an error and its traceback may hold each other, and so the stretch
            unpacked.writelines(member.chunks())
    except OSError as error:
        raise StorageError(
            f"{member.where}: cannot be unpacked ({error.strerror}): free the disk or set TMPDIR"
        ) from error
    return Stretch(RegularFile.at(Path(unpacked.name)), 0, member.size, keep)


class _Temporary:
    """Removes a file when nothing needs it any more, at the latest when Python ends."""

    def __init__(self, path: str) -> None:
        self.remove = weakref.finalize(self, os.unlink, path)


# The legacy layout: attributes name the layers, and the weights of each


def _legacy(file: RegularFile, tree: Tree, root: tuple[str, ...], config: Mapping[str, Any]) -> Source:
    """Name a tensor `layer/weight`, with as many last parts of the weight's name as tell a layer's weights apart.

    A convolution has `block1_conv1/kernel`, a model within the model `vgg16/block1_conv1/kernel`. Such a model is one
    group in the file, its trainable weights before all others: here its layers stand among the layers of the outer one.
    """
    where = shown(file.path)
    tensors: dict[str, Tensor] = {}
    layers = []
    used = set()
    names = _joined(tree.texts[root], "layer_names") or ()
    if ("model_weights" in root) and "top_level_model_weights" not in names:
        names = (*names, "top_level_model_weights")
    for layer in names:
        group = (*root, *layer.split("/"))
        if group not in tree.texts:
            if layer == "top_level_model_weights":
                continue
            raise WeightsError(f"{where}: layer '{shown(layer)}' is announced but not there; fetch the file again")
        weights = _joined(tree.texts[group], "weight_names") or ()
        paths = [(*group, *weight.split("/")) for weight in weights]
        for path in paths:
            if path not in tree.datasets:
                raise WeightsError(
                    f"{where}: tensor '{shown('/'.join(path))}' is announced but not there; fetch the file again"
                )
            used.add(path)
        short = _shortest(weights)
        labels = [f"{layer}/{weight}" for weight in short]
        layers += _own_layers(layer, short)
        for label, path in zip(labels, paths, strict=True):
            _add(tensors, label, tree.datasets[path], where)
    others = tuple("/".join(path) for path in tree.datasets if path not in used)
    return Source(file.path, "keras-h5", tensors, _as_called(layers, set(names)), config, others, (file.path,))


def _own_layers(group: str, weights: Sequence[str]) -> list[Layer]:
    """List the layers that own the weights of a group: itself, or each layer of a model within the model."""
    owners: dict[str, list[str]] = {}
    for weight in weights:
        owners.setdefault(weight.rpartition("/")[0], []).append(f"{group}/{weight}")
    return [Layer(f"{group}/{owner}" if owner else group, "", tuple(own)) for owner, own in owners.items()]


def _as_called(layers: Sequence[Layer], groups: Collection[str]) -> tuple[Layer, ...]:
    """Call the layers of a model within the model by their own names, where no two layers share one."""
    own = [layer.name if layer.name in groups else layer.name.rpartition("/")[2] for layer in layers]
    shared = Counter(own)
    pairs = zip(layers, own, strict=True)
    return tuple(replace(layer, name=name) if shared[name] == 1 else layer for layer, name in pairs)


def _shortest(weights: Sequence[str]) -> list[str]:
    parts = [weight.removesuffix(":0").split("/") for weight in weights]
    for length in range(1, max(map(len, parts), default=0)):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(part) for part in parts]


def _joined(texts: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...] | None:
    """Join an attribute that Keras splits where it is long: name, or name0, name1 and so on."""
    if name in texts:
        return texts[name]
    pieces = [texts[f"{name}{number}"] for number in range(len(texts)) if f"{name}{number}" in texts]
    return tuple(text for piece in pieces for text in piece) if pieces else None


# The layout of Keras 3: groups by class, weights by number


def _numbered(file: RegularFile, form: Format, tree: Tree, config: Mapping[str, Any]) -> Source:
    """Name a tensor `layer/number`, the layer by its own name, or by its path below `layers` where two share one.

    Layers are in the order of the configuration where that names them all. The variables of an optimizer are among
    `others`.
    """
    where = shown(file.path)
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    others = []
    for path in sorted(tree.datasets, key=_natural):
        if path[-2:-1] != ("vars",) or path[0] == "optimizer":
            others.append("/".join(path))
        else:
            groups.setdefault(path[:-2], []).append(path)
    own = {group: "".join(tree.texts[(*group, "vars")].get("name", ())) for group in groups}
    shared = Counter(own.values())
    tensors: dict[str, Tensor] = {}
    layers = []
    for group, paths in groups.items():
        inside = tuple(part for part in group if part != "layers")
        kind = re.sub(r"_\d+$", "", group[-1]) if group else ""
        alone = own[group] and shared[own[group]] == 1
        name = own[group] if alone else "/".join(inside) or "model"
        labels = [f"{name}/{path[-1]}" for path in paths]
        layers.append(Layer(name, kind, tuple(labels)))
        for label, path in zip(labels, paths, strict=True):
            _add(tensors, label, tree.datasets[path], where)
    position = {name: index for index, name in enumerate(_layer_names(config))}
    if all(layer.name in position for layer in layers):
        layers.sort(key=lambda layer: position[layer.name])
    return Source(file.path, form, tensors, tuple(layers), config, tuple(others), (file.path,))


def _layer_names(config: Any) -> Iterator[str]:
    """Yield the names of the layers of a configuration, those of a model within the model in its place."""
    match config:
        case {"config": {"layers": [*layers]}}:
            for layer in layers:
                yield from _layer_names(layer)
        case {"config": {"name": str(name)}}:
            yield name


def _natural(path: tuple[str, ...]) -> list[tuple[str, int]]:
    """Order conv2d, conv2d_2, conv2d_10; 2, 10.

    >>> sorted([("conv2d_10",), ("conv2d",), ("conv2d_2",)], key=_natural)
    [('conv2d',), ('conv2d_2',), ('conv2d_10',)]
    """
    keys = []
    for part in path:
        word, _, number = part.rpartition("_")
        if not (number.isdecimal() and number.isascii()) or len(number) > 9 or (not word and part != number):
            word, number = part, "-1"
        keys.append((word, int(number)))
    return keys


def _add(tensors: dict[str, Tensor], name: str, dataset: Dataset, where: str) -> None:
    if name in tensors:
        raise WeightsError(f"{where}: two tensors are named '{shown(name)}'; no model of Keras has such")
    tensors[name] = Tensor(name, dataset.shape, dataset.dtype, dataset.read)


def _parse(texts: Sequence[str | bytes], where: str) -> dict[str, Any]:
    """Read a model's configuration as JSON; none is {}."""
    if not texts:
        return {}
    try:
        text = texts[0]
        config = json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where}: damaged configuration ({one_line(error)}); fetch the file again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{where}: damaged configuration; fetch the file again")
    return config
