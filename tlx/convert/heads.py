"""Heads: find the head that a file has, where it is not the one that its network is published with."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tlx.convert.keras_model import head_pool
from tlx.convert.names import Named, is_dense
from tlx.convert.rules import KINDS, Row, Table
from tlx.convert.source import Source, Tensor
from tlx.convert.transforms import leaf_shape
from tlx.models.head import Pool

ROOTS = ("fc", "classifier", "head", "heads", "linear", "last_linear", "classification_head")
"""What modules on top of a base are called where a table does not tell."""

Modules = Mapping[str, Mapping[str, Tensor]]
"""By a module's whole name: its tensors, by the last part of their names."""


@dataclass(frozen=True)
class FoundHead:
    """The head of a file: `table` reads it, and `tensors` has its tensors under the names of the table.

    `rows` are set where the head is not the published one; they name its modules in full, prefix included. `left` are
    the tensors of a head that cannot be read, `fault` says why.
    """

    table: Table
    tensors: Mapping[str, Tensor]
    rows: tuple[Row, ...] = ()
    left: tuple[str, ...] = ()
    fault: str = ""

    def describe(self) -> str:
        """Say what was taken for the head, where it is not the published one."""
        if not self.rows:
            return f"left out ({self.fault}): give the base a new one" if self.left else ""
        names = ", ".join(row.source for row in self.rows)
        between = ", with ReLU between them" if len(self.rows) > 1 else ""
        return f"read from {names}{between}, after {self.table.pool!r} pooling"


def find_head(
    source: Source, table: Table, named: Named, features: tuple[int, ...], ignored: Collection[str] = ()
) -> FoundHead:
    """Find the linear layers of a file's head: the published ones, or others in their place or beside the base.

    `features` is the shape that the base leaves, (height, width, channels). Weights do not show what is between linear
    layers: it is taken to be ReLU. A head is left out where other layers in it own weights, or where its layers do not
    fit one another.
    """
    entries = [table.entry(f"params/{target}/kernel") for target in _targets(len(table.hidden))]
    own = {f"{named.prefix}{module}": row for module, _, row in entries}
    find = _keras_modules if table.dialect == "keras" else _torch_modules
    modules = find(source, own, named.prefix, ignored)
    if not modules or _is_published(modules, own, table):
        return FoundHead(_with_sizes(table, own, modules), named.tensors)
    chains = [_chain(modules, order, table, own, features) for order in (list(modules), sorted(modules, key=_natural))]
    rows, hidden, pool, fault = next((chain for chain in chains if not chain[-1]), chains[0])
    base = tuple(row for row in table.rows if not row.target.startswith("head/"))
    taken = {tensor.name for ends in modules.values() for tensor in ends.values()}
    tensors = {name: tensor for name, tensor in named.tensors.items() if tensor.name not in taken}
    if fault:
        return FoundHead(replace(table, rows=base, hidden=()), tensors, left=tuple(sorted(taken)), fault=fault)
    made = replace(table, rows=(*rows, *base), hidden=hidden, pool=head_pool(source) or pool)
    tensors |= {f"{name}{table.separator}{end}": t for name, ends in modules.items() for end, t in ends.items()}
    return FoundHead(made, tensors, rows)


def with_head(table: Table, rows: Sequence[Row]) -> Table:
    """Return a table whose head is read by `rows` (of `FoundHead`), instead of its own; without any, the table."""
    if not rows:
        return table
    return replace(table, rows=(*rows, *(row for row in table.rows if not row.target.startswith("head/"))))


def _torch_modules(source: Source, own: Mapping[str, Row], prefix: str, ignored: Collection[str]) -> Modules:
    """Find the modules of a head: where the table has them, or under a usual name beside the base or its container."""
    roots = {name.removeprefix(prefix).split(".")[0] for name in own}
    found = _below(source, prefix, roots, ignored)
    parent = prefix
    while not found:
        found = _below(source, parent, (*ROOTS, *_next_number(prefix.removeprefix(parent))), ignored)
        if not parent:
            break
        parent = parent[: parent.rstrip(".").rfind(".") + 1]
    return found


def _below(source: Source, start: str, roots: Collection[str], ignored: Collection[str]) -> Modules:
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in source.tensors.items():
        rest = name.removeprefix(start)
        if name.startswith(start) and "." in rest and rest.split(".")[0] in roots and name not in ignored:
            module, _, end = name.rpartition(".")
            modules.setdefault(module, {})[end] = tensor
    return modules


def _next_number(part: str) -> Iterator[str]:
    """Yield what follows the base in a Sequential: '1' where the base is below '0.'."""
    first = part.split(".")[0]
    if first.isdecimal() and first.isascii() and len(first) < 4:
        yield str(int(first) + 1)


def _keras_modules(source: Source, own: Mapping[str, Row], prefix: str, ignored: Collection[str]) -> Modules:
    del own, prefix
    names = [rule.source for rule in KINDS["keras"]["dense"]]
    return {
        layer.name: {name: source.tensors[tensor] for name, tensor in zip(names, layer.tensors, strict=False)}
        for layer in source.layers
        if is_dense(source, layer) and not any(tensor in ignored for tensor in layer.tensors)
    }


def _kernel(table: Table, kind: str, ends: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Return what a module's kernel makes, (inputs, outputs); None where it has none of that kind."""
    rule = KINDS[table.dialect][kind][0]
    return leaf_shape(rule.transform, ends[rule.source].shape) if rule.source in ends else None


def _is_published(modules: Modules, own: Mapping[str, Row], table: Table) -> bool:
    """Tell whether modules are the published head, or what damage left of it."""
    kernels = {name: _kernel(table, own[name].kind, modules[name]) for name in modules.keys() & own.keys()}
    if own.keys() <= {name for name, kernel in kernels.items() if kernel}:
        return modules.keys() <= own.keys()
    sizes = dict(zip(own, table.hidden, strict=False))
    return kernels.keys() == modules.keys() and all(
        not kernel or kernel[-1] == sizes.get(name, kernel[-1]) for name, kernel in kernels.items()
    )


def _with_sizes(table: Table, own: Mapping[str, Row], modules: Modules) -> Table:
    """Take the sizes of hidden layers from the file."""
    kernels = [_kernel(table, row.kind, modules.get(name, {})) for name, row in own.items()][: len(table.hidden)]
    hidden = [kernel[-1] if kernel else size for kernel, size in zip(kernels, table.hidden, strict=True)]
    return replace(table, hidden=tuple(hidden)) if all(hidden) else table


def _chain(
    modules: Modules, order: Sequence[str], table: Table, own: Mapping[str, Row], features: tuple[int, ...]
) -> tuple[tuple[Row, ...], tuple[int, ...], Pool, str]:
    """Read modules as linear layers one behind another: rows, hidden sizes, pooling, and what is against it."""
    channels = features[-1]
    flat = {"flatten": math.prod(features), "average7x7": 49 * channels}.get(table.pool, channels)
    kinds, sizes = list[str](), [channels]
    pool: Pool = "average"
    for name in order:
        ends = modules[name]
        kind = own[name].kind if name in own else "dense"
        if not kinds:
            plain = _kernel(table, "dense", ends)
            is_pooled = plain is not None and plain[0] == channels
            kind, pool = ("dense", pool) if is_pooled else (next(iter(own.values())).kind, table.pool)
        kernel = _kernel(table, kind, ends)
        if not kernel or ends.keys() != {rule.source for rule in KINDS[table.dialect][kind]}:
            return (), (), pool, f"{name!r} is no linear layer with a bias"
        if kernel[0] != sizes[-1] and (kinds or kernel[0] != flat):
            return (), (), pool, f"{name!r} takes {kernel[0]} numbers, what is before it gives {sizes[-1]}"
        kinds.append(kind)
        sizes.append(kernel[1])
    targets = _targets(len(kinds) - 1)
    rows = [Row(kind, name, target) for kind, name, target in zip(kinds, order, targets, strict=True)]
    return tuple(rows), tuple(sizes[1:-1]), pool, ""


def _targets(hidden: int) -> list[str]:
    return [*(f"head/hidden{number}" for number in range(1, hidden + 1)), "head/logits"]


def _natural(name: str) -> list[tuple[int, str]]:
    """Order names by the numbers in them: safetensors sorts them as texts.

    >>> sorted(["fc.10", "fc.2"], key=_natural)
    ['fc.2', 'fc.10']
    """
    return [(int(part) if part.isdecimal() and len(part) < 9 else -1, part) for part in name.split(".")]
