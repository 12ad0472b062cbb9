"""The optimizer's state as a checkpoint holds it: a tree of arrays, and plain data for JSON."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from tlx.optim.memory import Memory
from tlx.tree.paths import SEPARATOR, Tree, flatten, unflatten

_OLD_OWNERS = {"mu": "ScaleByAdamState", "nu": "ScaleByAdamState", "trace": "TraceState"}


def pack_memory(memory: Memory) -> tuple[Tree, dict[str, Any]]:
    """Split a memory into a tree of its arrays and plain data; the inverse of `unpack_memory`.

    The names of slots and cohorts are free texts, of which a path must know no sign. Arrays without numbers, which some
    optimizers have for leaves that they treat otherwise, are plain data: Orbax saves none.
    """
    leaves = {
        f"{path}{SEPARATOR}{_escaped(slot)}": leaf
        for path, slots in memory.leaves.items()
        for slot, leaf in slots.items()
    }
    shared = {
        f"{_escaped(cohort)}{SEPARATOR}{_escaped(slot)}": leaf
        for cohort, slots in memory.shared.items()
        for slot, leaf in slots.items()
    }
    arrays, empty = {}, {}
    for kind, slots in (("leaves", leaves), ("shared", shared)):
        empty[kind] = {place: [str(leaf.dtype), list(leaf.shape)] for place, leaf in slots.items() if not np.size(leaf)}
        arrays[kind] = unflatten({place: leaf for place, leaf in slots.items() if place not in empty[kind]})
    plain = {
        "empty": empty,
        "cohorts": memory.cohorts,
        "sizes": memory.sizes,
        "shapes": {path: list(shape) for path, shape in memory.shapes.items()},
    }
    return arrays, plain


def unpack_memory(arrays: Tree, plain: Mapping[str, Any]) -> Memory:
    """Put a memory together from its arrays, and the plain data with its own under 'memory'.

    That of format 2 has the steps that each leaf trained under 'ages'.
    """
    if "ages" in plain:
        return _of_ages(arrays, plain["ages"])
    cohorts, sizes = dict(plain["memory"]["cohorts"]), dict(plain["memory"]["sizes"])
    memory = Memory(
        leaves={path: {} for path in cohorts},
        shared={cohort: {} for cohort in sizes},
        cohorts=cohorts,
        sizes=sizes,
        shapes={path: tuple(shape) for path, shape in plain["memory"]["shapes"].items()},
    )
    for kind, found in (("leaves", memory.leaves), ("shared", memory.shared)):
        empty = {place: np.zeros(shape, dtype) for place, (dtype, shape) in plain["memory"]["empty"][kind].items()}
        for place, leaf in {**flatten(arrays.get(kind, {})), **empty}.items():
            name, _, slot = place.rpartition(SEPARATOR)
            found[name if kind == "leaves" else unquote(name)][unquote(slot)] = leaf
    return memory


def _of_ages(arrays: Tree, ages: Mapping[str, int]) -> Memory:
    """Read format 2: there leaves that had trained for equally long shared one count of steps, which was that."""
    cohorts = {path: f"age:{age}" for path, age in ages.items()}
    memory = Memory(
        leaves={path: {} for path in cohorts},
        shared={f"age:{age}": {"ScaleByAdamState.count": np.asarray(age, np.int32)} for age in ages.values()},
        cohorts=cohorts,
        sizes={name: list(cohorts.values()).count(name) for name in cohorts.values()},
    )
    shapes: dict[str, tuple[int, ...]] = {}
    for place, leaf in flatten(arrays).items():
        path, _, slot = place.rpartition(SEPARATOR)
        memory.leaves[path][f"{_OLD_OWNERS[slot]}.{slot}"] = leaf
        shapes[path] = leaf.shape
    read: Memory = memory.replace(shapes=shapes)
    return read


def _escaped(name: str) -> str:
    """Write a name without signs that a path, or Orbax, gives a meaning."""
    return quote(name, safe="").replace(".", "%2E")
