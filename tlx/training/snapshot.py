"""A snapshot: all that a run needs to go on from between two steps, as arrays and as plain data for JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlx.optim.memory import Memory
from tlx.tree.paths import SEPARATOR, Tree, flatten, unflatten


@dataclass(frozen=True)
class Best:
    """The best epoch of a phase so far: the leaves that train in it, by path, their memory, the batch statistics."""

    epoch: int
    step: int
    val_loss: float | None
    val_accuracy: float | None
    params: dict[str, Any]
    batch_stats: Tree
    memory: Memory


@dataclass(frozen=True)
class Snapshot:
    """A run between two steps.

    `variables` is the whole tree, frozen leaves included; `memory` the optimizer's state by path. `epoch` (the last one
    that ended) and `step` count within phase `phase` (0 for the first). `batch` steps of the epoch after it are done,
    and `totals` are the sums over these (`tlx.training.state.Totals`); `key` is the data of the phase's random key.
    `records` holds what earlier phases came to, `sha256` the fingerprint of what is frozen in this phase as it began,
    `plan` what the counts within it rest on, `seconds` the time spent in this phase, `average` the moving averages of
    the leaves that train, by path, where they are kept, `history` the record of every epoch so far.
    """

    variables: Tree
    memory: Memory = field(default_factory=dict)
    phase: int = 0
    epoch: int = 0
    step: int = 0
    batch: int = 0
    totals: tuple[float, int, int, int] | None = None
    key: tuple[int, ...] | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    best: Best | None = None
    records: tuple[dict[str, Any], ...] = ()
    sha256: str | None = None
    plan: str | None = None
    seconds: float = 0.0
    average: dict[str, Any] | None = None
    history: tuple[dict[str, Any], ...] = ()


def memory_left(snapshot: Snapshot) -> Memory:
    """Return the optimizer's state of the weights that a phase leaves: those of its best epoch, if it kept one."""
    if snapshot.best is None:
        return snapshot.memory
    untouched = {path: entry for path, entry in snapshot.memory.items() if path not in snapshot.best.params}
    return {**untouched, **snapshot.best.memory}


FORMAT = 2
"""What checkpoints are written in. 1, which had no number: no history, and `sha256` without stored statistics."""


_PLAIN = (
    "phase",
    "epoch",
    "step",
    "batch",
    "totals",
    "key",
    "val_loss",
    "val_accuracy",
    "records",
    "sha256",
    "plan",
    "seconds",
    "history",
)
_BEST = ("epoch", "step", "val_loss", "val_accuracy")


def pack(snapshot: Snapshot) -> tuple[Tree, dict[str, Any]]:
    """Split a snapshot into a tree of its arrays and plain data; the inverse of `unpack`.

    >>> arrays, plain = pack(Snapshot({"params": {"head": {"bias": 1.0}}}, {"head/bias": {"age": 5, "mu": 2.0}}))
    >>> arrays
    {'variables': {'params': {'head': {'bias': 1.0}}}, 'memory': {'head': {'bias': {'mu': 2.0}}}}
    >>> plain["ages"]
    {'head/bias': 5}
    """
    plain: dict[str, Any] = {"format": FORMAT, **{name: getattr(snapshot, name) for name in _PLAIN}}
    plain["ages"] = _ages(snapshot.memory)
    arrays = {"variables": snapshot.variables, "memory": _slots(snapshot.memory)}
    if (best := snapshot.best) is not None:
        plain["best"] = {name: getattr(best, name) for name in _BEST} | {"ages": _ages(best.memory)}
        arrays["best"] = {
            "params": unflatten(best.params),
            "batch_stats": best.batch_stats,
            "memory": _slots(best.memory),
        }
    if snapshot.average is not None:
        arrays["average"] = unflatten(snapshot.average)
    return arrays, plain


def unpack(arrays: Tree, plain: Mapping[str, Any]) -> Snapshot:
    """Put a snapshot together from its arrays and its plain data, as JSON gives it back; the inverse of `pack`."""
    best = None
    if "best" in plain:
        tree = arrays["best"]
        best = Best(
            **{name: plain["best"][name] for name in _BEST},
            params=flatten(tree["params"]),
            batch_stats=tree["batch_stats"],
            memory=_memory(tree["memory"], plain["best"]["ages"]),
        )
    plain = {"format": 1, "history": (), **plain}
    if plain["format"] < FORMAT and plain["plan"] is not None:
        plain["plan"] = f"format {plain['format']}"  # no plan of today: the epoch begins anew, with a hash of today
    found: dict[str, Any] = {name: plain[name] for name in _PLAIN}
    lists = ("totals", "key", "records", "history")
    found |= {name: tuple(found[name]) for name in lists if found[name] is not None}
    return Snapshot(
        variables=arrays["variables"],
        memory=_memory(arrays["memory"], plain["ages"]),
        best=best,
        average=flatten(arrays["average"]) if "average" in arrays else None,
        **found,
    )


def _ages(memory: Memory) -> dict[str, int]:
    return {path: entry["age"] for path, entry in memory.items()}


def _slots(memory: Memory) -> Tree:
    """Turn a memory's slots into a tree: path, then slot."""
    return unflatten(
        {
            f"{path}{SEPARATOR}{slot}": leaf
            for path, entry in memory.items()
            for slot, leaf in entry.items()
            if slot != "age"
        }
    )


def _memory(slots: Tree, ages: Mapping[str, int]) -> Memory:
    """Put a memory together from its slots as a tree and its ages; the inverse of `_slots` and `_ages`."""
    memory: Memory = {path: {"age": age} for path, age in ages.items()}
    for place, leaf in flatten(slots).items():
        path, _, slot = place.rpartition(SEPARATOR)
        memory[path][slot] = leaf
    return memory
