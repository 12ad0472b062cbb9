"""Files: where they are, and how they are written whole or not at all, and to the disk."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlx.errors import ConfigError, StorageError


def home(path: str | os.PathLike[str]) -> Path:
    """Return a path in which a leading `~` or `~user` is the home directory, as a shell would have it.

    A shell leaves it alone in `--out=~/run`, in YAML and in Python. Raise `ConfigError` for a user without one.

    >>> home("runs/1").as_posix(), home("~/runs/1") == Path.home() / "runs" / "1"
    ('runs/1', True)
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: no home directory is known for it ({error}): write the path out") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there; raise `StorageError` where it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder) / "a", b"content")
    ...     (Path(folder) / "a").read_bytes()
    b'content'
    """
    beside = path.with_name(path.name + ".partial")
    try:
        beside.write_bytes(content)
        sync(beside)
        beside.replace(path)
        sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}): free the disk or name another place"
        ) from error


def sync(path: Path) -> None:
    """Bring a file's content, or a directory's list of names, to the disk; raise `OSError` where that fails."""
    if os.name == "nt" and path.is_dir():  # Windows opens no directories
        return
    opened = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_tree(directory: Path) -> None:
    """Bring every file under a directory to the disk, then every directory; raise `OSError` where that fails."""
    entries = sorted(directory.rglob("*"))
    for entry in (*(entry for entry in entries if entry.is_file()), *(entry for entry in entries if entry.is_dir())):
        sync(entry)
    sync(directory)


def forget_tree(directory: Path) -> None:
    """Have the system forget what it keeps in memory of the files, where it can, so that the disk is read."""
    if not hasattr(os, "posix_fadvise"):
        return
    for entry in directory.rglob("*"):
        if entry.is_file():
            opened = os.open(entry, os.O_RDONLY)
            try:
                os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(opened)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as `write_bytes` does; what a name has that is not UTF-8 becomes a JSON escape."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
