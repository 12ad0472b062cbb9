"""Names: find a source's tensors under the names that a table gives them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tlx.convert.rules import KERAS_CLASSES, KINDS, LeafRule, Table
from tlx.convert.source import Layer, Source, Tensor
from tlx.errors import WeightsError
from tlx.tree.paths import quote

Expected = Mapping[str, tuple[str, LeafRule]]  # by leaf's path: the name of its tensor, and the rule
MatchedBy = Literal["name", "position"]

CONTAINERS = (  # what training scripts wrap a model's tensors in
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "_orig_mod",
    "backbone",
    "encoder",
)


@dataclass(frozen=True)
class Named:
    """A source's tensors under the names that a table gives them, the prefix they had, and how layers were found."""

    tensors: Mapping[str, Tensor]
    prefix: str = ""
    by: MatchedBy = "name"


def find_names(source: Source, table: Table, expected: Expected, prefix: str | None) -> Named:
    """Name a source's tensors as a table does; `expected` gives each leaf's tensor.

    Keras's layers are found by name, or by their position where Keras made the names up. PyTorch's names may all stand
    below a prefix: `prefix`, or of the known containers the one under which most of the expected names are. Raise
    `WeightsError` where the file is of another kind, and where two prefixes would do.
    """
    if source.layers or table.dialect == "keras":
        if not source.layers or table.dialect != "keras":
            raise WeightsError(f"{source.path}: is a file of the format {source.format}, not one of {table.name}")
        if prefix:
            raise WeightsError(f"{source.path}: Keras's names have no prefix: leave out --prefix {prefix!r}")
        return _keras_names(source, table, expected)
    return _torch_names(source, {name for name, _ in expected.values()}, prefix)


def _torch_names(source: Source, expected: set[str], prefix: str | None) -> Named:
    """Find what stands before every name: of the known containers, those under which most of the names are."""

    def under(start: str) -> dict[str, Tensor]:
        return {name.removeprefix(start): tensor for name, tensor in source.tensors.items() if name.startswith(start)}

    if prefix is not None:
        start = prefix if prefix.endswith(".") or not prefix else f"{prefix}."
        if not under(start):
            raise WeightsError(
                f"{source.path}: no name begins with --prefix {start!r}: they are {quote(source.tensors, 6)}"
            )
        return Named(under(start), start)
    counts = {start: len(expected & under(start).keys()) for start in prefixes(source.tensors)}
    best = max(counts.values())
    ties = [start for start, count in counts.items() if count == best]
    if best and len(ties) > 1:
        raise WeightsError(f"{source.path}: holds the model several times, under {quote(ties)}: choose with --prefix")
    return Named(under(ties[0]), ties[0])


def prefixes(names: Iterable[str]) -> list[str]:
    """List what may stand before all names: runs of known containers, and nothing.

    >>> prefixes(["state_dict.module.conv1.weight"])
    ['', 'state_dict.', 'state_dict.module.']
    """
    found = {""}
    for name in names:
        start = ""
        for part in name.split(".")[:4]:
            if part not in CONTAINERS:
                break
            start += part + "."
            found.add(start)
    return sorted(found)


def _keras_names(source: Source, table: Table, expected: Expected) -> Named:
    """Find the layers by name, or where Keras made names up ('conv2d_7'), by position, as Keras itself loads them."""
    weights: dict[str, list[str]] = {}  # of each layer, in the order in which Keras keeps them
    kinds = {}
    for path, (tensor, _) in expected.items():
        owner, _, weight = tensor.rpartition("/")
        weights.setdefault(owner, []).append(weight)
        kinds[owner] = table.entry(path)[2].kind
    for name, own in weights.items():
        own.sort(key=[rule.source for rule in KINDS["keras"][kinds[name]]].index)

    body = [layer for layer in table.layers if not _in_head(layer, expected)]
    there = {layer.name for layer in source.layers}
    as_many = len(source.layers) in (len(table.layers), len(body))  # a layer may have been called otherwise, once
    by_name = there <= set(table.layers) or (set(body) <= there and not as_many)
    by_name = by_name and len(there) == len(source.layers)
    named = ((layer.name, layer) for layer in source.layers)
    pairs = named if by_name else _by_position(source, table, kinds)
    tensors: dict[str, Tensor] = {}
    for name, layer in pairs:
        own = weights.get(name, [])
        ends = [tensor.rpartition("/")[2] for tensor in layer.tensors]
        if not (set(ends) <= set(own) or set(own) <= set(ends)):  # older Keras's names, or Keras 3's numbers
            ends = [*own, *(f"extra{index}" for index in range(len(ends)))][: len(ends)]
        tensors |= {f"{name}/{end}": source.tensors[tensor] for end, tensor in zip(ends, layer.tensors, strict=True)}
    return Named(tensors, by="name" if by_name else "position")


def _in_head(layer: str, expected: Expected) -> bool:
    return any(name.startswith(f"{layer}/") for path, (name, _) in expected.items() if path.startswith("params/head/"))


def _by_position(source: Source, table: Table, kinds: Mapping[str, str]) -> Iterator[tuple[str, Layer]]:
    if source.format == "keras-h5":
        yield from zip(table.layers, source.layers, strict=False)
        return
    for kind, keras in KERAS_CLASSES.items():  # Keras 3 keeps one order a class
        own = [layer for layer in table.layers if kinds[layer] == kind]
        yield from zip(own, [layer for layer in source.layers if layer.kind == keras], strict=False)
