"""Files: write them whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlx.errors import StorageError


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
        beside.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}): free the disk or name another place"
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as `write_bytes` does; what a name has that is not UTF-8 becomes a JSON escape."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
