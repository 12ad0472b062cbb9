"""A snapshot: all that a run needs to go on from between two steps, as arrays and as plain data for JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlx.optim.memory import Memory
from tlx.training.pack_memory import pack_memory, unpack_memory
from tlx.tree.paths import Tree, flatten, unflatten


@dataclass(frozen=True)
class Best:
    """The best epoch of a phase so far: the leaves that train in it, by path, their memory, the batch statistics.

    `scores` is what validation measured, by name ("val_loss", …).
    """

    epoch: int
    step: int
    scores: dict[str, float | None]
    params: dict[str, Any]
    batch_stats: Tree
    memory: Memory


@dataclass(frozen=True)
class Snapshot:
    """A run between two steps.

    `variables` is the whole tree, frozen leaves included; `memory` the optimizer's state by path. `epoch` (the last one
    that ended) and `step` count within phase `phase` (0 for the first). `batch` steps of the epoch after it are done,
    and `totals` are the sums over these (`tlx.training.state.Totals.plain`); `scores` is what the last validation
    measured, by name; `key` is the data of the phase's random key.
    `records` holds what earlier phases came to, `sha256` the fingerprint of what is frozen in this phase as it began,
    `plan` what the counts within it rest on, `seconds` the time spent in this phase, `average` the moving averages of
    the leaves that train, by path, where they are kept, `history` the record of every epoch so far. `stopped` says
    whether a callback ended the phase with its last epoch.
    """

    variables: Tree
    memory: Memory = field(default_factory=Memory)
    phase: int = 0
    epoch: int = 0
    step: int = 0
    batch: int = 0
    totals: dict[str, Any] | None = None
    key: tuple[int, ...] | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    best: Best | None = None
    records: tuple[dict[str, Any], ...] = ()
    sha256: str | None = None
    plan: str | None = None
    seconds: float = 0.0
    average: dict[str, Any] | None = None
    history: tuple[dict[str, Any], ...] = ()
    stopped: bool = False


def memory_left(snapshot: Snapshot) -> Memory:
    """Return the optimizer's state of the weights that a phase leaves: those of its best epoch, if it kept one."""
    if snapshot.best is None:
        return snapshot.memory
    return snapshot.memory.without(snapshot.best.params.__contains__).updated(snapshot.best.memory)


FORMAT = 5
"""What checkpoints are written in.

1, which had no number: no history, and `sha256` without stored statistics. Up to 2: the state of tlx's own optimizers
only, with counts of steps as numbers beside each leaf's. Up to 3: sums and scores of a classification only. Up to 4: no
phase that a callback ended.
"""


_PLAIN = (
    "phase",
    "epoch",
    "step",
    "batch",
    "totals",
    "key",
    "scores",
    "records",
    "sha256",
    "plan",
    "seconds",
    "history",
    "stopped",
)
_BEST = ("epoch", "step", "scores")


def pack(snapshot: Snapshot) -> tuple[Tree, dict[str, Any]]:
    """Split a snapshot into a tree of its arrays and plain data; the inverse of `unpack`.

    >>> memory = Memory({"head/bias": {"mu": 2.0}}, {"0:head@0": {"count": 5}}, {"head/bias": "0:head@0"})
    >>> arrays, plain = pack(Snapshot({"params": {"head": {"bias": 1.0}}}, memory))
    >>> arrays["memory"]
    {'leaves': {'head': {'bias': {'mu': 2.0}}}, 'shared': {'0%3Ahead%400': {'count': 5}}}
    >>> plain["memory"]["cohorts"]
    {'head/bias': '0:head@0'}
    """
    plain: dict[str, Any] = {"format": FORMAT, **{name: getattr(snapshot, name) for name in _PLAIN}}
    memory, plain["memory"] = pack_memory(snapshot.memory)
    arrays = {"variables": snapshot.variables, "memory": memory}
    if (best := snapshot.best) is not None:
        memory, cohorts = pack_memory(best.memory)
        plain["best"] = {name: getattr(best, name) for name in _BEST} | {"memory": cohorts}
        arrays["best"] = {"params": unflatten(best.params), "batch_stats": best.batch_stats, "memory": memory}
    if snapshot.average is not None:
        arrays["average"] = unflatten(snapshot.average)
    return arrays, plain


def unpack(arrays: Tree, plain: Mapping[str, Any]) -> Snapshot:
    """Put a snapshot together from its arrays and its plain data, as JSON gives it back; the inverse of `pack`."""
    plain = _of_today({"format": 1, "history": (), "stopped": False, **plain})
    best = None
    if "best" in plain:
        tree = arrays["best"]
        best = Best(
            **{name: plain["best"][name] for name in _BEST},
            params=flatten(tree["params"]),
            batch_stats=tree["batch_stats"],
            memory=unpack_memory(tree["memory"], plain["best"]),
        )
    found: dict[str, Any] = {name: plain[name] for name in _PLAIN}
    lists = ("key", "records", "history")
    found |= {name: tuple(found[name]) for name in lists if found[name] is not None}
    return Snapshot(
        variables=arrays["variables"],
        memory=unpack_memory(arrays["memory"], plain),
        best=best,
        average=flatten(arrays["average"]) if "average" in arrays else None,
        **found,
    )


def _of_today(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the plain data of an older format as today's."""
    if plain["format"] < 2 and plain["plan"] is not None:
        plain["plan"] = f"format {plain['format']}"  # no plan of today: the epoch begins anew, with a hash of today
    if plain["format"] < 4:
        if plain["totals"] is not None:
            loss, correct, examples, bad_step = plain["totals"]
            plain["totals"] = {
                "sums": {"loss": [loss, examples], "accuracy": [correct, examples]},
                "bad_step": bad_step,
            }
        plain["scores"] = _scores(plain)
        if "best" in plain:
            plain["best"] = {**plain["best"], "scores": _scores(plain["best"])}
    return plain


def _scores(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain[name] for name in ("val_loss", "val_accuracy")}
