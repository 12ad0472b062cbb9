"""Check the parts of an HDF5 file on which libhdf5 fails, or from which it opens other files, before it reads them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tlx.errors import UnsafeFileError, WeightsError
from tlx.files.opening import Stretch, Window, shown

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""How an HDF5 file begins."""

_EXTERNAL_FILES, _LAYOUT, _ATTRIBUTE, _CONTINUATION = 0x07, 0x08, 0x0C, 0x10  # messages in an object's header
_VARIABLE_LENGTH = 9  # class of type
_VIRTUAL = 3  # class of layout
_MAX_BLOCKS, _MAX_BLOCK = 1000, 16 << 20  # of one header


def check_superblock(content: Stretch, where: str) -> None:
    """Demand the layout that h5py writes, which the checks below count on: addresses of 8 bytes, counted from 0."""
    head = content.read(0, min(content.size, 64)).tobytes()
    if not head.startswith(SIGNATURE) or len(head) < 64:
        raise WeightsError(f"{where}: cut short, or not an HDF5 file; fetch it again")
    version = head[8]
    sizes = head[13:15] if version < 2 else head[9:11]
    base = {0: 24, 1: 28}.get(version, 12)
    if sizes != b"\x08\x08" or any(head[base : base + 8]):
        raise WeightsError(f"{where}: an HDF5 file of an uncommon layout or damaged; copy it with h5repack")


def check_object(content: Stretch, address: int, label: str) -> None:
    """Read the header of a group or dataset and refuse what libhdf5 must not so much as open.

    Raises `UnsafeFileError` for a dataset that is stored in other files or is a view of others: to open a view,
    libhdf5 (2.0) decodes selections without checking them and overruns its buffers. Raises `WeightsError` for a header
    that cannot be followed, and for an attribute whose texts claim more bytes than the file has: libhdf5 allocates them
    before it looks.
    """
    for kind, data in _messages(content, address, label):
        if kind == _EXTERNAL_FILES:
            target = _external_target(content, data)
            raise UnsafeFileError(f"{label}: stored in another file, '{target}', which is not opened; refused")
        if kind == _LAYOUT and data[2 if data[0] < 3 else 1] == _VIRTUAL:
            raise UnsafeFileError(f"{label}: a virtual dataset, a view of others that may be in other files; refused")
        if kind == _ATTRIBUTE and any(length > content.size for length in _text_lengths(data)):
            raise WeightsError(f"{label}: an attribute claims more bytes than the file has; fetch the file again")


def _text_lengths(attribute: bytes) -> Iterator[int]:
    """Yield the lengths that the elements of an attribute of variable length claim."""
    version, flags, name, kind, space = struct.unpack_from("<BBHHH", attribute)
    if version not in (1, 2, 3) or (version > 1 and flags & 1):  # a shared type stands elsewhere
        return
    at = 9 if version == 3 else 8
    padded = [(size + 7) // 8 * 8 if version == 1 else size for size in (name, kind, space)]
    type_at = at + padded[0]
    if type_at < len(attribute) and attribute[type_at] & 0x0F == _VARIABLE_LENGTH:
        for element in range(at + sum(padded), len(attribute) - 15, 16):  # length, heap's address, index
            yield int.from_bytes(attribute[element : element + 4], "little")


def _messages(content: Stretch, address: int, label: str) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the data of each message of an object's header, of version 1 or 2."""
    head = content.read(address, min(64, max(0, content.size - address))).tobytes()
    try:
        if head.startswith(b"OHDR"):
            flags = head[5]
            at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            blocks = [(address + at + width, int.from_bytes(head[at : at + width], "little"))]
            prefix, ordered, signature, tail = struct.Struct("<BHB"), 2 if flags & 4 else 0, b"OCHK", 4
        else:
            blocks = [(address + 16, int.from_bytes(head[8:12], "little"))]
            prefix, ordered, signature, tail = struct.Struct("<HHB3x"), 0, b"", 0
        for _ in range(_MAX_BLOCKS):
            if not blocks:
                return
            start, length = blocks.pop()
            if length > _MAX_BLOCK:
                break
            block = content.read(start, length).tobytes()
            at = 0
            while at + prefix.size + ordered <= len(block):
                kind, size, _ = prefix.unpack_from(block, at)
                at += prefix.size + ordered
                data = block[at : at + size]
                at += size
                yield kind, data + bytes(16)
                if kind == _CONTINUATION:
                    start, length = struct.unpack_from("<QQ", data)
                    blocks.append((start + len(signature), length - len(signature) - tail))
    except (struct.error, IndexError, OverflowError) as error:
        raise _damaged(label) from error
    raise _damaged(label)


def _damaged(label: str) -> WeightsError:
    return WeightsError(f"{label}: damaged object header; fetch the file again")


def _external_target(content: Stretch, data: bytes) -> str:
    """Find the name of the first file of an external file list, in the local heap that it stands in."""
    heap, offset = struct.unpack_from("<8xQ", data)[0], struct.unpack_from("<16xQ", data + bytes(16))[0]
    try:
        segment = int.from_bytes(content.read(heap + 24, 8).tobytes(), "little")
        name = content.read(segment + offset, min(256, content.size - segment - offset)).tobytes()
    except WeightsError:
        return "?"
    return shown(name.split(b"\0")[0].decode("utf-8", "replace"))


class GuardedWindow(Window):
    """Hides damaged global heaps from libhdf5, which walks them for ever.

    A heap holds the texts of attributes as objects one behind another; libhdf5 (2.0, still) steps from one to the next
    by a size that it does not check, and stays where it is zero. It reads a heap whole, from its signature on.
    """

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = super().readinto(buffer)
        if bytes(buffer[:4]) == b"GCOL" and not _is_sound_heap(buffer):
            buffer[:] = bytes(len(buffer))
        return count


def _is_sound_heap(heap: memoryview) -> bool:
    if len(heap) < 16 or (size := int.from_bytes(heap[8:16], "little")) < 16:
        return False
    if size > len(heap):
        return True  # the first read of a long one, for its size; the second has all
    at = 16
    while at + 16 <= size:
        index, _, _, length = struct.unpack_from("<HHIQ", heap, at)
        step = 16 + (length + 7) // 8 * 8 if index else length  # the free space counts its own header
        if step < 16 or at + step > size:
            return False
        at += step
    return True
