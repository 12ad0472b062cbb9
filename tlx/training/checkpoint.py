"""Checkpoints: snapshots of a run on disk, written beside the training, whole or not at all."""

import contextlib
import itertools
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.devices import hosts
from tlx.errors import CheckpointError, StorageError, WeightsError
from tlx.files import forget_tree, home, sync, sync_tree
from tlx.files.checksums import check_manifest, write_manifest
from tlx.training.snapshot import FORMAT, Snapshot, pack, unpack
from tlx.tree._cast import to_jax_types
from tlx.tree.paths import Tree

KEPT = 2
EVERY = 10.0  # seconds
SHARE = 0.02  # of the time that saving may take
ARRAYS, PROGRESS = "arrays", "progress.json"
PATIENCE = 600  # seconds that a process waits for the others to have written
_meetings = itertools.count()


class _NotOurs(CheckpointError):
    """A checkpoint that is whole, but not to go on from: unlike a damaged one, none is taken in its place."""


class Checkpoints:
    """The checkpoints of one run, in one directory, numbered as they are saved; the last two are kept.

    A checkpoint is a directory: `arrays`, a tree as Orbax writes it, `progress.json`, and `manifest.json` with the size
    and SHA-256 of each file, for Orbax itself does not notice a bit that flipped. It is written under another name by a
    thread of its own, while training goes on, brought to the disk (files, then the manifest, then directories), read
    back from there and renamed; only then does an older one go. One is due when the last was begun `every` seconds
    ago; by default ten, or more where saving would take more than a fiftieth of the time; or after so many `steps`.

    `run` names the run that they are of, and is saved with them: those of another run are refused, as are those of a
    format that is newer than this version's (`tlx.training.snapshot.FORMAT`).

    Processes that train together (`tlx.initialize_distributed`) write one checkpoint in one directory that all of them
    see; any number of them, on any devices, can read it.
    """

    def __init__(
        self, directory: str | Path, every: float | None = None, *, steps: int | None = None, run: str | None = None
    ) -> None:
        self.directory, self.every, self.steps, self.run = home(directory), every, steps, run
        self._begun, self._since, self._lasted = time.monotonic(), 0, 0.0
        self._damaged: set[int] = set()
        self._poll = hosts.Poll()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tlx-checkpoint")
        self._saving: Future[None] | None = None
        with _storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            sync(self.directory.parent)

    def due(self, steps: int) -> bool:
        """Tell, after so many more steps, whether to save now; raise `StorageError` where the last could not be."""
        return self._poll(self._due(steps))

    def _due(self, steps: int) -> bool:
        self._since += steps
        if self._saving is not None and self._saving.done():
            self.wait()
        if self.steps is not None:
            return self._since >= self.steps
        if self._saving is not None:
            return False
        every = max(EVERY, self._lasted / SHARE) if self.every is None else self.every
        return time.monotonic() - self._begun >= every

    def save(self, snapshot: Snapshot, donated: Tree = None) -> None:
        """Begin to save a snapshot, when the one before is saved; raise `StorageError` where that could not be written.

        Those of its arrays that are leaves of `donated`, which the next step takes, are copied at once.
        """
        self.wait()
        self._begun, self._since = time.monotonic(), 0
        taken = {id(leaf) for leaf in jax.tree.leaves(donated)}
        arrays, plain = pack(snapshot)
        plain |= {"run": self.run, "directory": str(self.directory.absolute())}
        held = jax.tree.map(lambda leaf: _copied(leaf) if id(leaf) in taken else leaf, arrays)
        self._saving = self._pool.submit(self._write, held, plain)

    def wait(self) -> None:
        """Wait until what was last begun is saved; raise `StorageError` where it could not be written."""
        saving, self._saving = self._saving, None
        if saving is not None and not hosts.is_lost():
            with hosts.lost_hosts():
                saving.result()

    def _write(self, arrays: Tree, plain: dict[str, Any]) -> None:
        began, first = time.monotonic(), hosts.is_first()
        arrays, partial = jax.tree.map(_here, arrays), self.directory / ".next.partial"
        try:
            with _storage_errors(self.directory):
                if first:
                    if partial.exists():  # left by a process that was killed
                        shutil.rmtree(partial)
                    partial.mkdir()
                _meet("begun")
                _save(partial / ARRAYS, arrays)
                _meet("written")
                if first:
                    (partial / PROGRESS).write_text(json.dumps(plain), encoding="utf-8")
                    write_manifest(partial)
                    _prove(partial)
                    partial.rename(self.directory / str(max(self._numbers(), default=0) + 1))
                    sync(self.directory)
        except BaseException:
            if first:
                shutil.rmtree(partial, ignore_errors=True)  # it may be what fills the disk
            raise
        if first:
            sound = [each for each in sorted(self._numbers()) if each not in self._damaged]
            for older in {*sound[:-KEPT], *self._damaged}:
                shutil.rmtree(self.directory / str(older), ignore_errors=True)
        self._damaged.clear()
        self._lasted = time.monotonic() - began

    def _numbers(self) -> list[int]:
        """Return the numbers of the checkpoints that are there, whole or not; an empty directory is none."""
        found = [entry for entry in self.directory.iterdir() if re.fullmatch(r"[1-9]\d*", entry.name)]
        return [int(entry.name) for entry in found if entry.is_dir() and any(entry.iterdir())]

    def latest(self) -> Snapshot | None:
        """Read the last checkpoint that is whole, or return None where there is none at all.

        A damaged one is passed over, with a warning in the log `tlx`, and goes when the next one is saved. Raise
        `CheckpointError` where all are damaged, and where one is of another run or a newer format; then all stay.
        """
        self.wait()
        found: dict[int, Snapshot] = {}
        number = hosts.broadcast_from_first(lambda: self._find(found))
        if number is None:
            return None
        return found[number] if number in found else self._read(self.directory / str(number))

    def _find(self, found: dict[int, Snapshot]) -> int | None:
        """Read the last checkpoint that is whole into `found`, and return its number."""
        fault = None
        for number in sorted(self._numbers(), reverse=True):
            try:
                found[number] = self._read(self.directory / str(number))
            except _NotOurs:
                raise
            except CheckpointError as error:
                logging.getLogger("tlx").warning("tlx: %s", error)
                self._damaged.add(number)
                fault = error
            else:
                return number
        if fault is not None:
            raise fault
        return None

    def _read(self, where: Path) -> Snapshot:
        damage = "the checkpoint is damaged ({}): an older one is taken where there is one"
        try:
            check_manifest(where)
            progress = json.loads((where / PROGRESS).read_text(encoding="utf-8"))
        except (ValueError, FileNotFoundError) as error:
            raise CheckpointError(f"{where}: {damage.format(error)}") from error
        except OSError as error:  # which another attempt may read: nothing is said against the checkpoint
            raise StorageError(f"{where}: cannot be read ({error.strerror}): mend the rights or the disk") from error
        self._check_ours(where, progress)
        try:
            arrays = to_jax_types(_restore(where / ARRAYS))
        except WeightsError as error:
            raise CheckpointError(f"{where}: {error}") from error
        return unpack(jax.device_put(arrays), progress)

    def _check_ours(self, where: Path, progress: dict[str, Any]) -> None:
        """Raise `_NotOurs` for a whole checkpoint that another run or a newer version of tlx wrote."""
        if progress.get("format", 1) > FORMAT:
            raise _NotOurs(
                f"{where}: a checkpoint of format {progress['format']}, and this version of tlx reads formats up to "
                f"{FORMAT}: go on with the version that wrote it, or a later one"
            )
        theirs = progress.get("run")
        if self.run is not None and theirs not in (None, self.run):
            raise _NotOurs(
                f"{where}: a checkpoint of another run, {theirs}, written in {progress.get('directory')}, and this run "
                f"is {self.run}: put its own checkpoints back, or begin anew in another directory"
            )

    def close(self) -> None:
        """Wait until what was last begun is saved, and save no more."""
        try:
            self.wait()
        finally:
            self._pool.shutdown(wait=not hosts.is_lost())


def _copied(leaf: Any) -> Any:
    """Copy an array before the next step takes it: to the host or, where other processes have a part, on devices."""
    return jnp.copy(leaf) if _is_spread(leaf) else np.array(leaf)


def _here(leaf: Any) -> Any:
    return leaf if _is_spread(leaf) else np.asarray(leaf)


def _is_spread(leaf: Any) -> bool:
    """Tell whether an array lies on devices of several processes."""
    return isinstance(leaf, jax.Array) and not leaf.is_fully_addressable


def _save(where: Path, arrays: Tree) -> None:
    """Write a tree by Orbax, all processes together, each what it has, and bring what this one wrote to the disk.

    It is not compressed: the bits of trained floats are noise, for which compressing takes longer than writing.
    """
    import orbax.checkpoint as ocp

    together = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes=set(range(hosts.count())), barrier_sync_key_prefix="tlx"
    )  # to name all processes keeps Orbax from meeting by way of the devices, which are the other thread's
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=together)
    with ocp.Checkpointer(handler, multiprocessing_options=together) as writer:
        writer.save(where.absolute(), args=ocp.args.PyTreeSave(arrays))
    if not hosts.is_first():
        for entry in where.glob(f"*.process_{jax.process_index()}"):
            sync_tree(entry)


def _restore(where: Path) -> Tree:
    """Read a tree as arrays of NumPy, whatever devices it was on, each process by itself."""
    import orbax.checkpoint as ocp

    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"tlx{process}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        tree = reader.metadata(where.absolute()).item_metadata.tree
        numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(where.absolute(), args=ocp.args.PyTreeRestore(restore_args=numpy))


def _meet(what: str) -> None:
    """Wait until all processes are here. Called by the threads that save, it must not go through the devices."""
    if hosts.count() > 1:
        from orbax.checkpoint import multihost

        meet = multihost.get_barrier_sync_fn(processes=set(range(hosts.count())))
        meet(key=f"tlx-checkpoint-{what}-{next(_meetings)}", timeout_ms=1000 * PATIENCE)


def _prove(written: Path) -> None:
    """Read what was brought to the disk again from there, not from the memory that the system keeps of it."""
    forget_tree(written)
    try:
        check_manifest(written)
    except ValueError as error:
        raise StorageError(
            f"{written}: what was written is not what can be read ({error}): look at the disk"
        ) from error


@contextlib.contextmanager
def _storage_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if not isinstance(error, OSError):
            code = re.search(r"os_error_code='(\d+)'", reason)  # how tensorstore tells of a full disk
            if code is None:
                raise
            reason = os.strerror(int(code[1]))
        raise StorageError(
            f"{directory}: a checkpoint cannot be written ({reason}): free the disk or mend the rights, then --resume"
        ) from error
