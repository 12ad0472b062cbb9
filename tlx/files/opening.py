"""Open files that users name, refuse those that claim too much, and say what a file really is."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tlx.errors import UnsafeFileError, WeightsError

MAX_TENSORS = 100_000
"""The most tensors (groups, members) that a file may list; the largest published models have a few thousand."""

_FREELY_UNPACKED = 64 << 20
_LIKELY_RATIO = 100

_TYPES = (
    (b"\x1f\x8b", "a gzip file (unpack it first)"),
    (b"BZh", "a bzip2 file (unpack it first)"),
    (b"\xfd7zXZ\0", "an xz file (unpack it first)"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file (unpack it first)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file (unpack it first)"),
    (b"PK\x03\x04", "a zip file"),
    (b"PK\x05\x06", "an empty zip file"),
    (b"\x93NUMPY", "a .npy file (put its array into an .npz file under its name)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (run `git lfs pull`)"),
    (b"<?xml", "an XML page"),
    (b"\x80", "perhaps a pickle"),
)
_TABLE_END = bytes.fromhex("57fb808b247547db")  # the magic at the end of TensorFlow's and LevelDB's tables


def shown(text: str | os.PathLike[str]) -> str:
    r"""Write a path or a name on one line, cut to 200 characters, with what cannot be printed escaped.

    >>> shown("conv\n\x1b[31m")
    'conv\\n\\x1b[31m'
    """
    text = os.fspath(text)
    text = text if len(text) <= 200 else text[:197] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def one_line(error: BaseException) -> str:
    r"""Write an exception's message on one line of at most 200 characters.

    >>> one_line(ValueError("bad\n  file"))
    'bad file'
    """
    return shown(" ".join(str(error).split()) or type(error).__name__)


def true_type(head: bytes) -> str:
    """Say what a file is by its first 512 bytes or fewer.

    >>> true_type(b"<html><body>404")
    'an HTML page (a failed download?)'
    >>> true_type(b"Not Found")
    "a text that begins 'Not Found'"
    """
    if not head:
        return "an empty file"
    for magic, name in _TYPES:
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "a tar file (unpack it first)"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page (a failed download?)"
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else ""  # cut within a character
    if text.strip() and all(c.isprintable() or c.isspace() for c in text):
        return f"a text that begins '{shown(text.strip().splitlines()[0][:40])}'"
    return f"a file that begins with 0x{head[:4].hex()}"


def is_table(file: RegularFile) -> bool:
    """Say whether a file is a LevelDB table, as the `.index` of a TensorFlow checkpoint is."""
    return file.size >= 48 and file.read(file.size - 8, 8).tobytes() == _TABLE_END


def check_unpacked(claimed: int, stored: int, where: str) -> None:
    """Raise `UnsafeFileError` where `stored` bytes claim to become so many that no real weights do.

    >>> check_unpacked(10**12, 10**6, "model.npz: tensor 'w'")
    Traceback (most recent call last):
    ...
    tlx.errors.UnsafeFileError: model.npz: tensor 'w': 1000000 bytes claim to become 1000000000000, ...
    """
    if claimed > max(_FREELY_UNPACKED, stored * _LIKELY_RATIO):
        raise UnsafeFileError(
            f"{where}: {stored} bytes claim to become {claimed}, as no real weights do; refused "
            "(where the file can be trusted, write it again uncompressed)"
        )


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

    @classmethod
    def at(cls, path: Path) -> RegularFile:
        """Look at a file; raise `WeightsError` where there is none, or none that is regular and can be read."""
        try:
            state = path.stat()
            if stat.S_ISDIR(state.st_mode):
                raise WeightsError(f"{shown(path)}: a folder; name the weight file in it")
            if not stat.S_ISREG(state.st_mode):
                raise WeightsError(f"{shown(path)}: not a regular file; name a file that holds weights")
            with path.open("rb"):
                return cls(path, state.st_size, _stamp(state))
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error

    def open(self) -> BinaryIO:
        """Open the file for reading; the caller closes it."""
        try:
            file = self.path.open("rb")
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error
        if _stamp(os.fstat(file.fileno())) != self.stamp:
            file.close()
            raise WeightsError(f"{shown(self.path)}: changed since it was opened; open it again")
        return file

    def read(self, offset: int, count: int) -> np.ndarray:
        """Read `count` bytes, all of them or `WeightsError`; nothing is allocated for bytes that are not there."""
        if not 0 <= offset <= offset + count <= self.size:
            raise WeightsError(
                f"{shown(self.path)}: {count} bytes expected at {offset}, but the file ends at {self.size}; "
                "it is cut short or damaged: fetch it again"
            )
        content = np.empty(count, np.uint8)
        with self.open() as file:
            try:
                file.seek(offset)
                got = file.readinto(content.data) if count else 0  # type: ignore[attr-defined]
            except OSError as error:
                raise _unreadable(self.path, error) from error
        if got != count:
            raise WeightsError(f"{shown(self.path)}: changed while it was read; open it again")
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
            raise WeightsError(f"{shown(self.file.path)}: {count} bytes expected at {at}, past its end; damaged")
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


def _unreadable(path: Path, error: Exception) -> WeightsError:
    if isinstance(error, WeightsError):
        return error
    reason = getattr(error, "strerror", None) or one_line(error)
    return WeightsError(f"{shown(path)}: {reason}; check the path and its permissions")
