"""Checkpoints: everything a run needs to go on, saved with Orbax between two epochs."""

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx.errors import CheckpointError, StorageError
from tlx.optim.memory import Memory
from tlx.tree.fingerprint import fingerprint
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
    """A run between two epochs.

    `variables` is the whole tree, frozen leaves included; `memory` the optimizer's state by path. `epoch` and `step`
    count within phase `phase` (0 for the first). `records` holds what earlier phases came to, `sha256` the fingerprint
    of what is frozen in this phase as it began, `seconds` the time spent in this phase, `average` the moving averages
    of the leaves that train, by path, where they are kept.
    """

    variables: Tree
    memory: Memory = field(default_factory=dict)
    phase: int = 0
    epoch: int = 0
    step: int = 0
    val_loss: float | None = None
    val_accuracy: float | None = None
    best: Best | None = None
    records: tuple[dict[str, Any], ...] = ()
    sha256: str | None = None
    seconds: float = 0.0
    average: dict[str, Any] | None = None


_PROGRESS = ("phase", "epoch", "step", "val_loss", "val_accuracy", "records", "sha256", "seconds")
_BEST = ("epoch", "step", "val_loss", "val_accuracy")


class Checkpoints:
    """The checkpoints of one run, under one directory, numbered by epoch over all phases; the last two are kept.

    A checkpoint holds `variables`, `memory`, `best` and `average` as Orbax trees and the rest as JSON, with the SHA-256
    of each, for Orbax itself does not notice a bit that flipped. One is due when the last was saved `every` seconds
    ago.
    """

    def __init__(self, directory: Path, every: float = 10.0) -> None:
        import orbax.checkpoint as ocp

        self.directory, self.every = directory, every
        self._saved = time.monotonic()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        with _storage_errors(directory):
            self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def due(self) -> bool:
        """Tell whether it is time to save."""
        return time.monotonic() - self._saved >= self.every

    def save(self, number: int, snapshot: Snapshot) -> None:
        """Save a snapshot as checkpoint `number`; raise `StorageError` where it cannot be written."""
        import orbax.checkpoint as ocp

        progress: dict[str, Any] = {name: getattr(snapshot, name) for name in _PROGRESS}
        progress["ages"] = _ages(snapshot.memory)
        trees = {"variables": snapshot.variables, "memory": _slots(snapshot.memory)}
        if (best := snapshot.best) is not None:
            progress["best"] = {name: getattr(best, name) for name in _BEST} | {"ages": _ages(best.memory)}
            trees["best"] = {
                "params": unflatten(best.params),
                "batch_stats": best.batch_stats,
                "memory": _slots(best.memory),
            }
        if snapshot.average is not None:
            trees["average"] = unflatten(snapshot.average)
        trees = {name: tree for name, tree in trees.items() if tree}
        progress["checksums"] = {name: fingerprint(tree) for name, tree in trees.items()}
        progress["checksum"] = _checksum(progress)
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        with _storage_errors(self.directory):
            for passed_over in self._manager.all_steps():
                if passed_over >= number:  # damaged; Orbax would silently save nothing before or over it
                    self._manager.delete(passed_over)
            self._manager.save(number, args=ocp.args.Composite(**items, progress=ocp.args.JsonSave(progress)))
            self._manager.wait_until_finished()
        self._saved = time.monotonic()

    def latest(self) -> Snapshot | None:
        """Read the last checkpoint that is whole, or return None where there is none at all.

        A damaged one is passed over, with a warning in the log `tlx`. Raise `CheckpointError` where all are damaged.
        """
        fault = None
        for number in sorted(self._manager.all_steps(), reverse=True):
            try:
                return self._read(number)
            except CheckpointError as error:
                logging.getLogger("tlx").warning("tlx: %s", error)
                fault = error
        if fault is not None:
            raise fault
        return None

    def _read(self, number: int) -> Snapshot:
        import orbax.checkpoint as ocp

        where = self.directory / str(number)
        names = [name for name in ("variables", "memory", "best", "average") if (where / name).is_dir()]
        try:
            found = self._manager.restore(
                number,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardRestore() for name in names}, progress=ocp.args.JsonRestore()
                ),
            )
            progress = found["progress"]
            # Orbax binds arrays to a device, and a step with such is another program.
            found = {name: jax.device_put(jax.tree.map(np.asarray, found[name])) for name in names}
            _verify(progress, found)
            best = None
            if "best" in progress:
                tree = found["best"]
                best = Best(
                    **{name: progress["best"][name] for name in _BEST},
                    params=flatten(tree["params"]),
                    batch_stats=tree["batch_stats"],
                    memory=_memory(tree["memory"], progress["best"]["ages"]),
                )
            return Snapshot(
                variables=found["variables"],
                memory=_memory(found["memory"] if "memory" in names else {}, progress["ages"]),
                best=best,
                average=flatten(found["average"]) if "average" in names else None,
                **{name: progress[name] for name in _PROGRESS},
            )
        except Exception as error:  # Orbax raises a dozen kinds on damaged files
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise CheckpointError(
                f"{where}: the checkpoint is damaged ({reason}): an older one is taken where there is one"
            ) from error

    def close(self) -> None:
        self._manager.close()


@contextlib.contextmanager
def _storage_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if not isinstance(error, OSError):
            code = re.search(r"os_error_code='(\d+)'", reason)  # how tensorstore tells of a full disk
            if code is None:
                raise
            reason = os.strerror(int(code[1]))
        raise StorageError(
            f"{directory}: a checkpoint cannot be written ({reason}): free the disk or mend the rights"
        ) from error


def _checksum(progress: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a checkpoint's JSON, its own checksum apart."""
    plain = {key: value for key, value in progress.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _verify(progress: Mapping[str, Any], trees: Mapping[str, Tree]) -> None:
    """Raise `ValueError` where what was read is not what was saved."""
    if progress["checksum"] != _checksum(progress):
        raise ValueError("the progress is not what was saved")
    if progress["checksums"].keys() != trees.keys():
        raise ValueError(f"holds {sorted(trees)}, saved were {sorted(progress['checksums'])}")
    for name, tree in trees.items():
        if progress["checksums"][name] != fingerprint(tree):
            raise ValueError(f"{name} are not what was saved")


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
