"""The content of a file, plain or in gzip, in pieces; no piece is larger than 1 MiB, whatever the file claims."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from tlx.files.opening import WEIGHTS, RegularFile, check_unpacked, one_line, shown

CHUNK = 1 << 20


def is_gzip(file: RegularFile) -> bool:
    """Tell whether a file is packed by gzip, by its first bytes."""
    return file.read(0, min(2, file.size)).tobytes() == b"\x1f\x8b"


def chunks(file: RegularFile, offset: int = 0) -> Iterator[bytes]:
    """Yield a file's content from `offset` on, unpacked where it is gzip, in pieces of 1 MiB or fewer.

    Raises:
        DataError: for damaged or truncated gzip, and for a file that cannot be read.
        UnsafeFileError: for gzip that unpacks to more than a hundred times its bytes, and 64 MiB.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.NamedTemporaryFile() as packed:
    ...     _ = packed.write(gzip.compress(b"the 1 2")) and packed.flush()
    ...     list(chunks(RegularFile.at(Path(packed.name))))
    [b'the 1 2']
    """
    packed = is_gzip(file)
    unpacked = 0
    try:
        with file.open() as plain:
            stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=plain) if packed else plain
            stream.seek(offset)
            while piece := stream.read(CHUNK):
                unpacked += len(piece)
                if packed:
                    check_unpacked(unpacked, file.size, shown(file.path), WEIGHTS.likely_ratio)
                yield piece
    except EOFError as error:
        raise file.fault("truncated: the gzip stream has no end") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise file.fault(f"damaged gzip file ({one_line(error)})") from error
    except OSError as error:
        raise file.fault(f"cannot be read ({one_line(error)})") from error


class Cursor:
    """Read bytes one after the other from pieces; what is asked for is held in memory, and a piece beside it.

    >>> cursor = Cursor(iter([b"the", b" 12", b"34"]))
    >>> cursor.until(b" ", 100), cursor.take(2), cursor.offset, cursor.take(5)
    (b'the', b'12', 6, b'34')
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = b""
        self._at = 0
        self._before = 0  # bytes that came before the buffer's

    @property
    def offset(self) -> int:
        """How many bytes have been read."""
        return self._before + self._at

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only where the content ends."""
        while len(self._buffer) - self._at < count and self._more():
            pass
        taken = self._buffer[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def until(self, mark: bytes, longest: int) -> bytes | None:
        """Return the bytes before the next `mark`, a single byte, and pass it; None where `longest` bytes lack it."""
        while (end := self._buffer.find(mark, self._at, self._at + longest + 1)) < 0:
            if len(self._buffer) - self._at > longest or not self._more():
                return None
        taken = self._buffer[self._at : end]
        self._at = end + 1
        return taken

    def _more(self) -> bool:
        piece = next(self._pieces, b"")
        if piece:
            self._before += self._at
            self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return bool(piece)
