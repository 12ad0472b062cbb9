"""Read the weights of a KerasHub preset under their places in its files."""

from pathlib import Path

import numpy as np

from tlx.convert.hdf5 import Dataset, Tree, read_tree
from tlx.convert.source import Source, Tensor
from tlx.errors import WeightsError
from tlx.files.opening import RegularFile, Stretch, shown

BACKBONE, TASK = "model.weights.h5", "task.weights.h5"
ATTENTION = "self_attention_layer"


def read_keras_hub(folder: Path, *, task: bool = False) -> Source:
    """List the tensors of a preset's backbone and, with `task`, of what stands on it; read none.

    A tensor is called as its group is, without 'layers' and 'vars', and by its number there:
    'transformer_encoder_1/self_attention_layer/query_dense/0'; those of the task begin with 'task/'. Keras derives
    these names from classes and attributes, and loads by them. Leading underscores of attributes are left out: they
    depend on Keras's version. The kernels of attention, which Keras splits by heads, are matrices here: the same
    numbers in the same order.

    Args:
        folder: the preset.
        task: whether the weights of the task are read, too.

    Raises:
        WeightsError: for a file that is missing, damaged or none of Keras's.
        UnsafeFileError: for one that reaches outside itself.
    """
    tensors: dict[str, Tensor] = {}
    others: list[str] = []
    files = [folder / BACKBONE, *([folder / TASK] if task else [])]
    for path in files:
        file = RegularFile.at(path)
        tree = read_tree(Stretch(file, 0, file.size), shown(path))
        start = "task/" if path.name == TASK else ""
        for place, dataset in tree.datasets.items():
            if place[-2:-1] != ("vars",) or place[0] == "optimizer":
                others.append(start + "/".join(place))
                continue
            parts = [part.lstrip("_") for part in place if part not in ("layers", "vars")]
            name = start + "/".join(parts)
            if name in tensors:
                raise WeightsError(f"{shown(path)}: two tensors are named '{shown(name)}'; no model of Keras has such")
            tensors[name] = _joined(name, dataset) if ATTENTION in parts else _as_it_is(name, dataset)
        _refuse_empty(path, tree, tensors)
    return Source(files[0], "keras-weights", tensors, others=tuple(others), files=tuple(files))


def _refuse_empty(path: Path, tree: Tree, tensors: dict[str, Tensor]) -> None:
    if not tensors:
        there = "other datasets" if tree.datasets else "nothing"
        raise WeightsError(f"{shown(path)}: holds {there}, not the weights of a Keras model; save the preset again")


def _as_it_is(name: str, dataset: Dataset) -> Tensor:
    return Tensor(name, dataset.shape, dataset.dtype, dataset.read)


def _joined(name: str, dataset: Dataset) -> Tensor:
    """Join the axes of heads: (C, heads, size) and (heads, size, C) become (C, C), (heads, size) becomes (C,)."""
    shape = joined_shape(name, dataset.shape)

    def read() -> np.ndarray:
        return dataset.read().reshape(shape)

    return Tensor(name, shape, dataset.dtype, read)


def joined_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an attention's weight with its heads joined; other shapes as they are.

    >>> joined_shape("self_attention_layer/query_dense/0", (8, 2, 4))
    (8, 8)
    >>> joined_shape("self_attention_layer/output_dense/0", (2, 4, 8))
    (8, 8)
    >>> joined_shape("self_attention_layer/key_dense/1", (2, 4))
    (8,)
    """
    output = "output_dense" in name
    if len(shape) == 3:
        return (shape[0] * shape[1], shape[2]) if output else (shape[0], shape[1] * shape[2])
    return (shape[0] * shape[1],) if len(shape) == 2 and not output else shape
