"""Where activations are kept: rows in memory, or in a file that survives a kill."""

import contextlib
import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Protocol

import filelock
import numpy as np

FILES = {"rows", "parts.jsonl"}
_GUESSED = 4 << 30  # bytes of memory of a machine that does not say


class Rows(Protocol):
    """An array (V, N, …) that is filled from its first row on; `done` counts the rows of all views that are there."""

    done: int

    def put(self, first: int, rows: np.ndarray) -> None: ...

    def whole(self) -> np.ndarray: ...


class MemoryRows:
    """Rows in memory."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.done = 0
        self._array = np.empty(shape, dtype)
        self._flat = self._array.reshape(-1, *shape[2:])

    def put(self, first: int, rows: np.ndarray) -> None:
        self._flat[first : first + len(rows)] = rows
        self.done = first + len(rows)

    def whole(self) -> np.ndarray:
        return self._array


class DiskRows:
    """Rows in the file `rows` of the folder `key`, with the SHA-256 of each part as it was put, in `parts.jsonl`.

    What is there already is checked by these and taken; what follows the first damaged part is thrown away. Another
    process that wants the same waits until this one is closed. Other keys are removed, those used longest ago first,
    where all together would take more than `limit` bytes. Raise `OSError` where it cannot be written.
    """

    def __init__(self, folder: Path, key: str, shape: tuple[int, ...], dtype: np.dtype, limit: int) -> None:
        self.done, self._shape, self._dtype = 0, shape, dtype
        self._row = int(np.prod(shape[2:])) * dtype.itemsize
        self._folder = folder / key
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(folder / f"{key}.lock")
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            logging.getLogger("tlx").warning(
                "tlx: %s: another process computes these activations; waiting", self._folder
            )
            self._lock.acquire()
        try:
            self._folder.mkdir(exist_ok=True)
            make_room(folder, key, limit - self._row * shape[0] * shape[1])
            os.utime(self._folder)
            self._file = open(self._folder / "rows", "ab+")  # noqa: SIM115
            self._parts = open(self._folder / "parts.jsonl", "ab+")  # noqa: SIM115
            self._check()
        except BaseException:
            self._lock.release()
            raise

    def _check(self) -> None:
        """Count the rows that are whole, and cut the files off after them."""
        self._file.seek(0)
        self._parts.seek(0)
        end = 0
        for line in self._parts:
            try:
                part = json.loads(line)
                if not (type(part["rows"]) is int and 0 < part["rows"] <= self._shape[0] * self._shape[1] - self.done):
                    break
                content = self._file.read(part["rows"] * self._row)
            except (ValueError, KeyError, TypeError):
                break
            if len(content) != part["rows"] * self._row or hashlib.sha256(content).hexdigest() != part["sha256"]:
                break
            self.done, end = self.done + part["rows"], end + len(line)
        self._file.truncate(self.done * self._row)
        self._parts.truncate(end)

    def put(self, first: int, rows: np.ndarray) -> None:
        rows = rows[max(0, self.done - first) :]
        if not len(rows):
            return
        content = np.ascontiguousarray(rows, self._dtype).tobytes()
        self._file.write(content)
        self._file.flush()
        line = {"rows": len(rows), "sha256": hashlib.sha256(content).hexdigest()}
        self._parts.write(f"{json.dumps(line)}\n".encode())
        self._parts.flush()
        self.done += len(rows)

    def whole(self) -> np.ndarray:
        return np.memmap(self._folder / "rows", self._dtype, "r", shape=self._shape)

    def close(self) -> None:
        for file in (self._file, self._parts):
            with contextlib.suppress(OSError):  # a full disk; what was flushed is there
                file.close()
        self._lock.release()


def occupied(folder: Path) -> dict[Path, int]:
    """Return the places in a folder where activations are kept, and the bytes of their rows.

    A place has a SHA-256 for its name and nothing in it but what tlx wrote; whatever else is there is not tlx's.
    """
    found: dict[Path, int] = {}
    for place in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # another process removes it
            if re.fullmatch("[0-9a-f]{64}", place.name) and {each.name for each in place.iterdir()} <= FILES:
                found[place] = (place / "rows").stat().st_size
    return found


def make_room(folder: Path, key: str, left: int) -> None:
    """Remove what was kept under other keys, longest unused first, until at most `left` bytes of it remain.

    What another process is filling stays.
    """
    sizes = {place: size for place, size in occupied(folder).items() if place.name != key}
    ages = {}
    for place in sizes:
        with contextlib.suppress(FileNotFoundError):
            ages[place] = place.stat().st_mtime
    for place in sorted(ages, key=ages.__getitem__):
        if sum(sizes.values()) <= left:
            return
        lock = filelock.FileLock(folder / f"{place.name}.lock", timeout=0)
        with contextlib.suppress(filelock.Timeout), lock:
            for name in FILES:
                (place / name).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                place.rmdir()
            del sizes[place]


def free_memory() -> int:
    """Return how many bytes of memory can be had without swapping, within the limit of the process's container."""
    free = _physical_memory() // 2
    with contextlib.suppress(OSError, StopIteration, ValueError), open("/proc/meminfo") as lines:
        free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10
    with contextlib.suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, max(0, limit - used))
    return free


def _physical_memory() -> int:
    """Return how many bytes of memory the machine has, or a guess on a system that does not say, such as Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _GUESSED
