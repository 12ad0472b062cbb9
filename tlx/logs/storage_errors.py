"""What a disk refuses, as tlx's own error."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tlx.errors import StorageError


@contextlib.contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Raise `StorageError`, which names the path, for an `OSError` within this context.

    >>> with storage_errors("metrics.csv"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    tlx.errors.StorageError: metrics.csv: cannot be written (No space left on device): free the disk, then --resume
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}): free the disk, then --resume") from error
