"""A lock on a run directory: one process at a time writes it."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from tlx.errors import StorageError

LOCK = ".lock"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a directory for this process, and raise `StorageError` where another one holds it.

    What is locked, by the kernel (flock), is an empty file, `.lock`: a process that died holds nothing, and network
    file systems that know such locks know them of files. Where platform or file system have none, the log `tlx` warns.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
    ...     pass
    """
    try:
        import fcntl
    except ImportError:
        logging.getLogger("tlx").warning("tlx: %s: is not locked, which this platform cannot", directory)
        yield
        return
    try:
        opened = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # it cannot be written, so that nobody will; who tries will tell
        yield
        return
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError(
                    f"{directory}: another process is writing this run: wait for it, stop it or name another directory"
                ) from error
            logging.getLogger("tlx").warning(
                "tlx: %s: is not locked, which its file system cannot (%s)", directory, error
            )
        yield
    finally:
        os.close(opened)
