"""Read the members of a zip file one by one, each checked by its CRC, trusting no size and no name."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from tlx.errors import TlxError, UnsafeFileError
from tlx.files.opening import MAX_TENSORS, RegularFile, check_unpacked, one_line, shown

_CHUNK = 1 << 20
_MAX_DIRECTORY = 32 << 20  # 100,000 members with names of 250 bytes; zipfile reads the directory whole
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Member:
    """A member of a zip file: `size` bytes once unpacked, `packed` bytes in the file from `offset` on."""

    file: RegularFile
    name: str
    size: int
    packed: int
    offset: int
    crc: int
    stored: bool
    checked: list[bool] = field(default_factory=list, compare=False)

    @property
    def where(self) -> str:
        return f"{shown(self.file.path)}[{shown(self.name)}]"

    def fault(self, what: str) -> TlxError:
        """Return an error of the file's kind, with the member and the cure."""
        return self.file.kind.error(f"{self.where}: {what}; {self.file.kind.cure}")

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read the bytes from `start` to `stop`; the first time, the whole member passes by for its CRC to be checked.

        Raises an error of the file's kind where the bytes are damaged or not there.
        """
        stop = self.size if stop is None else stop
        if not 0 <= start <= stop <= self.size:
            raise self.fault(f"damaged, bytes {start} to {stop} expected, but it holds {self.size}")
        if self.stored and self.checked:
            return self.file.read(self.offset + start, stop - start)
        wanted = np.empty(stop - start, np.uint8)
        at = 0
        for chunk in self.chunks():
            low, high = max(start, at), min(stop, at + len(chunk))
            if low < high:
                wanted[low - start : high - start] = np.frombuffer(chunk, np.uint8)[low - at : high - at]
            at += len(chunk)
        self.checked.append(True)
        return wanted

    def head(self, count: int) -> bytes:
        """Read the first bytes, `count` or fewer, unchecked."""
        with closing(self.chunks(count)) as chunks:
            return next(chunks, b"")

    def chunks(self, step: int = _CHUNK) -> Generator[bytes, None, None]:
        """Yield the unpacked bytes in pieces of `step` or fewer; at their end, raise an error for a wrong CRC."""
        crc = size = 0
        try:
            with self.file.open() as file:
                unpacked = self._stored_chunks if self.stored else self._inflated_chunks
                for chunk in unpacked(file, step):
                    crc, size = zlib.crc32(chunk, crc), size + len(chunk)
                    if size > self.size:
                        break
                    yield chunk
        except (OSError, zlib.error) as error:
            raise self.fault(f"damaged ({one_line(error)})") from error
        if size != self.size or crc != self.crc:
            raise self.fault("damaged, its CRC does not match")

    def _stored_chunks(self, file: BinaryIO, step: int) -> Iterator[bytes]:
        file.seek(self.offset)
        left = self.packed
        while left and (chunk := file.read(min(step, left))):
            left -= len(chunk)
            yield chunk

    def _inflated_chunks(self, file: BinaryIO, step: int) -> Iterator[bytes]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        for packed in self._stored_chunks(file, step):
            while packed:
                yield inflater.decompress(packed, step)
                packed = inflater.unconsumed_tail
        yield inflater.flush()


def read_directory(file: RegularFile) -> dict[str, Member]:
    """List the members of a zip file, folders left out, without reading them.

    Raises `UnsafeFileError` for names that lead elsewhere or stand twice, encrypted members, members that overlap or
    claim to unpack to more than the kind of the file allows; an error of that kind for a damaged zip file.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.NamedTemporaryFile(suffix=".npz") as npz:
    ...     np.savez(npz.name, kernel=np.zeros((2, 3)))
    ...     list(read_directory(RegularFile.at(Path(npz.name))))
    ['kernel.npy']
    """
    name = shown(file.path)
    members: dict[str, Member] = {}
    with file.open() as stream:
        _check_directory_size(file, stream)
        try:
            with zipfile.ZipFile(stream) as archive:
                listed = archive.infolist()
        except MemoryError:  # says nothing about the file
            raise
        except Exception as error:  # zipfile raises a dozen kinds on damaged files
            raise file.fault(f"damaged zip file ({one_line(error)})") from error
        if len(listed) > MAX_TENSORS:
            raise file.kind.error(f"{name}: lists {len(listed)} members, more than the limit of {MAX_TENSORS}")
        for info in listed:
            _check_member(info, file, f"{name}: member '{shown(info.filename)}'")
            if info.filename in members:
                raise UnsafeFileError(f"{name}: member '{shown(info.filename)}' is there twice; refused")
            if not info.is_dir():
                members[info.filename] = Member(
                    file,
                    info.filename,
                    info.file_size,
                    info.compress_size,
                    _data_offset(file, stream, info),
                    info.CRC,
                    info.compress_type == zipfile.ZIP_STORED,
                )
    end = 0
    for member in sorted(members.values(), key=lambda member: member.offset):
        if member.offset < end:
            raise UnsafeFileError(f"{name}: member '{shown(member.name)}' overlaps another; refused")
        end = member.offset + member.packed
    total, limit = sum(member.size for member in members.values()), file.kind.max_unpacked
    if limit is not None and total > limit:
        raise UnsafeFileError(f"{name}: claims to unpack to {total} bytes, over the limit of {limit}; refused")
    return members


def _check_directory_size(file: RegularFile, stream: BinaryIO) -> None:
    """Refuse a directory too long to be read: zipfile makes objects of all of it before one can count them."""
    tail_size = min(file.size, (1 << 16) + 22)
    stream.seek(file.size - tail_size)
    tail = stream.read(tail_size)
    plain = tail[-22:-18] == b"PK\5\6" and tail.endswith(b"\0\0")  # no comment behind it; zipfile looks there first
    at = tail_size - 22 if plain else tail.rfind(b"PK\5\6")
    length = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if length == 0xFFFFFFFF and at >= 76:  # zip64: its end record stands before its locator, 20 bytes, and this one
        length = int.from_bytes(tail[at - 36 : at - 28], "little")
    if length > _MAX_DIRECTORY:
        raise file.kind.error(
            f"{shown(file.path)}: a zip directory of {length} bytes, more than the limit of {_MAX_DIRECTORY}"
        )


def _check_member(info: zipfile.ZipInfo, file: RegularFile, where: str) -> None:
    parts = re.split(r"[/\\]", info.filename.removesuffix("/"))
    if "\\" in info.filename or any(part in ("", ".", "..") or ":" in part or "\0" in part for part in parts):
        raise UnsafeFileError(f"{where} leads out of the archive or is no plain name; refused")
    if info.flag_bits & 0x1:
        raise UnsafeFileError(f"{where} is encrypted; refused")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeFileError(f"{where} is packed by method {info.compress_type}, not stored or deflated; refused")
    if info.compress_type == zipfile.ZIP_DEFLATED:
        check_unpacked(info.file_size, info.compress_size, where, file.kind.likely_ratio)
    elif info.file_size != info.compress_size:
        raise file.kind.error(f"{where}: damaged, its two sizes differ though it is not packed; {file.kind.cure}")


def _data_offset(file: RegularFile, stream: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Find where a member's bytes begin: behind its local header, whose extra field the directory does not know."""
    stream.seek(max(0, info.header_offset))  # a damaged directory leads zipfile to negative ones
    header = stream.read(_LOCAL_HEADER.size) if info.header_offset >= 0 else b""
    offset = info.header_offset + _LOCAL_HEADER.size
    if len(header) == _LOCAL_HEADER.size and header.startswith(b"PK\3\4"):
        *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        offset += name_length + extra_length
        if offset + info.compress_size <= file.size:
            return offset
    raise file.fault(f"member '{shown(info.filename)}' is cut short or damaged")
