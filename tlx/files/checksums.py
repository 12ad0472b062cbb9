"""A manifest: the size and SHA-256 of every file of a directory, and the proof that all are on the disk."""

import hashlib
import json
import os
from pathlib import Path

from tlx.files.write import sync_tree

MANIFEST = "manifest.json"


def write_manifest(directory: Path) -> None:
    """Write the manifest of a directory's files into it, and bring all to the disk.

    A directory that has its name only after this is therefore whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a").write_bytes(b"content")
    ...     write_manifest(Path(folder))
    ...     check_manifest(Path(folder))
    """
    found = sorted(entry for entry in directory.rglob("*") if entry.is_file())
    files = {entry.relative_to(directory).as_posix(): _measure(entry) for entry in found}
    (directory / MANIFEST).write_text(json.dumps({"files": files, "sha256": _sha256(files)}), encoding="utf-8")
    sync_tree(directory)


def check_manifest(directory: Path) -> None:
    """Raise `ValueError` where a file of the manifest is missing or not what it was, naming it, and `OSError`."""
    content = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("sha256") != _sha256(content.get("files")):
        raise ValueError(f"{MANIFEST} is not what was saved")
    for name, (size, sha256) in content["files"].items():
        if _measure(directory / name) != [size, sha256]:
            raise ValueError(f"{name} is not what was saved")


def _measure(file: Path) -> list[int | str]:
    with file.open("rb") as opened:
        return [os.fstat(opened.fileno()).st_size, hashlib.file_digest(opened, "sha256").hexdigest()]


def _sha256(files: object) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
