"""Names: find a source's tensors under the names that a table gives them."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tlx.convert.rules import KERAS_CLASSES, KINDS, LeafRule, Table
from tlx.convert.source import Layer, Source, Tensor
from tlx.errors import WeightsError
from tlx.tree.paths import quote

MAX_COPIES = 12  # of one network in a file

Expected = Mapping[str, tuple[str, LeafRule]]  # by leaf's path: the name of its tensor, and the rule
MatchedBy = Literal["name", "position"]


@dataclass(frozen=True)
class Named:
    """A source's tensors under the names that a table gives them.

    `prefix` stood before the names of the base's tensors; under each of `copies` the file holds the base once more.
    Where `ambiguous`, nobody chose between them. `by` says how Keras's layers were found.
    """

    tensors: Mapping[str, Tensor]
    prefix: str = ""
    copies: tuple[str, ...] = ()
    ambiguous: bool = False
    by: MatchedBy = "name"


def find_names(
    source: Source, table: Table, base: Expected, prefix: str | None = None, ignored: Collection[str] = ()
) -> Named:
    """Name a source's tensors as a table does; `base` gives the tensor of each of the base's leaves.

    Keras's layers are found by name, or by their position where Keras made the names up. PyTorch's names may all stand
    below a prefix, which is found; where it is found several times, `prefix` says below what to look. Tensors that are
    `ignored` are not looked at. Raise `WeightsError` where the file is of another kind.
    """
    if source.layers or table.dialect == "keras":
        if not source.layers or table.dialect != "keras":
            raise WeightsError(f"{source.path}: is a file of the format {source.format}, not one of {table.name}")
        if prefix:
            raise WeightsError(f"{source.path}: Keras's names have no prefix: leave out --prefix {prefix!r}")
        return _keras_names(source, table, base)
    names = [name for name in source.tensors if name not in ignored]
    return _torch_names(source, names, {name for name, _ in base.values()}, prefix)


# PyTorch: prefixes


def with_dot(prefix: str) -> str:
    """Return a prefix as it stands before a name: with its final dot.

    >>> with_dot("model"), with_dot("model."), with_dot("")
    ('model.', 'model.', '')
    """
    return prefix if prefix.endswith(".") or not prefix else f"{prefix}."


def check_prefix(source: Source, prefix: str | None) -> None:
    """Raise `WeightsError` where no name begins with a prefix, with those that end as it does."""
    start = with_dot(prefix or "")
    if source.layers or not prefix or any(name.startswith(start) for name in source.tensors):
        return
    inside = sorted({name[: at + len(start)] for name in source.tensors if (at := name.find(f".{start}") + 1)})
    hint = f"did you mean {quote(inside, 4)}?" if inside else f"they are {quote(source.tensors, 6)}"
    raise WeightsError(f"{source.path}: no name begins with --prefix {start!r}: {hint}")


def container(copy: str, chosen: str) -> str:
    """Return below what all is of a copy, seen from the chosen one: its prefix as far as the first part that differs.

    >>> container("student.module.backbone.", "teacher.backbone."), container("ema.", "")
    ('student.', 'ema.')
    """
    parts, others = copy.split("."), chosen.split(".")
    same = next((place for place, (a, b) in enumerate(zip(parts, others, strict=False)) if a != b), 0)
    return with_dot(".".join(parts[: same + 1]))


def _torch_names(source: Source, names: Sequence[str], expected: Collection[str], prefix: str | None) -> Named:
    """Find what stands before the names: each prefix under which most of the expected names are."""
    check_prefix(source, prefix)
    within = with_dot(prefix or "")
    below = [name for name in names if name.startswith(within)]
    counts = Counter(start for name in below for start, rest in _splits(name) if rest in expected)
    most = max(counts.values(), default=0)
    copies = [start for start, count in counts.items() if 2 * count > most and start.startswith(within)]
    exact = prefix is not None and within in copies
    start = within if exact or not copies else copies[0]
    tensors = {name.removeprefix(start): source.tensors[name] for name in names if name.startswith(start)}
    everywhere = Counter(at for name in names for at, rest in _splits(name) if rest in expected)
    others = tuple(at for at, count in everywhere.items() if 2 * count > most > 0 and at != start)
    return Named(tensors, start, others, ambiguous=len(copies) > 1 and not exact)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield each way to take a name for one below a prefix: ('', 'a.b'), ('a.', 'b')."""
    at = 0
    while True:
        yield name[:at], name[at:]
        at = name.find(".", at) + 1
        if not at:
            return


def prefixes(names: Collection[str], anchors: Sequence[str]) -> list[str]:
    """List what may stand before a network's names: what stands before one of its first layer's, `anchors`.

    Of prefixes that lie in one another the outermost count. Without any, or with too many, it is what all names begin
    with, or nothing.

    >>> prefixes(["net.module.conv1.weight", "net.module.layer1.0.conv1.weight"], ["conv1.weight"])
    ['net.module.']
    >>> prefixes(["net.conv2.weight", "net.fc.bias"], ["conv1.weight"])
    ['', 'net.']
    """
    found = sorted(
        {
            name.removesuffix(anchor)
            for name in names
            for anchor in anchors
            if name == anchor or name.endswith(f".{anchor}")
        }
    )
    outermost: list[str] = []
    for start in found:  # sorted, so that a prefix comes before what begins with it
        if not outermost or not start.startswith(outermost[-1]):
            outermost.append(start)
    if 0 < len(outermost) <= MAX_COPIES:
        return outermost
    common = min(names, default="").split(".")[:-1]
    while common and not all(name.startswith(f"{'.'.join(common)}.") for name in names):
        common.pop()
    return ["", f"{'.'.join(common)}."] if common else [""]


# Keras: layers by name, or by position


def _keras_names(source: Source, table: Table, base: Expected) -> Named:
    """Find the base's layers by name, or where Keras made names up ('conv2d_7'), by position, as Keras loads them.

    Dense layers are of the head: they have their own names here.
    """
    weights: dict[str, list[str]] = {}  # of each layer, in the order in which Keras keeps them
    kinds = {}
    for path, (tensor, _) in base.items():
        owner, _, weight = tensor.rpartition("/")
        weights.setdefault(owner, []).append(weight)
        kinds[owner] = table.entry(path)[2].kind
    for name, own in weights.items():
        own.sort(key=[rule.source for rule in KINDS["keras"][kinds[name]]].index)

    body = [layer for layer in table.layers if layer in kinds]
    dense = [layer for layer in source.layers if is_dense(source, layer)]
    others = [layer for layer in source.layers if not is_dense(source, layer)]
    there = {layer.name for layer in others}
    by_name = there <= set(body) or (set(body) <= there and len(others) != len(body))  # else one was called otherwise
    pairs = ((each.name, each) for each in others) if by_name else _by_position(source.format, body, others, kinds)
    tensors: dict[str, Tensor] = {}
    for name, layer in pairs:
        tensors |= _weights(source, name, layer, weights.get(name, []))
    for layer in dense:
        tensors |= _weights(source, layer.name, layer, [rule.source for rule in KINDS["keras"]["dense"]])
    return Named(tensors, by="name" if by_name else "position")


def is_dense(source: Source, layer: Layer) -> bool:
    """Tell whether a Keras layer's weights are a matrix, and perhaps a vector."""
    shapes = [source.tensors[name].shape for name in layer.tensors]
    return len(shapes) in (1, 2) and len(shapes[0]) == 2 and all(len(shape) == 1 for shape in shapes[1:])


def _weights(source: Source, name: str, layer: Layer, own: Sequence[str]) -> dict[str, Tensor]:
    """Name a layer's tensors by its weights' names, those of older Keras and the numbers of Keras 3 by their order."""
    ends = [tensor.rpartition("/")[2] for tensor in layer.tensors]
    if not (set(ends) <= set(own) or set(own) <= set(ends)):
        ends = [*own, *(f"extra{index}" for index in range(len(ends)))][: len(ends)]
    return {f"{name}/{end}": source.tensors[tensor] for end, tensor in zip(ends, layer.tensors, strict=True)}


def _by_position(
    form: str, body: Sequence[str], layers: Sequence[Layer], kinds: Mapping[str, str]
) -> Iterator[tuple[str, Layer]]:
    if form != "keras-h5":  # Keras 3 keeps one order a class
        for kind, keras in KERAS_CLASSES.items():
            own = [layer for layer in body if kinds[layer] == kind]
            yield from zip(own, [layer for layer in layers if layer.kind == keras], strict=False)
    elif all(layer.tensors[0].startswith(f"{layer.name}/") for layer in layers):
        yield from zip(body, layers, strict=False)
    else:
        yield from _by_number(body, layers, kinds)


def _by_number(body: Sequence[str], layers: Sequence[Layer], kinds: Mapping[str, str]) -> Iterator[tuple[str, Layer]]:
    """Pair the layers of a model within the model, whose order in a legacy file depends on which of them trained.

    Names that Keras made up count the layers of a class as they were made, in a table as in a file.
    """
    named = {layer.name: layer for layer in layers if not _number(layer.name)[0]}
    for name in body:
        if name in named:
            yield name, named[name]
    for kind, keras in KERAS_CLASSES.items():
        own = [name for name in body if kinds[name] == kind and name not in named]
        made_up = [layer for layer in layers if _number(layer.name)[0] == keras]
        own.sort(key=lambda name: _number(name)[1])  # all 0 where a table's names tell more than the class
        yield from zip(own, sorted(made_up, key=lambda layer: _number(layer.name)[1]), strict=False)


def _number(layer: str) -> tuple[str, int]:
    """Return the class that Keras made a layer's name of, and its number; '' and 0 for any other name.

    >>> _number("conv2d"), _number("batch_normalization_12"), _number("block1_conv1")
    (('conv2d', 0), ('batch_normalization', 12), ('', 0))
    """
    found = _MADE_UP.fullmatch(layer)
    return (found["kind"], int(found["number"] or 0)) if found else ("", 0)


_MADE_UP = re.compile(rf"(?P<kind>{'|'.join(KERAS_CLASSES.values())})(_(?P<number>[0-9]{{1,9}}))?")
