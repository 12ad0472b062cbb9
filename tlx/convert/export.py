"""Export: write a model's leaves as a source would, by the same tables that read them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlx.convert.rules import KINDS, Table
from tlx.convert.source import Tensor
from tlx.convert.torch_writer import write_torch
from tlx.convert.transforms import inverse, leaf_shape, source_shape
from tlx.convert.write import Entry, write_safetensors
from tlx.errors import ConfigError, StorageError
from tlx.models.registry import ModelConfig, leaf_shapes
from tlx.tree.paths import quote


@dataclass(frozen=True)
class Exported:
    """What a file of another library holds: tensors that were made of leaves, and those that were kept."""

    path: Path
    tensors: tuple[str, ...]
    kept: tuple[str, ...]


def export(
    table: Table, config: ModelConfig, leaves: Iterable[Tensor], path: Path, kept: Sequence[Tensor] = ()
) -> Exported:
    """Write a model as the table's source does: `.h5` for Keras, `.pth`, `.pt` or `.safetensors` for PyTorch.

    `leaves` are named by path ('params/base/…'), `kept` are tensors of the source that fill no leaf, and go back as
    they are. Without them a PyTorch batch norm has no `num_batches_tracked`, which `load_state_dict` sets to 0. Raise
    `ConfigError` for a model that the source does not have and for a suffix that is not its own, `StorageError` where
    the file cannot be written.
    """
    leaves = list(leaves)
    _check(table, config, leaves)
    own = [_as_source(table, leaf) for leaf in leaves]
    names = tuple(tensor.name for tensor in own)
    if table.dialect == "keras":
        if path.suffix != ".h5" or path.name.endswith(".weights.h5"):
            raise ConfigError(f"{path}: tlx writes Keras's layout in .h5: name the file so")
        _write_keras(path, table, own)
        return Exported(path, names, ())
    if path.suffix in (".pth", ".pt"):
        write_torch(path, [*own, *kept])
    elif path.suffix == ".safetensors":
        write_tensors(path, [*own, *kept], {"format": "pt"})
    else:
        raise ConfigError(f"{path}: PyTorch's weights are in .pth, .pt or .safetensors: name the file so")
    return Exported(path, names, tuple(tensor.name for tensor in kept))


def write_tensors(path: Path, tensors: Sequence[Tensor], metadata: dict[str, str]) -> str:
    """Write tensors as safetensors, one at a time; return the SHA-256 of the file."""
    entries = [Entry(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
    return write_safetensors(path, entries, (np.ascontiguousarray(t.read()) for t in tensors), metadata)


def _as_source(table: Table, leaf: Tensor) -> Tensor:
    module, rule, _ = table.entry(leaf.name)

    def read() -> np.ndarray:
        return np.ascontiguousarray(inverse(rule.transform, leaf.read()))

    shape = source_shape(rule.transform, leaf.shape)
    if leaf_shape(rule.transform, shape) != leaf.shape:
        raise ConfigError(f"{leaf.name} is {leaf.shape}, which {table.name} cannot hold: its head has another size")
    return Tensor(f"{module}{table.separator}{rule.source}", shape, leaf.dtype, read)


def _check(table: Table, config: ModelConfig, leaves: Sequence[Tensor]) -> None:
    if config.architecture != table.architecture:
        raise ConfigError(f"{table.name} is the architecture {table.architecture!r}, not {config.architecture!r}")
    if config.classes and config.until is not None:
        raise ConfigError(f"{table.name} ends later than {config.until!r}, so its head is another (--no-head)")
    if config.classes and config.hidden != table.hidden:
        raise ConfigError(f"{table.name} has hidden layers {table.hidden} in its head, not {config.hidden} (--no-head)")
    if config.classes and not table.hidden and config.pool != table.pool:
        raise ConfigError(f"{table.name} pools by {table.pool!r} before its head, not by {config.pool!r} (--no-head)")
    shapes = leaf_shapes(config)
    strange = [leaf.name for leaf in leaves if shapes.get(leaf.name) != leaf.shape]
    strange += sorted(shapes.keys() - {leaf.name for leaf in leaves})
    if strange:
        raise ConfigError(f"not the leaves of {config.architecture}: {quote(strange)}")


def _write_keras(path: Path, table: Table, tensors: Sequence[Tensor]) -> None:
    """Write Keras's legacy layout: a group a layer, in the model's order, that names its weights."""
    import h5py

    order = [rule.source for rules in KINDS["keras"].values() for rule in rules]
    layers: dict[str, dict[str, Tensor]] = {layer: {} for layer in table.layers}
    for tensor in tensors:
        layer, _, weight = tensor.name.rpartition("/")
        layers[layer][weight] = tensor
    layers = {layer: own for layer, own in layers.items() if own}
    beside = path.with_name(path.name + ".partial")
    try:
        with h5py.File(beside, "w") as file:
            file.attrs["layer_names"] = [layer.encode() for layer in layers]
            file.attrs["backend"] = b"jax"
            file.attrs["keras_version"] = b"3"
            for layer, own in layers.items():
                group = file.create_group(layer)
                weights = sorted(own, key=order.index)
                group.attrs["weight_names"] = [f"{layer}/{weight}".encode() for weight in weights]
                for weight in weights:
                    group.create_dataset(f"{layer}/{weight}", data=own[weight].read())
        beside.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error}): free the disk or name another place") from error
    finally:
        beside.unlink(missing_ok=True)  # where it was not moved
