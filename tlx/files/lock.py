"""A lock on a run directory: one process at a time writes it."""

import contextlib
import errno
import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tlx.errors import StorageError

LOCK = ".lock"
_AGAIN = 0.1  # seconds, far longer than `check_unlocked` holds a lock


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[Callable[[], None]]:
    """Hold a directory for this process, and raise `StorageError` where another one holds it, naming that one.

    What is locked, by the kernel (flock), is a file, `.lock`, so that a process that died holds nothing, and network
    file systems that know such locks know them of files. Who is to write calls what comes with the context, which notes
    process and host in the file. Where platform or file system have no locks, the log `tlx` warns.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)) as sign:
    ...     sign()
    """
    try:
        import fcntl
    except ImportError:
        logging.getLogger("tlx").warning("tlx: %s: is not locked, which this platform cannot", directory)
        yield _sign_nothing
        return
    try:
        opened = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # it cannot be written, so that nobody will; who tries will tell
        yield _sign_nothing
        return
    try:
        try:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_AGAIN)
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise _held(directory, opened) from error
            logging.getLogger("tlx").warning(
                "tlx: %s: is not locked, which its file system cannot (%s)", directory, error
            )
        yield functools.partial(_note, opened, f"{os.getpid()} {socket.gethostname()}\n")
    finally:
        os.close(opened)


def _note(opened: int, text: str) -> None:
    with contextlib.suppress(OSError):  # on a full disk a lock is a lock all the same
        os.truncate(opened, 0)
        os.pwrite(opened, text.encode("utf-8", "replace"), 0)


def _sign_nothing() -> None:
    pass


def check_unlocked(directory: Path) -> None:
    """Raise `StorageError` where another process holds a directory (`locked`), before anything is loaded for it.

    >>> check_unlocked(Path("no/such/directory"))
    """
    try:
        import fcntl

        opened = os.open(directory / LOCK, os.O_RDONLY)
    except (ImportError, OSError):  # nothing is held, or nothing can be
        return
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise _held(directory, opened) from error
    finally:
        os.close(opened)


def _held(directory: Path, opened: int) -> StorageError:
    """Say that another process has a directory, and which one its lock names."""
    pid, _, host = os.pread(opened, 300, 0).decode("utf-8", "replace").strip().partition(" ")
    who = f"another process ({pid} on {host})" if pid.isdecimal() and host.isprintable() else "another process"
    return StorageError(f"{directory}: {who} is writing this run: wait for it, stop it or name another directory")
