"""A source: the named arrays of a weight file, listed at once and read one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Format = Literal[
    "keras-h5",  # Keras's legacy layout, weights only or a whole model
    "keras-weights",  # Keras 3, .weights.h5
    "keras",  # Keras 3, .keras
    "torch-zip",
    "torch-legacy",
    "safetensors",
    "npz",
    "tf",  # TensorFlow checkpoints, SavedModels and modules of TF Hub
]


@dataclass(frozen=True)
class Tensor:
    """One array of a file: its name there, shape, NumPy or ml_dtypes name of its type, and how to read it.

    `read` returns the array in native byte order, contiguous in C order, and reads the file on each call, so that
    nothing stays in memory. It raises `WeightsError` where the file is damaged there.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A Keras layer that owns weights: its name, its class ('' where the file does not tell), its tensors in order."""

    name: str
    kind: str
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A weight file, opened.

    `tensors` are in the file's own order. `layers` are those of a Keras file, in the model's order (one order a class
    for `.weights.h5`, which has no other). `config` is what a file says of its model as plain data (Keras's model
    configuration, the metadata of safetensors). `others` names what a file holds beside tensors (PyTorch's
    `best_prec1`; optimizer states are tensors and stand among them). `files` are all that belong to it (shards).
    """

    path: Path
    format: Format
    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
