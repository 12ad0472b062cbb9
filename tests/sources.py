"""Weight files in memory, as a table says that they are."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from reference_files import numbers

from tlx.convert import Layer, Source, Table, Tensor
from tlx.convert.rules import KERAS_CLASSES, KINDS, resolve
from tlx.convert.transforms import source_shape
from tlx.models import ARCHITECTURES, ModelConfig, leaf_shapes


def config_for(table: Table, classes: int | None = None, channels: int = 3, **more: Any) -> ModelConfig:
    """Describe the model of a table with its head: as published, but a VGG, whose head depends on it, for 32 by 32."""
    classes = table.classes if classes is None else classes
    head = {"hidden": table.hidden, "pool": table.pool} if classes else {}
    size = (32, 32) if table.hidden else ARCHITECTURES[table.architecture].input_shape[:2]
    return ModelConfig(table.architecture, classes, (*size, channels), **head, **more)


def tensor(name: str, array: Any) -> Tensor:
    return Tensor(name, array.shape, array.dtype.name, lambda: np.ascontiguousarray(array))


def lazy(name: str, shape: Sequence[int], dtype: str = "float32") -> Tensor:
    """A tensor whose numbers depend on its name alone, drawn when they are read."""

    def read() -> np.ndarray:
        draw = np.random.default_rng(list(name.encode()))
        return numbers(draw, name, tuple(shape)).astype(dtype)

    return Tensor(name, tuple(shape), dtype, read)


def source_of(table: Table, config: ModelConfig | None = None, *, counters: bool = True) -> Source:
    """Return what a table's library would write: for PyTorch with the counters of batches."""
    shapes = leaf_shapes(config or config_for(table))
    named = {
        name: lazy(name, source_shape(rule.transform, shapes[path]))
        for path, (name, rule) in resolve(table, shapes).items()
    }
    if table.dialect == "torch":
        for name in list(named) if counters else ():
            if name.endswith(".running_var"):
                counter = name.replace("running_var", "num_batches_tracked")
                named[counter] = lazy(counter, (), "int64")
        return Source(Path("file.pth"), "torch-zip", named)
    return _with_layers(Source(Path("file.h5"), "keras-h5", named), table)


def _with_layers(source: Source, table: Table) -> Source:
    order = [rule.source for rules in KINDS["keras"].values() for rule in rules]
    layers = []
    for layer in table.layers:
        own = sorted(
            (n for n in source.tensors if n.startswith(f"{layer}/")), key=lambda n: order.index(n.rpartition("/")[2])
        )
        if own:
            layers.append(Layer(layer, "", tuple(own)))
    tensors = {name: source.tensors[name] for layer in layers for name in layer.tensors}
    return replace(source, tensors=tensors, layers=tuple(layers))


def changed(source: Source, change: Callable[[dict[str, Tensor]], Any]) -> Source:
    """Return a source whose dict of tensors was changed in place."""
    tensors = dict(source.tensors)
    change(tensors)
    layers = tuple(
        replace(layer, tensors=own)
        for layer in source.layers
        if (own := tuple(t for t in layer.tensors if t in tensors))
    )
    return replace(source, tensors=tensors, layers=layers)


def renamed(source: Source, rename: Callable[[str], str]) -> Source:
    """Return a source whose tensors have other names."""
    return replace(
        source, tensors={rename(name): replace(each, name=rename(name)) for name, each in source.tensors.items()}
    )


@functools.cache
def kinds_of_layers(table: Table) -> Mapping[str, str]:
    """The name that Keras 3 derives from the class of each layer."""
    kinds = {}
    for path, (name, _) in resolve(table, leaf_shapes(config_for(table))).items():
        kinds[name.rpartition("/")[0]] = KERAS_CLASSES[table.entry(path)[2].kind]
    return kinds


def with_numbered_layers(source: Source, table: Table, first: int) -> Source:
    """Rename Keras's layers as a later session would: the class with a number."""
    counts: dict[str, int] = {}
    tensors, layers = {}, []
    for layer in source.layers:
        kind = kinds_of_layers(table)[layer.name]
        number = counts[kind] = counts.get(kind, first - 1) + 1
        name = f"{kind}_{number}"
        own = []
        for old in layer.tensors:
            new = f"{name}/{old.rpartition('/')[2]}"
            tensors[new] = replace(source.tensors[old], name=new)
            own.append(new)
        layers.append(Layer(name, layer.kind, tuple(own)))
    return replace(source, tensors=tensors, layers=tuple(layers))


def as_keras_3(source: Source, table: Table) -> Source:
    """Order and name a Keras source as `.weights.h5` does: one order a class, weights by number."""
    tensors, layers = {}, []
    for layer in source.layers:
        own = []
        for number, old in enumerate(layer.tensors):
            new = f"{layer.name}/{number}"
            tensors[new] = replace(source.tensors[old], name=new)
            own.append(new)
        layers.append(Layer(layer.name, kinds_of_layers(table)[layer.name], tuple(own)))
    layers.sort(key=lambda layer: layer.kind)
    return replace(source, format="keras-weights", tensors=tensors, layers=tuple(layers))
