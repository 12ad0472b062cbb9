"""Open files that users name: regular ones only, each as it was when it was opened first."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tlx.errors import DataError, TlxError, UnsafeFileError, WeightsError

MAX_TENSORS = 100_000
"""The most tensors (groups, members) that a file may list; the largest published models have a few thousand."""

DEFLATE_LIMIT = 1032
"""How many bytes one byte of a deflate stream (gzip, zip) can unpack to at most: 258 bytes from 2 bits."""

MAX_UNPACKED = 4 << 30
"""The most bytes that one file of arrays may unpack to, unless the caller allows more."""

_FREELY_UNPACKED = 64 << 20
_LONGEST = 1000  # characters of a path or a name in a message


@dataclass(frozen=True)
class FileKind:
    """What a file is opened for: the error of a faulty one, what it should hold, the cure, and how far it may unpack.

    A member of an archive may unpack to `likely_ratio` times its bytes, and to 64 MiB anyhow; all of them together to
    `max_unpacked` bytes.
    """

    error: type[TlxError]
    holds: str
    cure: str
    likely_ratio: int = DEFLATE_LIMIT
    max_unpacked: int | None = None


WEIGHTS = FileKind(WeightsError, "weights", "fetch the file again", likely_ratio=100)
DATA = FileKind(DataError, "data", "get it or write it again", max_unpacked=MAX_UNPACKED)


def shown(text: str | os.PathLike[str]) -> str:
    r"""Write a path or a name on one line, cut to 1,000 characters, with what cannot be printed escaped.

    >>> shown("conv\n\x1b[31m")
    'conv\\n\\x1b[31m'
    """
    text = os.fspath(text)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def one_line(error: BaseException) -> str:
    r"""Write an exception's message on one line of at most 200 characters.

    >>> one_line(ValueError("bad\n  file"))
    'bad file'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return shown(text if len(text) <= 200 else text[:197] + "...")


def check_unpacked(claimed: int, stored: int, where: str, likely_ratio: int = WEIGHTS.likely_ratio) -> None:
    """Raise `UnsafeFileError` where `stored` bytes claim to become so many that no real file does.

    >>> check_unpacked(10**12, 10**6, "model.npz: tensor 'w'")
    Traceback (most recent call last):
    ...
    tlx.errors.UnsafeFileError: model.npz: tensor 'w': 1000000 bytes claim to become 1000000000000, ...
    """
    if claimed > max(_FREELY_UNPACKED, stored * likely_ratio):
        raise UnsafeFileError(
            f"{where}: {stored} bytes claim to become {claimed}, as none that are real do; refused "
            "(where the file can be trusted, write it again uncompressed)"
        )


def open_regular(path: str | os.PathLike[str], kind: FileKind = DATA) -> BinaryIO:
    """Open a regular file for reading; raise one error of its kind that names it for anything else."""
    try:
        mode = os.stat(path).st_mode  # first, for to open a pipe may wait for ever
        if not stat.S_ISREG(mode):
            what = "a folder, not a regular file" if stat.S_ISDIR(mode) else "not a regular file"
            raise kind.error(f"{shown(path)}: {what}; name a file that holds {kind.holds}")
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, kind) from error


@dataclass(frozen=True)
class RegularFile:
    """A file as it was when it was opened first; reads open it anew and refuse one that has changed since.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"weights") and file.flush()
    ...     RegularFile.at(Path(file.name)).read(2, 3).tobytes()
    b'igh'
    """

    path: Path
    size: int
    stamp: tuple[int, ...]
    kind: FileKind = WEIGHTS

    @classmethod
    def at(cls, path: Path, kind: FileKind = WEIGHTS) -> RegularFile:
        """Look at a file; raise an error of its kind where there is none, or none that is regular and can be read."""
        with open_regular(path, kind) as file:
            state = os.fstat(file.fileno())
            return cls(path, state.st_size, _stamp(state), kind)

    def fault(self, what: str) -> TlxError:
        """Return an error of the file's kind, with the path and the cure."""
        return self.kind.error(f"{shown(self.path)}: {what}; {self.kind.cure}")

    def open(self) -> BinaryIO:
        """Open the file for reading; the caller closes it."""
        file = open_regular(self.path, self.kind)
        if _stamp(os.fstat(file.fileno())) != self.stamp:
            file.close()
            raise self.kind.error(f"{shown(self.path)}: changed since it was opened; open it again")
        return file

    def read(self, offset: int, count: int) -> np.ndarray:
        """Read `count` bytes, all of them or an error; nothing is allocated for bytes that are not there."""
        if not 0 <= offset <= offset + count <= self.size:
            raise self.fault(
                f"{count} bytes expected at {offset}, but the file ends at {self.size}: it is cut short or damaged"
            )
        content = np.empty(count, np.uint8)
        with self.open() as file:
            try:
                file.seek(offset)
                got = file.readinto(content.data) if count else 0  # type: ignore[attr-defined]
            except OSError as error:
                raise _unreadable(self.path, error, self.kind) from error
        if got != count:
            raise self.kind.error(f"{shown(self.path)}: changed while it was read; open it again")
        return content


@dataclass(frozen=True)
class Stretch:
    """A part of a file that is a file of its own; `keep` lives as long as it is needed (a temporary file)."""

    file: RegularFile
    offset: int
    size: int
    keep: object = None

    def read(self, at: int, count: int) -> np.ndarray:
        """Read `count` bytes from `at` on, as `RegularFile.read` does."""
        if not 0 <= at <= at + count <= self.size:
            raise self.file.fault(f"damaged, {count} bytes expected at {at}, past its end")
        return self.file.read(self.offset + at, count)


class Window(io.RawIOBase):
    """A stretch of an open file as a file object: what h5py reads.

    Bytes past its end read as zeros, as libhdf5's own driver has it (h5py's would leave them undefined), and a failed
    read is kept in `failure`, since an exception must not pass through libhdf5.
    """

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size = file, offset, size
        self._at = 0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        self._at = to + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        there = max(0, min(len(buffer), self._size - self._at))
        got = 0
        if there:
            try:
                self._file.seek(self._offset + self._at)
                got = self._file.readinto(buffer[:there])  # type: ignore[attr-defined]
            except OSError as error:
                self.failure = error
        buffer[got:] = bytes(len(buffer) - got)
        self._at += len(buffer)
        return len(buffer)


def _stamp(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _unreadable(path: str | os.PathLike[str], error: Exception, kind: FileKind) -> TlxError:
    if isinstance(error, TlxError):
        return error
    reason = getattr(error, "strerror", None) or one_line(error)
    return kind.error(f"{shown(path)}: {reason}; check the path and its permissions")
